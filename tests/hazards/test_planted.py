"""Each planted hazard is named with its node; its clean twin is left alone; the mixed model computes right."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from planted import PLANTED, Planted

from fewbits.engines import TRIALS, Options
from fewbits.hazards import Finding, check, unsafe_nodes
from fewbits.hazards.confirm import confirmed, half_run
from fewbits.hazards.observe import observe
from fewbits.numerics import NoiseSum
from fewbits.passes.rounded import rounded
from fewbits.passes.to_half import compute_fp16

SOUND_DB = 40.0

each = pytest.mark.parametrize("planted", PLANTED.values(), ids=PLANTED.keys())


def named(findings: tuple[Finding, ...], planted: Planted) -> list[Finding]:
    return [f for f in findings if f.check == planted.check and f.node == planted.node]


def sqnr_db(model: ir.Model, half: ir.Model, planted: Planted) -> float:
    noise = NoiseSum()
    expected = TRIALS.compile(model, Options()).run(planted.sample.inputs)
    got = TRIALS.compile(rounded(half), Options()).run(planted.sample.inputs)
    for name, array in expected.items():
        assert np.isfinite(array).all()
        noise.add(array, got[name])
    return noise.sqnr_db


@each
def test_it_is_found_before_anything_runs(planted: Planted) -> None:
    found = named(check(planted.build()), planted)
    assert [f.fp16 for f in found] == ([] if planted.dry is None else [planted.dry])


@each
def test_data_make_it_certain_and_the_run_confirms_it(planted: Planted) -> None:
    model = planted.build()
    findings = check(model, observe(model, [planted.sample]))
    run = half_run(model, [planted.sample])
    (found,) = named(confirmed(findings, run), planted)
    assert (found.fp16, found.bf16) == (planted.wet, planted.bf16)
    assert found.confirmed
    assert not run.survives
    assert found.reason
    assert found.fix
    assert planted.node in found.keep


@each
def test_the_clean_twin_is_left_alone(planted: Planted) -> None:
    model = planted.clean()
    assert check(model) == ()
    assert check(model, observe(model, [planted.clean_sample])) == ()
    assert half_run(model, [planted.clean_sample]).survives


@each
def test_the_mixed_model_computes_right_where_full_fp16_does_not(planted: Planted) -> None:
    model = planted.build()
    keep = unsafe_nodes(check(model, observe(model, [planted.sample])))
    assert not sqnr_db(model, compute_fp16(model, guard=False), planted) > 20
    mixed = compute_fp16(model, keep=keep)
    assert sqnr_db(model, mixed, planted) > SOUND_DB
    halves = [n for n in mixed.graph if n.op_type != "Cast" and n.outputs[0].dtype == ir.DataType.FLOAT16]
    kept = [n for n in mixed.graph if n.name in keep and n.op_type != "Cast"]
    assert halves, "the rest is FP16"
    assert all(v.dtype != ir.DataType.FLOAT16 for n in kept for v in n.outputs)


@each
def test_no_cast_reads_a_cast(planted: Planted) -> None:
    model = planted.build()
    mixed = compute_fp16(model, keep=unsafe_nodes(check(model)))
    own = {n.name for n in model.graph if n.op_type == "Cast"}
    casts = [n for n in mixed.graph if n.op_type == "Cast" and n.name not in own]
    assert not any(n.inputs[0].producer() in casts for n in casts)
