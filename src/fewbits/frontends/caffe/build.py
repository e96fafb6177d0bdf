"""Net and weights → graph: layer after layer, blobs followed through in-place layers, the batch decided."""

from __future__ import annotations

import difflib
import math
from dataclasses import replace

import onnx_ir as ir

from fewbits.errors import ModelError
from fewbits.frontends.caffe.moments import Moments, mixture
from fewbits.frontends.caffe.net import Input, Layer, Net, wire
from fewbits.frontends.caffe.normalization import absorbs
from fewbits.frontends.caffe.parameters import Parameters
from fewbits.frontends.caffe.schema import FIELDS, NESTED
from fewbits.frontends.caffe.step import BatchError, Step
from fewbits.frontends.caffe.table import LAYERS, Rule
from fewbits.frontends.caffe.weights import Weights
from fewbits.frontends.caffe.writer import FREE_BATCH, OPSET, Writer

_MOST_NUMBERS = 1 << 31

Version = tuple[int, str]


def build(net: Net, weights: Weights) -> tuple[ir.Model, list[str]]:
    """The network as an ONNX graph, and sentences on what was decided.

    A file's batch of 1 stays. Another one says how its author measured, not what the network needs: it is left free
    ("N") where every layer treats each sample alike, else it becomes 1.

    Raises:
        ModelError: a layer that cannot be converted, with its line.
    """
    batches = {item.shape[0] for item in net.inputs if len(item.shape) > 1}
    if len(batches) != 1 or batches == {1}:
        return _build(net, weights, free=False), []
    given = f"the file's batch of {min(batches)}"
    try:
        return _build(net, weights, free=True), [f"{given} is left free"]
    except BatchError as error:
        single = tuple(replace(item, shape=(1, *item.shape[1:])) for item in net.inputs)
        reason = str(error)
    try:
        return _build(replace(net, inputs=single), weights, free=False), [f"{given} became 1: {reason}"]
    except ModelError:  # sizes that hold for the file's batch alone
        return _build(net, weights, free=False), [f"{given} stays: {reason}"]


def _build(net: Net, weights: Weights, *, free: bool) -> ir.Model:
    wiring = wire(net.inputs, net.layers)
    values: dict[Version, ir.Value] = {}
    moments: dict[Version, Moments] = {}
    for item in net.inputs:
        values[-1, item.name], moments[-1, item.name] = _input(net, item, free), Moments()
    scales = _absorbed(net, wiring.sources, wiring.readers)
    writer = Writer()
    for index, (layer, sources) in enumerate(zip(net.layers, wiring.sources, strict=True)):
        rule = _rule(layer)
        step = Step(
            layer=layer,
            params=_params(layer, rule),
            inputs=tuple(values[source] for source in sources),
            writer=writer,
            weights=weights,
            moments=tuple(moments[source] for source in sources),
            scale=net.layers[scales[index]] if index in scales else None,
            absorbed=index in scales.values(),
        )
        made = rule.write(step)
        if len(made) != len(layer.tops):
            raise step.error(f"{len(layer.tops)} tops, of which it makes {len(made)}", fix="correct its tops")
        for top, value in zip(layer.tops, made, strict=True):
            _check_size(step, value, free)
            values[index, top] = value
            moments[index, top] = step.moments_out or mixture(step.moments)
    outputs = _outputs(net, writer, values, wiring.open)
    _name(net, values, outputs, writer)
    graph = ir.Graph(
        [values[-1, item.name] for item in net.inputs],
        list(outputs),
        nodes=writer.tape.nodes,
        initializers=[value for value in writer.tape.initializers if value.uses() or value in outputs],
        opset_imports={"": OPSET},
        name=net.name or "net",
    )
    return ir.Model(graph, ir_version=8, producer_name="fewbits")


def _input(net: Net, item: Input, free: bool) -> ir.Value:
    if math.prod(item.shape) > _MOST_NUMBERS:
        raise ModelError(
            f"input '{item.name}' of shape {list(item.shape)} holds more than {_MOST_NUMBERS} numbers",
            where=f"{net.path}: line {item.line}",
            fix="correct its shape",
        )
    shape = ir.Shape([FREE_BATCH, *item.shape[1:]] if free else item.shape)
    return ir.Value(name=item.name, shape=shape, type=ir.TensorType(ir.DataType.FLOAT))


def _rule(layer: Layer) -> Rule:
    rule = LAYERS.get(layer.type)
    if rule is None:
        near = difflib.get_close_matches(layer.type, LAYERS, 1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise layer.fields.error(
            f"no conversion for layers of type '{layer.type}'",
            fix=f"{hint}replace it by standard layers, or convert the network to ONNX with the fork that defines it",
        )
    least, most = rule.bottoms
    if not least <= len(layer.bottoms) <= most:
        wanted = str(least) if least == most else f"{least} to {most}" if most < 10 else f"{least} or more"
        raise layer.fields.error(f"{len(layer.bottoms)} bottoms, it takes {wanted}", fix="correct its bottoms")
    return rule


def _params(layer: Layer, rule: Rule) -> Parameters:
    strange = set(layer.fields.message.fields) - FIELDS["layer"] - set(FIELDS)
    if strange:
        raise _unknown(layer.fields, min(strange))
    params = layer.fields.child(rule.params) if rule.params else layer.fields
    if rule.params:
        _check_fields(params, FIELDS[rule.params])
    return params


def _check_fields(params: Parameters, known: frozenset[str]) -> None:
    for name in params.message.fields:
        if name not in known:
            raise _unknown(params, name)
        if name in NESTED:
            for inner in params.messages(name):
                _check_fields(inner, FIELDS[NESTED[name]])


def _unknown(params: Parameters, name: str) -> ModelError:
    return params.error(
        f"unknown field '{name}', which may change what the layer computes",
        params.message.fields[name][0].line,
        fix="remove it if it does not",
    )


def _absorbed(net: Net, sources: tuple[tuple[Version, ...], ...], readers: dict[Version, list[int]]) -> dict[int, int]:
    """Index of a BatchNorm → index of the Scale that alone reads it."""
    found = {}
    for index, layer in enumerate(net.layers):
        if layer.type == "Scale" and len(sources[index]) == 1:
            maker, _ = version = sources[index][0]
            if maker >= 0 and readers[version] == [index] and absorbs(net.layers[maker], layer):
                found[maker] = index
    return found


def _check_size(step: Step, value: ir.Value, free: bool) -> None:
    sizes = [size if isinstance(size, int) else 1 for size in value.shape or ()]
    if any(size < 0 for size in sizes) or math.prod(sizes) > _MOST_NUMBERS:
        raise step.error(f"its result has the shape {sizes}", fix="correct the sizes in the prototxt")
    first = value.shape[0] if value.shape else None
    if free and not (isinstance(first, ir.SymbolicDim) and first.value == FREE_BATCH):
        step.mixes_samples("gives a result that has no sample a row")


def _outputs(
    net: Net, writer: Writer, values: dict[Version, ir.Value], versions: tuple[Version, ...]
) -> dict[ir.Value, str]:
    """The blobs nobody reads; one that is another's value, an input or a constant gets a node of its own."""
    found: dict[ir.Value, str] = {}
    for version in versions:
        if version[0] < 0:  # an input nobody reads
            continue
        value, name = values[version], version[1]
        if value in found or value.producer() is None:
            value = values[version] = writer.op("Identity", [value], {}, net.layers[version[0]].name)
        found[value] = name
    if not found:
        raise ModelError("no output", where=net.path, fix="give a network that computes")
    return found


def _name(net: Net, values: dict[Version, ir.Value], outputs: dict[ir.Value, str], writer: Writer) -> None:
    """Values bear their blob's name; of a blob that in-place layers write again the last version does.

    The earlier ones are told apart by their layer: "conv1.conv1", "conv1.relu1". Inputs keep theirs in any case.
    Values inside a layer bear their node's name.
    """
    last = {version[1]: value for version, value in values.items()}
    taken = {item.name: values[-1, item.name] for item in net.inputs}
    for (index, blob), value in values.items():
        if index >= 0 and not value.is_initializer() and taken.get(value.name or "") is not value:
            blob = outputs.get(value, blob)
            whole = last[blob] is value and blob not in taken
            _give(value, blob if whole else f"{blob}.{net.layers[index].name}", taken)
    for node in writer.tape.nodes:
        for value in node.outputs:
            if value.name not in taken:
                _give(value, node.name or node.op_type, taken)


def _give(value: ir.Value, name: str, taken: dict[str, ir.Value]) -> None:
    while taken.setdefault(name, value) is not value:
        name += "_"
    value.name = name
