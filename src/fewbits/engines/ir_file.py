"""OpenVINO IR files: written by OpenVINO, with what fewbits decided for each layer in its ``rt_info``."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path

import onnx_ir as ir

from fewbits.engines.openvino import library
from fewbits.errors import EngineError
from fewbits.files import whole_folder
from fewbits.graph.files import as_file


def save_ir(
    source: ir.Model | Path,
    path: Path,
    *,
    fp16: bool = False,
    layers: Mapping[str, Mapping[str, str]] | None = None,
) -> None:
    """Convert to IR: ``NAME.xml`` and ``NAME.bin``, whole or not at all.

    Args:
        fp16: store FP32 weights in FP16.
        layers: node name → attributes for that layer's ``rt_info``, such as ``quantization_level``.

    Raises:
        EngineError: OpenVINO cannot read the model.
        OutputError: the files cannot be written.
    """
    openvino = library()
    with whole_folder(path) as scratch:
        target = scratch / path.name
        try:
            with as_file(source) as file:
                openvino.save_model(openvino.Core().read_model(str(file)), str(target), compress_to_fp16=fp16)
        except RuntimeError as error:
            raise EngineError(f"OpenVINO cannot convert it: {str(error).strip().splitlines()[-1]}") from error
        if layers:
            _annotate(target, layers)


def _annotate(path: Path, layers: Mapping[str, Mapping[str, str]]) -> None:
    tree = ET.parse(path)
    for layer in tree.getroot().iter("layer"):
        # A convolution with bias becomes Convolution and Add; the ONNX name stays with the Add.
        name = layer.get("name", "").removesuffix("/WithoutBiases")
        attributes = layers.get(name)
        if not attributes or layer.get("type") in ("Const", "Parameter", "Result"):
            continue
        info = layer.find("rt_info")
        if info is None:
            info = ET.SubElement(layer, "rt_info")
        for key, value in attributes.items():
            ET.SubElement(info, "attribute", {"name": key, "version": "0", "value": value})
    tree.write(path, encoding="utf-8", xml_declaration=True)
