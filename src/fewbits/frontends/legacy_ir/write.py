"""ONNX graph → an IR of version 5 to 7: ``NAME.xml`` with statistics and levels, ``NAME.bin`` with FP32 weights.

The CPU plugin of 2019 quantized weights when it loaded such a file, so the file is as large as the FP32 one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx_ir as ir
from numpy.typing import NDArray

from fewbits.errors import ModelError
from fewbits.files import whole_folder
from fewbits.frontends.legacy_ir.records import Extremes, Net
from fewbits.frontends.legacy_ir.writing.draft import Draft, Source, Task, sizes
from fewbits.frontends.legacy_ir.writing.serial import to_xml
from fewbits.frontends.legacy_ir.writing.table import WRITERS
from fewbits.graph import queries

VERSIONS = (5, 6, 7)
ByChannel = Mapping[str, tuple[NDArray[Any], NDArray[Any]]]


def save(
    model: ir.Model,
    path: Path,
    *,
    version: int = 6,
    integer: Collection[str] = (),
    extremes: ByChannel | None = None,
) -> None:
    """Write an FP32 model, whole or not at all.

    Layers are named as their nodes; those that give the model's outputs, as the outputs. A free batch becomes 1.

    Args:
        version: 5 (2019 R1), 6 (R2, R3) or 7.
        integer: names of nodes to run in INT8.
        extremes: minimum and maximum of each channel by the names of values; each is written for the layer that gives
            the value.

    Raises:
        ModelError: an operator that layers of 2019 cannot say, or sizes that are not known.
        OutputError: the files cannot be written.
    """
    if version not in VERSIONS:
        raise ValueError(f"IR version {version} is not one of {VERSIONS}")
    net, arrays = draft(model, version, frozenset(integer), extremes or {})
    with whole_folder(path) as scratch:
        target = scratch / path.name
        with target.with_suffix(".bin").open("wb") as file:
            for array in arrays:
                file.write(array.tobytes())
        target.write_bytes(to_xml(net))


def draft(
    model: ir.Model, version: int, integer: frozenset[str], extremes: ByChannel
) -> tuple[Net, list[NDArray[Any]]]:
    """The same as records, and the arrays of the ``.bin`` in their order."""
    graph = model.graph
    named = [value.name or "" for value in (*graph.inputs, *graph.outputs)]
    made = Draft(version, set(named))
    for value in graph.inputs:
        _input(made, value)
    for node in graph:
        _node(made, node, integer)
    read = {(edge.from_layer, edge.from_port) for edge in made.edges}
    for value in graph.outputs:
        _output(made, value, read)
    statistics = _statistics(made, extremes)
    return Net(graph.name or "net", version, tuple(made.layers), tuple(made.edges), statistics), made.arrays


def _statistics(made: Draft, extremes: ByChannel) -> dict[str, Extremes]:
    """By layer; one with several outputs has none, for statistics know no ports."""
    found: dict[str, Extremes] = {}
    for value, source in made.sources.items():
        layer = made.layers[source.layer]
        if value.name is not None and value.name in extremes and len(layer.outputs) == 1 and layer.name not in found:
            found[layer.name] = Extremes(*(tuple(map(float, side)) for side in extremes[value.name]))
    return found


def _input(made: Draft, value: ir.Value) -> None:
    if not queries.is_float(value):
        raise _refused("it is not FP32", value)
    dims = sizes(value, lambda what: _refused(what, value))
    made.sources[value] = made.add(value.name or "", "Input", (), [dims], {}, {})[0]


def _refused(what: str, value: ir.Value) -> ModelError:
    return ModelError(what, where=f"input {value.name}", fix="write OUT.xml without --ir-version")


def _node(made: Draft, node: ir.Node, integer: frozenset[str]) -> None:
    """Layers for one node; the last one has its name, or that of the model's output it gives."""
    first = node.outputs[0]
    gives = first.is_graph_output() and len(node.outputs) == 1 and node.op_type not in ("Identity", "Dropout")
    name = (first.name or "") if gives else made.free(queries.node_name(node))
    task = Task(made, node, name, queries.node_name(node) in integer)
    if node.op_type not in WRITERS or node.domain not in ("", "ai.onnx"):
        raise task.fail("no layer of 2019 does what this operator does, or fewbits does not know it")
    WRITERS[node.op_type](task)


def _output(made: Draft, value: ir.Value, read: set[tuple[int, int]]) -> None:
    """Outputs of an IR are what no layer reads; one that is read gets a layer that changes nothing."""
    source: Source = made.sources[value]
    layer = made.layers[source.layer]
    if layer.name == value.name and (source.layer, source.port) not in read and layer.type != "Input":
        return
    if layer.name == value.name and layer.type != "Input":
        made.layers[source.layer] = replace(layer, name=made.free(layer.name))
    data = {"power": "1.0", "scale": "1.0", "shift": "0.0", "quantization_level": "FP32"}
    name = (value.name or "") if layer.type != "Input" else made.free(value.name or "")
    made.add(name, "Power", [source], [source.dims], data, {})
