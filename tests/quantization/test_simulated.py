"""Switching quantizers one by one says what building each model would have said."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager

import numpy as np
import onnx_ir as ir
import pytest
from tuning import ONE_THREAD, bench, watched

from fewbits.engines import ENGINES, ORACLE, TRIALS, Engine, Options
from fewbits.graph.queries import node_name
from fewbits.numerics import NoiseSum
from fewbits.quantization.groups import groups
from fewbits.quantization.recipe import Recipe
from fewbits.quantization.simulated import Simulated
from fewbits.quantization.workshop import Tuned, Workshop, build
from models import conv_relu_conv, perceptron, residual, samples

both = pytest.mark.parametrize("engine", ENGINES.values(), ids=lambda engine: engine.name)
networks = pytest.mark.parametrize("make", [conv_relu_conv, residual, perceptron], ids=lambda make: make.__name__)
# The same numbers but for rounded biases; a number that falls on the edge between two steps costs a sample 40 dB.
EXACT_DB = 60
BIASED = Recipe(method="minmax", corrections=("bias",))


def tuned_for(model: ir.Model, engine: Engine, recipe: Recipe = BIASED) -> Tuned:
    drawn = samples(model, 6)
    return Workshop(engine, bench(drawn)).carry_out(model, watched(model, drawn), recipe)


@contextmanager
def simulated(tuned: Tuned) -> Iterator[Simulated]:
    network = Simulated(tuned, TRIALS, Options(mode="throughput", threads=2))
    try:
        yield network
    finally:
        network.close()


def truth_of(tuned: Tuned, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """By the reference evaluator, which computes Q/DQ as it is written, from opset 19 on."""
    made = build(tuned)
    made.opset_imports[""] = 19
    return ORACLE.compile(made, ONE_THREAD).run(inputs)


def apart_db(truth: dict[str, np.ndarray], got: dict[str, np.ndarray]) -> float:
    noise = NoiseSum()
    for name, expected in truth.items():
        noise.add(expected, got[name])
    return noise.sqnr_db


@both
@networks
def test_all_switched_on_is_the_int8_model(make: Callable[[], ir.Model], engine: Engine) -> None:
    tuned = tuned_for(make(), engine)
    values, weights = tuned.plan.values, tuned.plan.weights
    with simulated(tuned) as network:

        def median_db(values: Container[str], weights: Container[str]) -> float:
            drawn = samples(tuned.source, 5)
            truths = [truth_of(tuned, sample.inputs) for sample in drawn]
            outputs = [network.run(sample.inputs, values, weights) for sample in drawn]
            return float(np.median([apart_db(*pair) for pair in zip(truths, outputs, strict=True)]))

        assert median_db(values, weights) > EXACT_DB
        assert median_db((), weights) < 60, "activations matter"
        assert median_db(values, ()) < 60, "and so do weights"


@networks
def test_all_switched_off_is_the_float_model(make: Callable[[], ir.Model]) -> None:
    tuned = tuned_for(make(), TRIALS)
    plain = TRIALS.compile(tuned.source, ONE_THREAD)
    with simulated(tuned) as network:
        for slot, sample in enumerate(samples(tuned.source, 2)):
            assert apart_db(plain.run(sample.inputs), network.run(sample.inputs, (), (), slot)) > 100


@both
@networks
def test_one_group_alone_and_all_but_one_are_the_models_with_those_layers(
    make: Callable[[], ir.Model], engine: Engine
) -> None:
    tuned = tuned_for(make(), engine)
    drawn = samples(tuned.source, 5)
    found = groups(tuned.source, tuned.recipe, engine.capability)
    names = [group.name for group in found]
    workshop = Workshop(engine, bench(samples(tuned.source, 6)))
    with simulated(tuned) as network:
        for group in found:
            others = frozenset(names) - {group.name}
            cases = ((others, group.alone, {group.name}), ([group.name], group.without, others))
            for floating, values, layers in cases:
                recipe = tuned.recipe.sending(floating, "float")
                built = workshop.carry_out(tuned.source, tuned.statistics, recipe)
                apart = [apart_db(truth_of(built, s.inputs), network.run(s.inputs, values, layers)) for s in drawn]
                assert np.median(apart) > EXACT_DB


@both
def test_a_group_holds_what_leaves_int8_with_its_layer(engine: Engine) -> None:
    model = residual()
    found = groups(model, BIASED, engine.capability)
    order = [node_name(node) for node in model.graph]
    assert [group.name for group in found] == sorted((g.name for g in found), key=order.index)
    whole = tuned_for(model, engine).plan
    for group in found:
        assert group.name in group.nodes
        left = tuned_for(model, engine, BIASED.sending([group.name], "float")).plan
        assert set(whole.integer) - set(left.integer) == set(group.nodes)
        assert set(left.values) == group.without
        assert group.alone <= set(whole.values) | group.alone
        alone = tuned_for(model, engine, BIASED.sending([g.name for g in found if g is not group], "float")).plan
        assert set(alone.values) == group.alone
        assert set(alone.weights) == {group.name}


def test_a_rule_for_one_node_takes_its_name_as_it_is() -> None:
    """A node called like an operator, or with the marks of a glob in its name, is meant alone."""
    recipe = Recipe().sending(["Conv", "a[0]*"], "float")
    assert recipe.choice("Conv", "Conv")[0] == "float"
    assert recipe.choice("other", "Conv")[0] == "int8"
    assert recipe.choice("a[0]*", "Conv")[0] == "float"
    assert recipe.choice("a0b", "Conv")[0] == "int8"
