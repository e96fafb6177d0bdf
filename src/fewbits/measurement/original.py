"""The untouched original in an engine: the truth a converted model is held against.

ONNX Runtime runs the ONNX file as it is. Where it cannot (operators before opset 7, others it has no kernel for),
OpenVINO does, then the ONNX reference evaluator. A file of another kind is run by OpenVINO where OpenVINO reads it.
What fewbits made of a file is never the truth about it; where nothing else is there, that is said.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx_ir as ir

from fewbits.engines import ENGINES, ORACLE, Arrays, Engine, Options, Session
from fewbits.errors import EngineError, InputError, UnsupportedError
from fewbits.frontends.identify import identify
from fewbits.frontends.kinds import Kind
from fewbits.graph.files import file_bytes, save_onnx
from fewbits.graph.moved import Edit, moved, write_edited
from fewbits.libraries import openvino
from fewbits.measurement.deviation import flat

_LABELS: Final = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO", "reference": "the ONNX reference evaluator"}
_BY_OPENVINO: Final = (Kind.OPENVINO, Kind.TENSORFLOW, Kind.SAVED_MODEL, Kind.TFLITE, Kind.PADDLE)
# The reference evaluator keeps every value of a run and takes seconds where engines take milliseconds.
_MOST_REFERENCE_BYTES = 16_000_000
OWN_READING = "the frontend's own reading in ONNX Runtime; not an independent proof"
NOTHING = "none: no engine runs the original"


@dataclass(frozen=True)
class Original:
    """A model file as it was given.

    Attributes:
        read: reads it with its frontend; serves only where no engine reads such files.
        inputs: the names of its inputs as the frontend has them, in order; outputs likewise.
        shapes: sizes that were asked for instead of the file's.
    """

    path: Path
    read: Callable[[], ir.Model]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def kind(self) -> Kind:
        """What kind of file it is."""
        return identify(self.path)

    def engines(self) -> tuple[Engine, ...]:
        """Those that may run the file, in the order in which their word counts; none where nobody reads it."""
        if self.kind in _BY_OPENVINO:
            return (ENGINES["openvino"],)
        if self.kind is not Kind.ONNX:
            return (ENGINES["onnxruntime"],)
        small = file_bytes(self.path) <= _MOST_REFERENCE_BYTES
        return (ENGINES["onnxruntime"], ENGINES["openvino"], *((ORACLE,) if small else ()))

    def label(self, engine: Engine) -> str:
        """What is said to have served as truth."""
        if self.kind is not Kind.ONNX and self.kind not in _BY_OPENVINO:
            return OWN_READING
        return f"the original in {_LABELS[engine.name]} {engine.version}"

    @contextmanager
    def opened(self, engine: Engine, reach: float = 0.0, seed: int = 0) -> Iterator[Callable[[Arrays], Arrays]]:
        """A function that runs the original on one feed.

        Args:
            reach: move its constants and float inputs by up to this share of themselves.

        Raises:
            EngineError: the engine does not take the file.
        """
        with tempfile.TemporaryDirectory(prefix="fewbits-") as folder:
            source = self._file(Path(folder), reach, seed)
            runner = _Runner(engine, source, self.inputs, self.outputs)
            rng = np.random.default_rng(seed)
            try:
                yield lambda feed: runner.run(_moved_inputs(feed, reach, rng))
            finally:
                runner.close()

    def _file(self, folder: Path, reach: float, seed: int) -> Path:
        if self.kind is Kind.ONNX:
            edit = Edit(reach, seed, self.shapes)
            return write_edited(self.path, folder, edit) if reach or self.shapes else self.path
        if self.kind in _BY_OPENVINO:
            return _moved_by_openvino(self.path, folder, reach, seed) if reach else self.path
        save_onnx(self.read(), folder / "read.onnx")
        return write_edited(folder / "read.onnx", folder, Edit(reach, seed)) if reach else folder / "read.onnx"


class _Runner:
    """Runs one file on feeds of any size.

    OpenVINO compiles for each size anew: given free sizes its kernels read beyond an array rather than refuse sizes
    that contradict each other.
    """

    def __init__(self, engine: Engine, source: Path, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        self._engine, self._source, self._inputs, self._outputs = engine, source, inputs, outputs
        self._fixed = engine.name == "openvino"
        self._session = self._compiled(())
        self._shapes: dict[str, tuple[int, ...]] = {}

    def run(self, feed: Arrays) -> Arrays:
        """Names are the frontend's; where the engine has others, the order tells."""
        given = _renamed(feed, self._inputs, [spec.name for spec in self._session.inputs])
        shapes = {name: array.shape for name, array in given.items()}
        if self._fixed and shapes != self._shapes:
            self._shapes = {}
            fresh = self._compiled(tuple(shapes.items()))
            self._session.close()
            self._session, self._shapes = fresh, shapes
        found = self._session.run(given)
        return flat(_renamed(found, [spec.name for spec in self._session.outputs], self._outputs))

    def close(self) -> None:
        self._session.close()

    def _compiled(self, shapes: tuple[tuple[str, tuple[int, ...]], ...]) -> Session:
        try:
            return self._engine.compile(self._source, Options(shapes=shapes))
        except (UnsupportedError, InputError, KeyError) as error:
            raise EngineError(f"{self._engine.name} cannot compile it: {error}") from error


def _renamed(arrays: Mapping[str, Any], names: Sequence[str], wanted: Sequence[str]) -> dict[str, Any]:
    if set(names) == set(wanted) or len(names) != len(wanted):
        return dict(arrays)
    return {other: arrays[name] for name, other in zip(names, wanted, strict=True) if name in arrays}


def _moved_inputs(feed: Arrays, reach: float, rng: np.random.Generator) -> Arrays:
    """Zeros have no share to move by: they move as ones do. Masks of 0 and 1 stay, as they are exact."""
    if not reach:
        return feed
    made = {}
    for name, array in feed.items():
        if array.dtype.kind == "f" and not (np.any(array) and np.all((array == 0) | (array == 1))):
            zeros = (rng.random(array.shape) * 2 - 1) * reach
            array = np.where(array == 0, zeros, moved_all(array, reach, rng)).astype(array.dtype)
        made[name] = array
    return made


def moved_all(array: np.ndarray[Any, Any], reach: float, rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """Every number moved by up to ``reach`` of itself."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(array * (1 + (rng.random(array.shape) * 2 - 1) * reach))


def _moved_by_openvino(path: Path, folder: Path, reach: float, seed: int) -> Path:
    """OpenVINO's own model of the file with its FP32 constants moved."""
    library = openvino()
    model = library.Core().read_model(str(path))
    rng = np.random.default_rng(seed)
    for node in model.get_ops():
        if node.get_type_name() == "Constant" and node.get_element_type() == library.Type.f32:
            made = library.opset13.constant(moved(np.array(node.data), reach, rng))
            for target in node.output(0).get_target_inputs():
                target.replace_source_output(made.output(0))
    library.save_model(model, str(folder / "moved.xml"), compress_to_fp16=False)
    return folder / "moved.xml"
