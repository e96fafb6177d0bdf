"""``Net`` → ONNX graph: layers in the order they feed each other, each by its function in the table."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from onnx_ir.tape import Tape

from fewbits.errors import ModelError
from fewbits.frontends.legacy_ir.records import Edge, Layer, Net, Preprocess
from fewbits.frontends.legacy_ir.site import Site, place
from fewbits.frontends.legacy_ir.table import LAYERS
from fewbits.frontends.legacy_ir.weights import DTYPES, Weights
from fewbits.frontends.onnx import MINIMUM_IR_VERSION, MINIMUM_OPSET, normalise
from fewbits.graph import queries

Source = tuple[int, int]
_SOURCES = ("Input", "Const")
_UNKNOWN = "fewbits reads the layers that convolutional networks use; cut the network before it, or convert it again"


@dataclass(frozen=True, eq=False)
class Built:
    """A layer with what became of it.

    Args:
        feeds: where its inputs come from, (layer, port), in the order of its ports.
    """

    layer: Layer
    feeds: tuple[Source, ...]
    inputs: tuple[ir.Value, ...]
    nodes: tuple[ir.Node, ...]
    outputs: tuple[ir.Value, ...]


def build(net: Net, stored: Weights) -> tuple[ir.Model, dict[int, Built]]:
    """Build the FP32 model: one value for each output port, named as its layer.

    Returns:
        The normalised model, and what each layer became, in the order of computation.

    Raises:
        ModelError: a layer fewbits does not know, a cycle, or an output that is not what its layer declares.
    """
    builder = _Builder(net, stored)
    layers = {layer.id: layer for layer in net.layers}
    for number in _ordered(net):
        builder.add(layers[number])
    model = builder.model()
    for built in builder.built.values():
        _check_declared(built)
    return model, builder.built


class _Builder:
    def __init__(self, net: Net, stored: Weights) -> None:
        self._net, self._stored = net, stored
        self._nodes: list[ir.Node] = []
        self._initializers: list[ir.Value] = []
        self._feeds = {(edge.to_layer, edge.to_port): (edge.from_layer, edge.from_port) for edge in net.edges}
        self._values: dict[Source, ir.Value] = {}
        self._shapes = {(layer.id, port.id): port.dims for layer in net.layers for port in layer.outputs}
        self._inputs: list[ir.Value] = []
        self._taken = {layer.name for layer in net.layers}
        self._preprocess = preprocessing(net)
        self.built: dict[int, Built] = {}

    def add(self, layer: Layer) -> None:
        feeds = tuple(self._feed(layer, port.id) for port in layer.inputs)
        inputs = tuple(self._values[feed] for feed in feeds)
        shapes = tuple(self._shapes[feed] for feed in feeds)
        site = Site(layer, inputs, shapes, Tape(), self._stored, self._taken)
        made = self._make(site)
        outputs = tuple(_owned(site, value) for value in ([made] if isinstance(made, ir.Value) else made))
        if len(outputs) < len(layer.outputs):
            raise site.fail(f"it declares {len(layer.outputs)} outputs and has {len(outputs)}")
        nodes = tuple(site.tape.nodes)
        self._nodes += nodes
        self._initializers += site.tape.initializers
        _name(layer, nodes, outputs)
        for port, value in zip(layer.outputs, outputs, strict=False):
            self._values[layer.id, port.id] = value
        self.built[layer.id] = Built(layer, feeds, inputs, nodes, outputs)

    def _feed(self, layer: Layer, port: int) -> Source:
        if (layer.id, port) not in self._feeds:
            raise ModelError(
                f"nothing feeds its input port {port}", where=place(layer), fix="convert the original model again"
            )
        return self._feeds[layer.id, port]

    def _make(self, site: Site) -> ir.Value | Sequence[ir.Value]:
        layer = site.layer
        if layer.type == "Input":
            return self._input(site)
        if layer.type == "Const":
            return _constant(site)
        if layer.type not in LAYERS:
            raise ModelError(f"fewbits knows no layer of type {layer.type}", where=place(layer), fix=_UNKNOWN)
        return LAYERS[layer.type](site)

    def _input(self, site: Site) -> ir.Value:
        layer = site.layer
        dtype = DTYPES.get(layer.precision)
        if layer.inputs:
            raise site.fail("an Input that something feeds")
        if dtype is None:
            raise site.fail(f"inputs of precision {layer.precision} are unknown to fewbits")
        kind = ir.DataType.FLOAT if dtype.kind == "f" else ir.DataType.from_numpy(dtype)
        value = ir.Value(name=layer.name, shape=ir.Shape(site.out), type=ir.TensorType(kind))
        self._inputs.append(value)
        steps = self._preprocess.get(layer.name)
        return value if steps is None else _preprocessed(site, value, steps)

    def model(self) -> ir.Model:
        read = set(self._feeds.values())
        outputs = [
            self._values[layer.id, port.id]
            for layer in self._net.layers
            for port in layer.outputs
            if layer.type not in _SOURCES and (layer.id, port.id) not in read
        ]
        if not outputs or not self._inputs:
            raise ModelError("the network has no input or no output", where=self._net.name, fix="convert it again")
        graph = ir.Graph(
            self._inputs,
            outputs,
            nodes=self._nodes,
            initializers=self._initializers,
            opset_imports={"": MINIMUM_OPSET},
            name=self._net.name or "net",
        )
        return normalise(ir.Model(graph, ir_version=MINIMUM_IR_VERSION, producer_name="fewbits"))


def _ordered(net: Net) -> Iterator[int]:
    """Layer ids so that each comes after what feeds it (Kahn 1962)."""
    waiting = {layer.id: 0 for layer in net.layers}
    followers: dict[int, list[Edge]] = {layer.id: [] for layer in net.layers}
    for edge in net.edges:
        waiting[edge.to_layer] += 1
        followers[edge.from_layer].append(edge)
    ready = deque(layer.id for layer in net.layers if not waiting[layer.id])
    while ready:
        number = ready.popleft()
        del waiting[number]
        yield number
        for edge in followers[number]:
            waiting[edge.to_layer] -= 1
            if not waiting[edge.to_layer]:
                ready.append(edge.to_layer)
    if waiting:
        stuck = next(layer for layer in net.layers if layer.id in waiting)
        raise ModelError("it feeds itself, through others or not", where=place(stuck), fix="convert it again")


def _first_input(net: Net) -> str:
    return next((layer.name for layer in net.layers if layer.type == "Input"), "")


def _owned(site: Site, value: ir.Value) -> ir.Value:
    """A value of the layer's own: what it only hands on gets a node."""
    if site.layer.type in _SOURCES or value.producer() in site.tape.nodes or value in site.tape.initializers:
        return value
    return site.op("Identity", value)


def _constant(site: Site) -> ir.Value:
    layer = site.layer
    if len(layer.blobs) != 1 or not layer.outputs:
        raise site.fail("a constant needs one blob and one output port")
    precision = layer.outputs[0].precision or layer.precision
    array = site.stored.shaped(next(iter(layer.blobs.values())), precision, site.out, place(layer))
    return site.const("value", array)


def _preprocessed(site: Site, value: ir.Value, steps: Preprocess) -> ir.Value:
    """(x - mean) / scale, channel by channel; users of 2019 hand the network its images as they are."""
    shape = site.out
    if len(shape) < 3 or len(steps.channels) != shape[1]:
        raise site.fail(f"<pre-process> has {len(steps.channels)} channels for an input of {list(shape)}")
    images = [channel.image for channel in steps.channels]
    held = [image for image in images if image is not None]
    if held:
        if len(held) != len(images):
            raise site.fail("mean images for some of its channels only")
        mean = np.stack([site.stored.shaped(image, steps.precision, shape[2:], place(site.layer)) for image in held])
    else:
        mean = np.array([channel.mean for channel in steps.channels], np.float32)
        mean = mean.reshape(-1, *(1,) * (len(shape) - 2))
    scale = np.array([channel.scale for channel in steps.channels], np.float32)
    y = site.op("Sub", value, site.const("mean", mean.astype(np.float32))) if mean.any() else value
    if not (scale == 1.0).all():
        y = site.op("Div", y, site.const("scale", scale.reshape(-1, *(1,) * (len(shape) - 2))))
    return y


def _name(layer: Layer, nodes: Sequence[ir.Node], outputs: Sequence[ir.Value]) -> None:
    """The node that gives the result has the layer's name, the ones before it the name and what they do."""
    last = outputs[0].producer() if outputs else None
    for index, node in enumerate(nodes):
        node.name = layer.name if node is last else f"{layer.name}/{node.op_type}_{index}"
        for value in node.outputs:
            value.name = f"{node.name}/{value.index()}"
    if layer.type not in _SOURCES:
        for index, value in enumerate(outputs):
            value.name = layer.name if len(layer.outputs) == 1 else f"{layer.name}.{index}"


def _check_declared(built: Built) -> None:
    """Whether the sizes that follow from the attributes are the ones that the ports declare."""
    for port, value in zip(built.layer.outputs, built.outputs, strict=False):
        found = queries.dims(value)
        if found != port.dims:
            given = "none" if found is None else list(found)
            what = f"it declares an output of {list(port.dims)}, and its attributes and inputs give {given}"
            raise ModelError(what, where=place(built.layer), fix="convert the original model again")


def preprocessing(net: Net) -> Mapping[str, Preprocess]:
    """By input name: what the network does to it first."""
    return {steps.reference or _first_input(net): steps for steps in net.preprocess if steps.channels}
