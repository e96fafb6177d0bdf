"""An IR while it is written: layers with their ports and edges, and the numbers of its ``.bin``."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from fewbits.errors import ModelError
from fewbits.frontends.legacy_ir.records import INTEGER, LEVEL, Blob, Edge, Layer, Port
from fewbits.graph import queries

Dims = tuple[int, ...]
_PRECISION = {"f": "FP32", "i": "I32"}


@dataclass(frozen=True)
class Source:
    """An output port and its sizes."""

    layer: int
    port: int
    dims: Dims


@dataclass
class Draft:
    """What has been written so far.

    Args:
        version: of the IR.
        names: layer names in use; those of inputs and outputs are in it from the start.
    """

    version: int
    names: set[str]
    layers: list[Layer] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)
    arrays: list[NDArray[Any]] = field(default_factory=list)
    sources: dict[ir.Value, Source] = field(default_factory=dict)
    size: int = 0

    def free(self, name: str) -> str:
        """A name nobody has yet, of characters that XML holds."""
        name = "".join(c if c.isprintable() else "_" for c in name) or "layer"
        while name in self.names:
            name += "_"
        self.names.add(name)
        return name

    def add(
        self,
        name: str,
        kind: str,
        feeds: Sequence[Source],
        outputs: Sequence[Dims],
        data: Mapping[str, str],
        blobs: Mapping[str, NDArray[Any]],
    ) -> list[Source]:
        """Append a layer; ports are numbered through, inputs first."""
        number = len(self.layers)
        first = len(feeds)
        precision = next((_PRECISION[a.dtype.kind] for a in blobs.values()), "FP32")
        layer = Layer(
            id=number,
            name=name,
            type=kind,
            precision=precision,
            data=data,
            inputs=tuple(Port(i, feed.dims) for i, feed in enumerate(feeds)),
            outputs=tuple(Port(first + i, dims) for i, dims in enumerate(outputs)),
            blobs={what: self._store(array) for what, array in blobs.items()},
        )
        self.layers.append(layer)
        self.edges += [Edge(feed.layer, feed.port, number, i) for i, feed in enumerate(feeds)]
        return [Source(number, port.id, port.dims) for port in layer.outputs]

    def _store(self, array: NDArray[Any]) -> Blob:
        stored = array.astype("<f4" if array.dtype.kind == "f" else "<i4", copy=False)
        blob = Blob(self.size, stored.nbytes)
        self.arrays.append(stored)
        self.size += stored.nbytes
        return blob


@dataclass(frozen=True, eq=False)
class Task:
    """One ONNX node to be written; its main layer has ``name``."""

    draft: Draft
    node: ir.Node
    name: str
    integer: bool

    def fail(self, what: str) -> ModelError:
        """This node has no counterpart in an IR of 2019."""
        where = f"node {queries.node_name(self.node)} ({self.node.op_type})"
        fix = "write OUT.xml without --ir-version, or OUT.onnx"
        return ModelError(f"an IR of version {self.draft.version} cannot say it: {what}", where=where, fix=fix)

    def value(self, index: int = 0) -> ir.Value:
        """Input ``index``."""
        found = self.node.inputs[index] if index < len(self.node.inputs) else None
        if found is None:
            raise self.fail(f"input {index} is missing")
        return found

    def has(self, index: int) -> bool:
        """Whether there is such an input."""
        return index < len(self.node.inputs) and self.node.inputs[index] is not None

    def dims(self, value: ir.Value | None = None) -> Dims:
        """Sizes of a value, the first input if none is named; a free batch is 1."""
        value = self.value() if value is None else value
        return sizes(value, self.fail)

    @property
    def out(self) -> Dims:
        """Sizes of the first output."""
        return self.dims(self.node.outputs[0])

    def constant(self, index: int) -> NDArray[Any]:
        """What a constant input holds."""
        found = queries.constant(self.value(index))
        if found is None:
            raise self.fail(f"input {index} is not constant")
        return found

    def ints(self, key: str, default: Sequence[int] = ()) -> list[int]:
        """An attribute that is a list."""
        found = self.node.attributes.get(key)
        return list(default) if found is None else list(found.as_ints())

    def whole(self, key: str, default: int) -> int:
        """An attribute that is one whole number."""
        found = self.node.attributes.get(key)
        return default if found is None else found.as_int()

    def real(self, key: str, default: float) -> float:
        """An attribute that is one number."""
        found = self.node.attributes.get(key)
        return default if found is None else found.as_float()

    def text(self, key: str, default: str) -> str:
        """An attribute that is text."""
        found = self.node.attributes.get(key)
        return default if found is None else found.as_string()

    def source(self, value: ir.Value) -> Source:
        """Where a value comes from; a constant becomes a Const layer of its own."""
        if value not in self.draft.sources:
            array = queries.constant(value)
            if array is None:
                raise self.fail(f"{value.name} comes from nowhere")
            self.draft.sources[value] = self.const(value.name or "const", array)
        return self.draft.sources[value]

    def const(self, name: str, array: NDArray[Any]) -> Source:
        """A Const layer."""
        dims = array.shape or (1,)
        return self.draft.add(self.draft.free(name), "Const", (), [dims], {}, {"custom": array})[0]

    def layer(
        self,
        kind: str,
        feeds: Sequence[Source | ir.Value],
        data: Mapping[str, object] | None = None,
        *,
        blobs: Mapping[str, NDArray[Any] | None] | None = None,
        inner: tuple[str, Dims] | None = None,
    ) -> Source:
        """Write a layer with attributes as ``text`` writes them.

        Args:
            inner: for a layer before the one that has the node's name and outputs: what its name ends in, and the
                sizes of its output.
        """
        sources = [feed if isinstance(feed, Source) else self.source(feed) for feed in feeds]
        written = {key: text(value) for key, value in (data or {}).items()}
        written[LEVEL] = INTEGER if self.integer else "FP32"
        shapes = [self.dims(v) for v in self.node.outputs] if inner is None else [inner[1]]
        held = {what: array for what, array in (blobs or {}).items() if array is not None}
        name = self.name if inner is None else self.draft.free(f"{self.name}/{inner[0]}")
        made = self.draft.add(name, kind, sources, shapes, written, held)
        if inner is None:
            self.draft.sources.update(zip(self.node.outputs, made, strict=False))
        return made[0]


def sizes(value: ir.Value, fail: Callable[[str], ModelError]) -> Dims:
    """All sizes of a value, a free batch as 1."""
    found = queries.dims(value)
    if found is None or None in found[1:]:
        raise fail(f"the sizes of {value.name} are not known")
    known = tuple(1 if size is None else size for size in found)
    if math.prod(known) < 1:
        raise fail(f"{value.name} is empty")
    return known


def text(value: object) -> str:
    """As an IR writes it: lists with commas, floats so that FP32 comes back exactly, flags as true and false."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | np.integer):
        return str(int(value))
    if isinstance(value, float | np.floating):
        return str(np.float32(value))
    if isinstance(value, Collection):
        return ",".join(map(text, value))
    raise TypeError(f"{value!r} is no attribute")
