"""The outermost layers of a protobuf message, walked without its schema: is it whole, is its graph without circles?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MOST_NODES: Final = 2_000_000


class WireError(ValueError):
    """Not a message, cut off, or a graph with a circle."""


def fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """(field number, number or bytes) of a message, in order.

    Raises:
        WireError: a field that is cut off or none of the kinds protobuf has.
    """
    place, end = 0, len(message)
    while place < end:
        tag, place = _varint(message, place)
        number, kind = tag >> 3, tag & 7
        if number == 0:
            raise WireError("not a protobuf message, or cut off")
        if kind == _VARINT:
            value, place = _varint(message, place)
            yield number, value
            continue
        if kind == _BYTES:
            length, place = _varint(message, place)
        elif kind in (_FIXED32, _FIXED64):
            length = 4 if kind == _FIXED32 else 8
        else:
            raise WireError("not a protobuf message, or cut off")
        if place + length > end:
            raise WireError("not a protobuf message, or cut off")
        yield number, message[place : place + length]
        place += length


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    value = shift = 0
    while place < len(message) and shift < 64:
        byte = message[place]
        value |= (byte & 0x7F) << shift
        place += 1
        if byte < 0x80:
            return value, place
        shift += 7
    raise WireError("not a protobuf message, or cut off")


def check_message(message: memoryview) -> None:
    """Whether the fields of a message fill it, and there are any.

    Raises:
        WireError: they do not.
    """
    if not sum(1 for _ in fields(message)):
        raise WireError("the file is empty")


def check_graph_def(message: memoryview) -> None:
    """Whether a TensorFlow GraphDef is whole, has named nodes, and no circles.

    GraphDef: 1 node; NodeDef: 1 name, 2 op, 3 input such as ``conv``, ``split:1``, ``^control``.

    Raises:
        WireError: it is not.
    """
    inputs: dict[str, list[str]] = {}
    for number, node in fields(message):
        if number != 1 or isinstance(node, int):
            continue
        parts = [(field, bytes(value)) for field, value in fields(node) if not isinstance(value, int)]
        texts = [(field, value.decode("utf-8", "replace")) for field, value in parts if field in (1, 3)]
        names = [text for field, text in texts if field == 1]
        if len(names) != 1 or len(inputs) > _MOST_NODES:
            raise WireError("not a TensorFlow graph")
        inputs[names[0]] = [text.lstrip("^").split(":")[0] for field, text in texts if field == 3]
    if not inputs:
        raise WireError("not a TensorFlow graph: it holds no nodes")
    check_acyclic(inputs)


def check_acyclic(inputs: dict[str, list[str]]) -> None:
    """Whether every node can be computed after what it reads.

    Raises:
        WireError: a circle, with the name of a node on it or behind it.
    """
    waiting = {name: {read for read in reads if read in inputs} for name, reads in inputs.items()}
    readers: dict[str, list[str]] = {}
    for name, reads in waiting.items():
        for read in reads:
            readers.setdefault(read, []).append(name)
    ready = [name for name, reads in waiting.items() if not reads]
    while ready:
        done = ready.pop()
        del waiting[done]
        for name in readers.get(done, ()):
            waiting[name].discard(done)
            if not waiting[name]:
                ready.append(name)
    if waiting:
        raise WireError(f"the graph runs in a circle through {next(iter(waiting))}")
