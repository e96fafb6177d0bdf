"""What several verbs are given: data, preprocessing, metric; opened once, with the same errors everywhere."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import onnx_ir as ir

from fewbits import frontends
from fewbits.data import Dataset, Preprocess, check_labels, open_dataset, overlap, split, stream, take
from fewbits.engines import TRIALS, Engine, Options
from fewbits.errors import DataError, EngineError, InputError, ModelError
from fewbits.frontends.source import Source
from fewbits.graph import queries
from fewbits.graph.quantized import quantized_node
from fewbits.measurement.metrics import Metric, classes, metric
from fewbits.numerics.tensors import TensorSpec
from fewbits.passes.fix_shapes import take_shapes
from fewbits.progress import Progress

DEFAULT_CALIBRATION = 300
_NO_NUMBERS = (ir.DataType.STRING, ir.DataType.COMPLEX64, ir.DataType.COMPLEX128)


@dataclass(frozen=True)
class DataOptions:
    """The data a verb was given, as the person wrote it.

    ``preprocess`` is a TOML file; the texts beside it (``resize="256"``, ``mean="104,117,123"``) override it.
    """

    data: str | Path | None = None
    calibration_data: str | Path | None = None
    images: Path | None = None
    masks: Path | None = None
    preprocess: Path | Preprocess | None = None
    resize: str | None = None
    crop: str | None = None
    mean: str | None = None
    scale: str | None = None
    channels: str | None = None
    layout: str | None = None
    label_offset: int = 0
    metric: str | None = None
    samples: int | None = None
    seed: int = 0

    def steps(self, inputs: Sequence[TensorSpec]) -> Preprocess | None:
        """The preprocessing asked for; None where nothing was said about it."""
        base: Preprocess | None = None
        if isinstance(self.preprocess, Preprocess):
            base = self.preprocess
        elif self.preprocess is not None:
            base = Preprocess.from_toml(Path(self.preprocess))
        texts = (self.resize, self.crop, self.mean, self.scale, self.channels, self.layout)
        if all(text is None for text in texts):
            return base
        default = next((Preprocess.default_for(spec) for spec in inputs if len(spec.shape) == 4), None)
        if base is None and default is not None:
            # Said sizes replace guessed ones altogether: --resize 256 without --crop means no crop.
            base = default
            if self.resize is not None or self.crop is not None:
                base = replace(default, resize=None, crop=None, fit="short-side")
        return Preprocess.from_options(
            resize=self.resize,
            crop=self.crop,
            mean=self.mean,
            scale=self.scale,
            channels=self.channels,  # type: ignore[arg-type]  # checked by Preprocess itself
            layout=self.layout,  # type: ignore[arg-type]
            base=base,
        )


def open_model(source: Source, progress: Progress) -> ir.Model:
    """Read the model, and say what its frontend has to say about it.

    Raises:
        ModelError: it cannot be read.
    """
    progress.step("reading the model")
    model = frontends.load(source)
    for note in model.meta.get("notes", ()):
        progress.warn(note)
    return model


def check_kept(out: Path, source: Source) -> None:
    """Raise ``InputError`` where the result would be written over a file of the model."""
    written = {out, out.with_suffix(".bin")} if out.suffix == ".xml" else {out}
    given = {*source.files, source.path.with_suffix(".bin")} if source.path.suffix == ".xml" else {*source.files}
    if {file.resolve() for file in written} & {file.resolve() for file in given}:
        raise InputError("this is the model itself", where=str(out), fix="name another file with -o")


def open_test_data(options: DataOptions, inputs: Sequence[TensorSpec], progress: Progress) -> Dataset:
    """The data accuracy is measured on.

    Raises:
        DataError: missing, empty, or not fitting the model.
    """
    if options.data is None:
        raise DataError("no data given", where="--data", fix="name a folder of images, a CSV, .npz, …")
    return _open(options.data, options, inputs, progress)


def open_both(options: DataOptions, inputs: Sequence[TensorSpec], progress: Progress) -> tuple[Dataset, Dataset]:
    """(test, calibration). Without calibration data a seeded part of the test data is set aside for it.

    Samples that stand in both sets are pointed out: accuracy measured on them flatters.
    """
    test = open_test_data(options, inputs, progress)
    if options.calibration_data is None:
        count = min(DEFAULT_CALIBRATION, max(len(test) // 3, 1))
        calibration, test = split(test, count, options.seed)
        progress.warn(f"no calibration data: {count} samples of {test.name} were set aside for it")
    else:
        plain = replace(options, images=None, masks=None)
        calibration = _open(options.calibration_data, plain, inputs, progress)
        shared = overlap(calibration, test)
        if shared:
            progress.warn(
                f"{len(shared)} of {len(test)} test samples are calibration samples as well (such as {shared[0]}): "
                "the accuracy measured on them flatters"
            )
    if options.samples is not None:
        test = take(test, options.samples, options.seed)
    return test, calibration


def check_model(
    model: ir.Model, path: str | Path, data: DataOptions | None = None, progress: Progress | None = None
) -> None:
    """Whether the model can be fed one sample at a time; sizes besides the batch that it leaves free become the data's.

    Args:
        data: what it will be fed with. Without it free sizes are refused.

    Raises:
        ModelError: no inputs, inputs that are no tensors of numbers, or sizes that differ from sample to sample.
        DataError: sizes have to be taken from the data, and it cannot be read or does not fit the model.
    """
    check_tensors(model, path)
    inputs = queries.specs(model.graph.inputs)
    free = [spec for spec in inputs if None in spec.shape[1:]]
    if data is not None and data.data is not None and any(None in spec.shape for spec in inputs):
        _take_sizes(model, path, data, progress or Progress())
    elif free:
        what = f"input {free[0].name} has free sizes besides the batch"
        raise ModelError(what, where=str(path), fix=_fix_sizes(free[0]))


def check_tensors(model: ir.Model, path: str | Path) -> None:
    """Raise ``ModelError`` unless the model takes and gives tensors of numbers, and has an input."""
    if not model.graph.inputs:
        raise ModelError(
            "it has no input, so there is nothing to feed", where=str(path), fix="export it with its inputs"
        )
    for word, values in (("input", model.graph.inputs), ("output", model.graph.outputs)):
        for value in values:
            what = ""
            if value.type is not None and not isinstance(value.type, ir.TensorType):
                kind = type(value.type).__name__.removesuffix("Type").lower()
                what = f"is {'an' if kind.startswith('o') else 'a'} {kind}"
            elif value.dtype in _NO_NUMBERS:
                what = f"holds {value.dtype.name.lower()} values"
            elif value.shape is None and word == "input":
                what = "has no rank"
            if what:
                raise ModelError(
                    f"{word} {value.name} {what}, and fewbits works with tensors of real numbers",
                    where=str(path),
                    fix="export the part of the model between tensors of numbers",
                )


def _take_sizes(model: ir.Model, path: str | Path, data: DataOptions, progress: Progress) -> None:
    """Fix sizes that the model leaves free and the data has, and say so; a free batch that is fed one stays free."""
    inputs = queries.specs(model.graph.inputs)
    quiet = Progress()
    dataset = open_test_data(data, inputs, quiet)
    places = sorted({*range(min(len(dataset), 4)), len(dataset) // 2, len(dataset) - 1})
    seen = [{name: array.shape for name, array in dataset.read(place).inputs.items()} for place in places]
    shapes, said = {}, []
    for value, spec in zip(model.graph.inputs, inputs, strict=True):
        sizes = seen[0][spec.name]
        if any(one[spec.name] != sizes for one in seen):
            first, other = sizes, next(one[spec.name] for one in seen if one[spec.name] != sizes)
            raise ModelError(
                f"input {spec.name} has free sizes, and they differ between samples of {dataset.name}: "
                f"{list(first)} and {list(other)}",
                where=str(path),
                fix=f"give all samples one size, or {_fix_sizes(spec)}",
            )
        batch = spec.shape[:1] == (None,) and sizes[:1] == (1,)
        if None in spec.shape[1 if batch else 0 :]:
            shapes[spec.name] = ir.Shape([value.shape[0] if batch and value.shape else sizes[0], *sizes[1:]])
            said.append(f"{spec.name} [{','.join(['N' if batch else str(sizes[0]), *map(str, sizes[1:])])}]")
    if shapes:
        take_shapes(model, shapes)
        progress.warn(f"free sizes of the model are fixed to those of {dataset.name} for this run: {', '.join(said)}")


def _fix_sizes(spec: TensorSpec) -> str:
    sizes = ",".join("1" if i == 0 else str(size or "N") for i, size in enumerate(spec.shape))
    return f"fix its sizes with fewbits convert --input-shape {spec.name}:{sizes}"


def check_metric(metric: Metric, model: ir.Model, dataset: Dataset, path: str | Path, engine: Engine = TRIALS) -> None:
    """Try the metric on one sample before any work is done for it.

    Args:
        engine: one that runs the model.

    Raises:
        DataError: the model's outputs or the targets are not what this metric judges.
        EngineError: the model does not run.
    """
    sample = next(iter(stream(dataset, workers=1)))
    with about(path):
        session = engine.compile(model, Options())
        outputs = session.run(sample.inputs)
    try:
        metric.observe(outputs, sample.target, outputs)
    except DataError as error:
        raise DataError(
            f"{metric.name}: {error.what}", where="--metric", fix=error.fix or "choose another metric"
        ) from error


@contextlib.contextmanager
def about(path: str | Path) -> Iterator[None]:
    """Errors of an engine in this block are about this file, not about a copy an engine was handed."""
    try:
        yield
    except EngineError as error:
        if error.where:
            raise
        raise EngineError(error.what, where=str(path), fix=error.fix) from error


def refuse_quantized(model: ir.Model, path: str | Path) -> None:
    """Raise ``ModelError`` for a model a part of which is quantized: there is nothing left to choose or calibrate."""
    if node := quantized_node(model):
        raise ModelError(
            f"this model is quantized already, as {node} shows",
            where=str(path),
            fix="give the FP32 model, or measure it",
        )


def _open(spec: str | Path, options: DataOptions, inputs: Sequence[TensorSpec], progress: Progress) -> Dataset:
    steps = options.steps(inputs)
    dataset = open_dataset(
        spec,
        inputs=inputs,
        preprocess=steps,
        images=options.images,
        masks=options.masks,
        label_offset=options.label_offset,
    )
    if dataset.preprocess is not None and dataset.preprocess.guessed:
        guess = " ".join(dataset.preprocess.to_toml().split("\n"))
        progress.warn(f"no --mean and --scale given; images are fed with a guess: {guess}")
    for note in dataset.notes:
        progress.warn(note)
    return dataset


def choose_metric(
    options: DataOptions, dataset: Dataset, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> Metric:
    """The metric asked for, or top1 for class labels, miou for masks, map for boxes, agreement for none.

    Raises:
        InputError: unknown, or it needs labels that are not there.
        DataError: a label is no class of the model.
    """
    name = options.metric
    if name is None and dataset.labelled and dataset.label(0) is None:
        name = "map" if dataset.categories else "miou" if options.masks else None
    categories = {k: c.id for k, c in enumerate(dataset.categories)} or None
    spatial = next((s.single for s in inputs if len(s.shape) == 4), None)
    size = (spatial[3], spatial[2]) if spatial else None
    chosen = metric(name, labelled=dataset.labelled, categories=categories, input_size=size)
    count = next((n for n in (classes(spec.shape) for spec in outputs) if n is not None), None)
    if count is not None and chosen.name in ("top1", "top5"):
        check_labels(dataset, count)
    return chosen
