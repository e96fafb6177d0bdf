"""A run with every result rounded to FP16, held against FP32 node by node: does what was found really happen?"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from fewbits.data import Sample
from fewbits.engines import TRIALS, Options, Session
from fewbits.engines.child import try_in_child
from fewbits.graph import queries
from fewbits.graph.queries import node_name
from fewbits.hazards.observe import watched
from fewbits.hazards.records import Deviation, Finding, HalfRun
from fewbits.numerics import NoiseSum
from fewbits.passes.rounded import rounded
from fewbits.passes.to_half import compute_fp16

# Networks of a hundred layers that are sound in FP16 keep 30 dB and more at their outputs.
SOUND_DB = 20.0
_ROUNDS, _WHOLE = ("Cast", "ArgMax", "ArgMin"), (ir.DataType.INT64, ir.DataType.INT32)
# Values of both graphs that are held at once.
_MOST_BYTES = 512 << 20
# Of a larger value every n-th number is compared; infinity and NaN are sought in all of them.
_COMPARED = 1 << 15


def half_run(model: ir.Model, samples: Sequence[Sample], *, given: bool = True, keep: Collection[str] = ()) -> HalfRun:
    """Run the model in FP32 and as ``compute_fp16`` makes it, and compare all activations.

    Args:
        given: whether the samples are the person's; random ones otherwise.
        keep: nodes that stay FP32. With none, constants beyond FP16's range go to FP16 as well.

    Raises:
        EngineError: the model cannot be run.
    """
    half = rounded(compute_fp16(model, keep=keep, guard=bool(keep)))
    # Engines go down on FP16 where they have no kernels for it: not in this process.
    try_in_child(half, TRIALS.name, feed=samples[0].inputs)
    makers = {v.name or "": node for node in model.graph for v in node.outputs}
    outputs = {v.name or "" for v in model.graph.outputs}
    inner = [v for v in (*watched(model), *_from_floats(model)) if v.name in makers and v.name not in outputs]
    noise: dict[str, tuple[NoiseSum, int]] = {}
    for group in _groups(inner, {v.name or "" for node in half.graph for v in node.outputs}):
        sessions = (_exposing(model, group), _exposing(half, group))
        try:
            for sample in samples:
                _compare(*sessions, sample, noise)
        finally:
            for session in sessions:
                session.close()
    rows = [
        Deviation(node_name(node), node.op_type, name, noise[name][1], noise[name][0].sqnr_db)
        for name, node in makers.items()
        if name in noise
    ]
    wild = [row for row in rows if row.wild]
    off = [row for row in rows if row.sqnr_db < SOUND_DB]
    worst = min((noise[name][0].sqnr_db for name in outputs if name in noise), default=math.inf)
    return HalfRun(
        len(samples),
        given,
        worst,
        wild[0] if wild else None,
        off[0] if off else None,
        frozenset(row.node for row in (*wild, *off)),
        worst >= SOUND_DB,
    )


def confirmed(findings: Iterable[Finding], run: HalfRun) -> tuple[Finding, ...]:
    """The findings, each with whether the run went wrong at one of its nodes."""
    return tuple(replace(f, confirmed=not run.troubled.isdisjoint((f.node, *f.keep))) for f in findings)


def unexplained(findings: Iterable[Finding], run: HalfRun) -> tuple[Finding, ...]:
    """What the run shows and no check explains: the first node that overflows, where no finding names it."""
    first = run.first_wild
    if first is None or any(first.node in (f.node, *f.keep) for f in findings if f.level != "information"):
        return ()
    return (
        Finding(
            "run",
            first.node,
            first.op,
            float(first.wild),
            f"{first.wild} numbers of {first.value} are infinite or NaN in an FP16 run and finite in FP32",
            "keep this node in FP32, or use BF16",
            "certain",
            value=first.value,
            keep=(first.node,),
            confirmed=True,
        ),
    )


def _from_floats(model: ir.Model) -> list[ir.Value]:
    """Integers that are made of floats: indices and positions."""
    found = []
    for node in model.graph:
        source = node.inputs[0] if node.op_type in _ROUNDS else None
        if source is not None and source.dtype == ir.DataType.FLOAT and node.outputs[0].dtype in _WHOLE:
            found.append(node.outputs[0])
    return found


def _groups(values: Iterable[ir.Value], known: Collection[str]) -> Iterator[list[str]]:
    """Names of values that are looked at together; the first group may be empty, outputs are always looked at."""
    group: list[str] = []
    held = 0
    for value in values:
        if value.name not in known:
            continue
        size = 8 * (queries.numel(value) or 0)
        if group and held + size > _MOST_BYTES:
            yield group
            group, held = [], 0
        group.append(value.name or "")
        held += size
    yield group


def _exposing(model: ir.Model, names: Collection[str]) -> Session:
    """A session that also hands over inner values."""
    probe = model.clone()
    for node in probe.graph:
        for value in node.outputs:
            if value.name in names:
                probe.graph.outputs.append(value)
    return TRIALS.compile(probe, Options())


def _compare(whole: Session, half: Session, sample: Sample, noise: dict[str, tuple[NoiseSum, int]]) -> None:
    expected, got = whole.run(sample.inputs), half.run(sample.inputs)
    for name, reference in expected.items():
        if got[name].shape != reference.shape:  # sizes may depend on the data; then nothing of the value is right
            got[name] = np.zeros_like(reference)
        known, wild = noise.get(name, (NoiseSum(), 0))
        if reference.dtype.kind != "f":
            # Of whole numbers, indices above all, each must be right.
            known.add([0.0], [float((reference != got[name]).any())])
            noise[name] = known, wild
            continue
        one, other = reference.reshape(-1), got[name].reshape(-1)
        if not one.size:
            continue
        if np.isfinite(other.min()) and np.isfinite(other.max()):
            step = -(-one.size // _COMPARED)
            known.add(one[::step], other[::step])
        else:
            known.add(one, other)
            wild += int((np.isfinite(one) & ~np.isfinite(other)).sum())
        noise[name] = known, wild
