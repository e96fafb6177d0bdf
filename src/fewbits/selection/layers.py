"""The chosen model layer by layer: what each ran in, how long, how far from FP32, and what 16 bits would do to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import onnx_ir as ir

from fewbits import frontends, hazards
from fewbits.calibration.statistics import Statistics, ValueStatistics
from fewbits.data import Sample, first, stream
from fewbits.engines import ENGINES, TRIALS, Arrays, OpTime, Options
from fewbits.errors import EngineError, FewbitsError, UnsupportedError
from fewbits.graph import qdq, queries
from fewbits.graph.ops import Role, role
from fewbits.graph.queries import node_name
from fewbits.hazards.records import Extremes, Finding
from fewbits.measurement.comparison import LayerComparison
from fewbits.measurement.layers import compare_values, shared_values, with_outputs
from fewbits.measurement.records import Subject
from fewbits.progress import Progress
from fewbits.quantization.corrections import EQUALIZE
from fewbits.quantization.recipe import Recipe
from fewbits.selection.closeup_records import NO_NOISE_DB, Activation, Layer
from fewbits.selection.job import Job

# A few samples show which layer loses most; each holds every activation of two models in memory.
_SAMPLES = 8
_BINS = 64
_EQUALIZED = (
    "channels were equalized, which scales the values between layers: the SQNR of those layers counts the scaling too, "
    "that of the outputs does not"
)
_LEVELS = {"I8": "i8"}
# What may follow an operator's name in the name of the kernel it became.
_JOINTS = frozenset("/_:. ")


# Node → signal to noise in dB at the model's outputs: with only it quantized, with all but it.
Sensitivity: TypeAlias = Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class Layers:
    """The rows, and what belongs to none of them."""

    rows: tuple[Layer, ...] = ()
    samples: int = 0
    other_us: float | None = None
    reference_other_us: float | None = None
    notes: tuple[str, ...] = ()


@dataclass
class Row:
    """An operator and the activation functions that engines fuse into it."""

    nodes: list[ir.Node]

    @property
    def names(self) -> set[str]:
        """By which an engine may know it: its nodes' names and those of their outputs."""
        return {node_name(n) for n in self.nodes} | {v.name for n in self.nodes for v in n.outputs if v.name}

    @property
    def value(self) -> ir.Value:
        """What it gives out."""
        return self.nodes[-1].outputs[0]


@dataclass(frozen=True)
class _Evidence:
    """What is known by name of a node or a value."""

    noise: Mapping[str, LayerComparison] = field(default_factory=dict)
    statistics: Mapping[str, ValueStatistics] = field(default_factory=dict)
    clips: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    metadata: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    findings: Sequence[Finding] = ()
    sensitivity: Sensitivity = field(default_factory=dict)


def layers(
    job: Job, chosen: Subject, reference: Subject, progress: Progress, sensitivity: Sensitivity | None = None
) -> Layers:
    """Profile both models, compare their activations on a few test samples, and check for 16-bit hazards.

    Args:
        sensitivity: node → signal to noise at the outputs where (only it, all but it) is quantized.

    Raises:
        FewbitsError: the chosen file cannot be read, or no sample can.
    """
    progress.step("looking at the layers")
    version = frontends.load(chosen.path)
    samples = first(stream(job.test, workers=1), _SAMPLES)
    notes = [_EQUALIZED] if _equalized(chosen) else []
    noise: tuple[LayerComparison, ...] = ()
    count = 0
    try:
        noise, count = _compare(job.model, version, chosen, samples)
    except (EngineError, UnsupportedError) as error:
        notes.append(f"the layers' outputs could not be compared: {error}")
    seen = {n.value: Extremes(*n.reference_range) for n in noise}
    evidence = _Evidence(
        noise={n.value: n for n in noise},
        statistics=_statistics(job),
        clips=_clips(version),
        metadata={node_name(node): dict(node.metadata_props) for node in version.graph},
        findings=hazards.check(job.model, seen or None),
        sensitivity=sensitivity or {},
    )
    rows = rows_of(job.model)
    profiles = [_profile(subject, dict(samples[0].inputs), notes) for subject in (chosen, reference)]
    (mine, other), (theirs, reference_other) = (share_out(ops, rows) for ops in profiles)
    made = tuple(_layer(row, mine.get(i), theirs.get(i), evidence) for i, row in enumerate(rows))
    return Layers(made, count, other, reference_other, tuple(notes))


def rows_of(model: ir.Model) -> list[Row]:
    """Operators on activations, in order; an activation function joins the row it alone reads from."""
    rows: list[Row] = []
    home: dict[ir.Value, Row] = {}
    for node in model.graph:
        source = node.inputs[0] if node.inputs else None
        row = home.get(source) if source is not None else None
        fused = role(node.op_type) is Role.ACTIVATION and row is not None and source is row.value
        if row is not None and source is not None and fused and len(queries.users(source)) == 1:
            row.nodes.append(node)
        elif node.outputs and queries.is_float(node.outputs[0]):
            row = Row([node])
            rows.append(row)
        else:
            continue
        home[node.outputs[0]] = row
    return rows


def share_out(ops: Sequence[OpTime], rows: Sequence[Row]) -> tuple[dict[int, tuple[float, str]], float | None]:
    """Row → (time in µs, format of its longest kernel), and the time of kernels that belong to no row.

    A kernel belongs to the row whose name its own begins with: ``conv1/WithoutBiases``, ``conv1_nchwc``.
    """
    home = {name: index for index, row in enumerate(rows) for name in row.names}
    held: dict[int, list[OpTime]] = {}
    other = 0.0
    for op in ops:
        cuts = [len(op.name), *(i for i in range(len(op.name) - 1, 0, -1) if op.name[i] in _JOINTS)]
        index = next((home[op.name[:cut]] for cut in cuts if op.name[:cut] in home), None)
        if index is None:
            other += op.time_us
        else:
            held.setdefault(index, []).append(op)
    times = {
        index: (sum(op.time_us for op in mine), max(mine, key=lambda op: op.time_us).format)
        for index, mine in held.items()
    }
    return times, other if ops else None


def binned(value: ValueStatistics, name: str, clip: tuple[float, float] | None) -> Activation:
    """The histogram's occupied part in at most 64 bins of equal width."""
    counts, edges, width = value.histogram.counts, value.histogram.edges(), value.histogram.width
    occupied = np.flatnonzero(counts)
    first_bin, last = (int(occupied[0]), int(occupied[-1])) if occupied.size else (counts.size // 2, counts.size // 2)
    factor = -(-(last - first_bin + 1) // _BINS)
    part = counts[first_bin : last + 1]
    part = np.pad(part, (0, -part.size % factor)).reshape(-1, factor).sum(axis=1)
    low, high = float(value.minimum.min()), float(value.maximum.max())
    bins = tuple(int(n) for n in part)
    return Activation(name, low, high, float(edges[first_bin]), width * factor, bins, clip)


def _layer(row: Row, mine: tuple[float, str] | None, theirs: tuple[float, str] | None, evidence: _Evidence) -> Layer:
    held = [evidence.metadata.get(node_name(node), {}) for node in row.nodes]
    name = row.value.name or ""
    noise = evidence.noise.get(name)
    findings = [f for f in evidence.findings if f.node in {node_name(n) for n in row.nodes} and f.fp16]
    only, but = next((evidence.sensitivity[n] for n in row.names if n in evidence.sensitivity), (None, None))
    seen = [v.name for n in row.nodes for v in n.outputs if v.name and v.name in evidence.statistics]
    return Layer(
        node=node_name(row.nodes[0]),
        op=" + ".join(node.op_type for node in row.nodes),
        format=mine[1] if mine else _LEVELS.get(held[0].get(qdq.LEVEL_KEY, ""), ""),
        reason=held[0].get(qdq.REASON_KEY, ""),
        time_us=mine[0] if mine else None,
        reference_time_us=theirs[0] if theirs else None,
        sqnr_db=_limited(noise.sqnr_db if noise else None),
        low=noise.reference_range[0] if noise else None,
        high=noise.reference_range[1] if noise else None,
        only_db=_limited(only),
        but_db=_limited(but),
        hazards=tuple(f"{f.verdict}: {f.reason}" for f in findings if f.level != "information"),
        overflow=any(f.check == "ranges" and f.fp16 == "certain" for f in findings),
        activation=binned(evidence.statistics[seen[-1]], seen[-1], evidence.clips.get(seen[-1])) if seen else None,
    )


def _limited(db: float | None) -> float | None:
    return None if db is None else float(np.clip(db, -NO_NOISE_DB, NO_NOISE_DB))


def _compare(
    base: ir.Model, version: ir.Model, chosen: Subject, samples: Sequence[Sample]
) -> tuple[tuple[LayerComparison, ...], int]:
    """In FP32 on the engine that names every value as the file does, else as the candidate itself runs."""
    shared = shared_values(base, version)
    plain = chosen.precision == "f32"
    engine = TRIALS if plain else ENGINES[chosen.engine]
    options = Options() if plain else chosen.options("latency")
    one = TRIALS.compile(with_outputs(base, [v.name for v in shared]), Options())
    two = engine.compile(with_outputs(version, [v.other for v in shared]), options)
    try:
        return compare_values(base, shared, (one, two), samples)
    except (KeyError, ValueError) as error:  # an engine may leave an activation out, or give it another shape
        raise EngineError(f"{chosen.engine} gives other activations than the file names: {error}") from error
    finally:
        one.close()
        two.close()


def _profile(subject: Subject, inputs: Arrays, notes: list[str]) -> Sequence[OpTime]:
    try:
        return ENGINES[subject.engine].profile(subject.path, subject.options("latency"), inputs).ops
    except FewbitsError as error:
        notes.append(f"{subject.name} gives no profile: {error}")
        return ()


def _statistics(job: Job) -> Mapping[str, ValueStatistics]:
    path = job.folder / "statistics.npz"
    return Statistics.load(path).values if path.is_file() else {}


def _equalized(chosen: Subject) -> bool:
    """Whether the recipe beside the chosen file says so."""
    recipe = chosen.path.with_suffix(".toml")
    return recipe.is_file() and EQUALIZE in Recipe.from_toml(recipe).corrections


def _clips(model: ir.Model) -> dict[str, tuple[float, float]]:
    """Value → the numbers its quantizer keeps: scale * (q - zero point) for the least and the greatest q."""
    found = {}
    for node in model.graph:
        if node.op_type != "QuantizeLinear" or node.inputs[0] is None:
            continue
        scale, zero = (queries.constant(v) for v in node.inputs[1:3])
        if scale is not None and zero is not None and scale.size == 1 and zero.dtype in (np.uint8, np.int8):
            limits = np.iinfo(zero.dtype)
            low, high = (float(scale.item()) * (q - int(zero.item())) for q in (limits.min, limits.max))
            found[node.inputs[0].name or ""] = (low, high)
    return found
