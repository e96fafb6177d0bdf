"""The XML of an IR → ``Net``: every number bounded, every edge between ports that exist."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from fewbits.errors import ModelError
from fewbits.frontends.legacy_ir import markup
from fewbits.frontends.legacy_ir.markup import Element
from fewbits.frontends.legacy_ir.records import (
    NEWEST,
    OLDEST,
    Blob,
    Channel,
    Edge,
    Extremes,
    Layer,
    Net,
    Port,
    Preprocess,
)

Number = TypeVar("Number", int, float)

_MOST_LAYERS = 50_000
_MOST_AXES = 8
_MOST_NUMBERS = 1 << 31
_MOST_BYTES = 1 << 40
# What a layer may hold besides its attributes. These stand in <data>; version 2 also wrote <convolution_data> and such.
_PARTS = ("input", "output", "blobs", "weights", "biases", "port_map", "back_edges", "body")


def read(path: Path) -> Net:
    """Read the XML of an IR of version 2 to 7.

    Raises:
        ModelError: it is not one, or is damaged; the error says the line.
    """
    return _Document(path).net(markup.parse(path))


class _Document:
    def __init__(self, path: Path) -> None:
        self._path = path

    def net(self, root: Element) -> Net:
        if root.tag != "net":
            raise self._fail(root, f"its root is <{root.tag}>, not <net>", "give the .xml of an IR")
        version = self._integer(root, "version", 0, 1000)
        if not OLDEST <= version <= NEWEST:
            fix = "OpenVINO reads it" if version >= 10 else "convert the original model again"
            raise self._fail(root, f"IR version {version} is not one of {OLDEST} to {NEWEST}", fix)
        layers = tuple(map(self._layer, self._children(root, "layers", "layer")))
        if not layers:
            raise self._fail(root, "it holds no layer", "convert the original model again")
        if len(layers) > _MOST_LAYERS:
            raise self._fail(root, f"more than {_MOST_LAYERS} layers", "this is no network fewbits can handle")
        self._unique(root, "id", (str(layer.id) for layer in layers))
        self._unique(root, "name", (layer.name for layer in layers))
        edges = tuple(self._edges(root, layers))
        statistics = dict(map(self._statistic, self._children(root, "statistics", "layer")))
        preprocess = tuple(map(self._preprocess, root.each("pre-process")))
        return Net(root.attributes.get("name", ""), version, layers, edges, statistics, preprocess)

    def _layer(self, element: Element) -> Layer:
        name, kind = (self._attribute(element, key) for key in ("name", "type"))
        data = {
            key: value
            for child in element.children
            if child.tag not in _PARTS
            for key, value in child.attributes.items()
        }
        held = element.first("blobs")
        blobs = [*(held.children if held else ()), *element.each("weights"), *element.each("biases")]
        ports = [tuple(map(self._port, self._children(element, side, "port"))) for side in ("input", "output")]
        for side in ports:
            self._unique(element, "port", (str(port.id) for port in side))
        return Layer(
            id=self._integer(element, "id", 0, _MOST_NUMBERS),
            name=name,
            type=kind,
            precision=element.attributes.get("precision", "FP32").upper(),
            data=data,
            inputs=ports[0],
            outputs=ports[1],
            blobs={blob.tag: self._blob(blob) for blob in blobs},
            line=element.line,
        )

    def _port(self, element: Element) -> Port:
        dims = tuple(self._size(dim) for dim in element.each("dim"))
        if len(dims) > _MOST_AXES or math.prod(dims) > _MOST_NUMBERS:
            shape = " x ".join(map(str, dims))
            raise self._fail(element, f"a shape of {shape} is beyond any network", "convert the original model again")
        number = self._integer(element, "id", 0, _MOST_NUMBERS)
        return Port(number, dims, element.attributes.get("precision", "").upper())

    def _size(self, element: Element) -> int:
        return self._parsed(element, "dim", element.text, int, 1, _MOST_NUMBERS)

    def _blob(self, element: Element) -> Blob:
        offset, size = (self._integer(element, key, 0, _MOST_BYTES) for key in ("offset", "size"))
        return Blob(offset, size, element.attributes.get("precision", "").upper())

    def _edges(self, root: Element, layers: Iterable[Layer]) -> Iterable[Edge]:
        sources = {(layer.id, port.id) for layer in layers for port in layer.outputs}
        targets = {(layer.id, port.id) for layer in layers for port in layer.inputs}
        fed: set[tuple[int, int]] = set()
        keys = ("from-layer", "from-port", "to-layer", "to-port")
        for element in self._children(root, "edges", "edge"):
            edge = Edge(*(self._integer(element, key, 0, _MOST_NUMBERS) for key in keys))
            source, target = (edge.from_layer, edge.from_port), (edge.to_layer, edge.to_port)
            if source not in sources or target not in targets:
                side, (layer, port) = ("from", source) if source not in sources else ("to", target)
                raise self._fail(element, f"an edge {side} port {port} of layer {layer}, which is not there", "")
            if target in fed:
                raise self._fail(element, f"a second edge to port {target[1]} of layer {target[0]}", "")
            fed.add(target)
            yield edge

    def _statistic(self, element: Element) -> tuple[str, Extremes]:
        name, low, high = (element.first(tag) for tag in ("name", "min", "max"))
        if name is None or low is None or high is None or not name.text:
            raise self._fail(element, "statistics of a layer without <name>, <min> and <max>", "calibrate again")
        limit = 3.4e38
        minimum, maximum = (
            tuple(self._parsed(part, part.tag, number, float, -limit, limit) for number in part.text.split(","))
            for part in (low, high)
        )
        if len(minimum) != len(maximum) or any(a > b for a, b in zip(minimum, maximum, strict=False)):
            what = f"the statistics of {name.text} do not pair a minimum with a larger maximum for each channel"
            raise self._fail(element, what, "calibrate again")
        return name.text, Extremes(minimum, maximum)

    def _preprocess(self, element: Element) -> Preprocess:
        channels = {self._integer(child, "id", 0, 1 << 16): self._channel(child) for child in element.each("channel")}
        if sorted(channels) != list(range(len(channels))):
            raise self._fail(element, "its channels are not numbered from 0 up", "")
        attributes = element.attributes
        reference, precision = attributes.get("reference-layer-name", ""), attributes.get("mean-precision", "FP32")
        return Preprocess(reference, precision.upper(), tuple(channels[index] for index in range(len(channels))))

    def _channel(self, element: Element) -> Channel:
        mean, scale = element.first("mean"), element.first("scale")
        shift, factor = (
            default if part is None or "value" not in part.attributes else self._real(part, "value")
            for part, default in ((mean, 0.0), (scale, 1.0))
        )
        if factor == 0.0:
            raise self._fail(element, "a scale of 0 divides by nothing", "")
        image = self._blob(mean) if mean is not None and "offset" in mean.attributes else None
        return Channel(shift, factor, image)

    def _children(self, element: Element, group: str, tag: str) -> Iterable[Element]:
        return (child for part in element.each(group) for child in part.each(tag))

    def _attribute(self, element: Element, key: str) -> str:
        if not (text := element.attributes.get(key, "")):
            raise self._fail(element, f"<{element.tag}> without {key}", "convert the original model again")
        return text

    def _integer(self, element: Element, key: str, low: int, high: int) -> int:
        return self._parsed(element, key, self._attribute(element, key), int, low, high)

    def _real(self, element: Element, key: str) -> float:
        return self._parsed(element, key, self._attribute(element, key), float, -3.4e38, 3.4e38)

    def _parsed(
        self, element: Element, key: str, text: str, kind: Callable[[str], Number], low: Number, high: Number
    ) -> Number:
        try:
            number = kind(text.strip()[:64])
        except ValueError as error:
            raise self._fail(element, f"{key} is '{text[:40]}', not a number", "") from error
        if not low <= number <= high:
            raise self._fail(element, f"{key} is {text[:40]}, outside {low} to {high}", "")
        return number

    def _unique(self, element: Element, what: str, keys: Iterable[str]) -> None:
        seen: set[str] = set()
        for key in keys:
            if key in seen:
                raise self._fail(element, f"two of one {what}: {key}", "convert the original model again")
            seen.add(key)

    def _fail(self, element: Element, what: str, fix: str) -> ModelError:
        return ModelError(what, where=f"{self._path}:{element.line}", fix=fix)
