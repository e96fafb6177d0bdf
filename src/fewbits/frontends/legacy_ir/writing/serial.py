"""``Net`` → XML, byte for byte in the manner of 2019 where that is known."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping

from fewbits.frontends.legacy_ir.records import Extremes, Layer, Net, Port


def to_xml(net: Net) -> bytes:
    """The document, UTF-8."""
    root = ET.Element("net", {"batch": _batch(net), "name": net.name, "version": str(net.version)})
    layers = ET.SubElement(root, "layers")
    for layer in net.layers:
        _layer(layers, layer)
    edges = ET.SubElement(root, "edges")
    for edge in net.edges:
        ends = (edge.from_layer, edge.from_port, edge.to_layer, edge.to_port)
        keys = ("from-layer", "from-port", "to-layer", "to-port")
        ET.SubElement(edges, "edge", dict(zip(keys, map(str, ends), strict=True)))
    if net.statistics:
        _statistics(root, net.statistics)
    ET.indent(root, "\t")
    document: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return document + b"\n"


def _batch(net: Net) -> str:
    inputs = [layer for layer in net.layers if layer.type == "Input" and layer.outputs[0].dims]
    return str(inputs[0].outputs[0].dims[0]) if inputs else "1"


def _layer(parent: ET.Element, layer: Layer) -> None:
    attributes = {"id": str(layer.id), "name": layer.name, "precision": layer.precision, "type": layer.type}
    element = ET.SubElement(parent, "layer", attributes)
    if layer.data:
        ET.SubElement(element, "data", dict(sorted(layer.data.items())))
    for side, ports in (("input", layer.inputs), ("output", layer.outputs)):
        if ports:
            group = ET.SubElement(element, side)
            for port in ports:
                _port(group, port)
    if layer.blobs:
        blobs = ET.SubElement(element, "blobs")
        for kind, blob in layer.blobs.items():
            ET.SubElement(blobs, kind, {"offset": str(blob.offset), "size": str(blob.size)})


def _port(parent: ET.Element, port: Port) -> None:
    element = ET.SubElement(parent, "port", {"id": str(port.id)})
    for size in port.dims:
        ET.SubElement(element, "dim").text = str(size)


def _statistics(root: ET.Element, statistics: Mapping[str, Extremes]) -> None:
    """Six decimals after a comma and a space, as ``std::to_string`` gave them: less than 5e-7 becomes 0."""
    group = ET.SubElement(root, "statistics")
    for name, extremes in statistics.items():
        layer = ET.SubElement(group, "layer")
        ET.SubElement(layer, "name").text = name
        for tag, numbers in (("min", extremes.minimum), ("max", extremes.maximum)):
            ET.SubElement(layer, tag).text = ", ".join(f"{number:.6f}" for number in numbers)
