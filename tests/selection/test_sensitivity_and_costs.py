"""Which group brings how much noise, and what it costs in each format."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from fewbits.calibration.collect import collect
from fewbits.engines import TRIALS, OpTime, Options, Profile
from fewbits.graph.queries import node_name
from fewbits.numerics import Yardstick
from fewbits.quantization.groups import groups
from fewbits.quantization.placement import values_to_watch
from fewbits.quantization.recipe import Recipe
from fewbits.quantization.workshop import Bench, Tuned, Workshop, build
from fewbits.selection.costs import Cost, costs
from fewbits.selection.sensitivity import sensitivities
from models import conv_relu_conv, network, samples

BOTH_THREADS = Options(mode="throughput", threads=2)


def tuned_for(model: ir.Model, recipe: Recipe) -> Tuned:
    drawn = samples(model, 8)
    names = values_to_watch(model, recipe, [TRIALS.capability])
    statistics = collect(model, names, drawn, len(drawn), TRIALS, BOTH_THREADS)
    workshop = Workshop(TRIALS, Bench(TRIALS, BOTH_THREADS, drawn, lambda _: statistics))
    return workshop.carry_out(model, statistics, recipe)


def one_bad_layer() -> ir.Model:
    """The second convolution's input has one channel a thousand times the others: 8 bits leave those nothing."""
    loud = np.ones((1, 8, 1, 1), np.float32)
    loud[0, 0] = 1000
    quiet = np.random.default_rng(1).normal(size=(8, 8, 1, 1)).astype(np.float32)
    quiet[:, 0] /= 1000
    return network(
        """g (float[1,3,8,8] x) => (float[1,8,8,8] y) {
             [first] a = Conv<pads=[1,1,1,1]>(x, w1)
             [scale] b = Mul(a, loud)
             [bad] c = Conv(b, w2)
             [last] d = Conv<pads=[1,1,1,1]>(c, w3)
             [out] y = Neg(d) }""",
        w1=(8, 3, 3, 3),
        loud=loud,
        w2=quiet,
        w3=(8, 8, 3, 3),
    )


def test_the_layer_that_8_bits_spoil_is_found_both_ways() -> None:
    recipe = Recipe(method="minmax", corrections=())
    tuned = tuned_for(one_bad_layer(), recipe)
    found = sensitivities(
        tuned, groups(tuned.source, recipe, TRIALS.capability), samples(tuned.source, 4), TRIALS, BOTH_THREADS
    )
    assert found.keys() == {"first", "bad", "last"}
    assert min(found, key=lambda name: found[name].only_db) == "bad"
    assert max(found, key=lambda name: found[name].but_db) == "bad"
    assert found["bad"].only_db < 15 < 30 < found["last"].only_db
    assert found["bad"].but_db > 30


def test_figures_are_those_of_models_built_for_each_question() -> None:
    recipe = Recipe(method="minmax", corrections=("bias",))
    model = conv_relu_conv()
    tuned = tuned_for(model, recipe)
    drawn = samples(model, 4, seed=7)
    found = sensitivities(tuned, groups(model, recipe, TRIALS.capability), drawn, TRIALS, BOTH_THREADS)
    plain = TRIALS.compile(model, Options())
    workshop = Workshop(TRIALS, Bench(TRIALS, BOTH_THREADS, drawn, lambda _: tuned.statistics))
    for name, other in (("conv1", "conv2"), ("conv2", "conv1")):
        made = build(workshop.carry_out(model, tuned.statistics, recipe.sending([other], "float")))
        session = TRIALS.compile(made, Options())
        whole, half = ([session.run(s.inputs) for s in drawn] for session in (plain, session))
        expected = Yardstick(whole).worst_db(half)
        assert found[name].only_db == pytest.approx(expected, abs=0.5)


def profile(**times: tuple[str, float]) -> Profile:
    return Profile(tuple(OpTime(name.replace("__", "/"), op, "i8", time_us) for name, (op, time_us) in times.items()))


def test_times_are_told_apart_by_the_names_engines_give() -> None:
    model = conv_relu_conv()
    found = groups(model, Recipe(), TRIALS.capability)
    integer = profile(conv1_token_3=("QLinearConv", 5.0), conv2__WithoutBiases=("Convolution", 7.0), out=("Sigmoid", 1))
    floating = profile(relu_nchwc=("Conv", 20.0), conv2=("Conv", 9.0), out=("Sigmoid", 2.0), Reorder_1=("Reorder", 3.0))
    assert costs(model, found, integer, floating) == {"conv1": Cost(5, 20), "conv2": Cost(8, 11)}


def test_a_group_that_leaves_int8_pays_for_its_borders() -> None:
    """x [1,3,8,8] is converted in 1.92 us, 0.01 us a number; conv1 reads 192 numbers and makes 512."""
    model = conv_relu_conv()
    found = groups(model, Recipe(), TRIALS.capability)
    integer = profile(x_QuantizeLinear=("QuantizeLinear", 1.92), conv1=("Conv", 5.0), conv2=("Conv", 7.0))
    floating = profile(conv1=("Conv", 20.0), conv2=("Conv", 9.0))
    nodes = {node_name(node): node for node in model.graph}
    sizes = [int(np.prod(nodes["conv2"].inputs[0].shape)), int(np.prod(nodes["conv2"].outputs[0].shape))]
    got = costs(model, found, integer, floating)
    assert got["conv1"].float_us == pytest.approx(20 + 0.01 * (192 + 512))
    assert got["conv2"].float_us == pytest.approx(9 + 0.01 * sum(sizes))


def test_what_no_profile_names_has_no_cost() -> None:
    model = conv_relu_conv()
    found = groups(model, Recipe(), TRIALS.capability)
    assert costs(model, found, profile(conv1=("Conv", 1.0)), profile(conv1=("Conv", 2.0))).keys() == {"conv1"}
    assert costs(model, found, Profile(()), Profile(())) == {}
