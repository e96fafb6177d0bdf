"""OpenVINO IR files: written by OpenVINO, with what fewbits decided for each layer in its ``rt_info``."""

from __future__ import annotations

import shutil
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx_ir as ir

from fewbits.errors import EngineError, ModelError, OutputError
from fewbits.files import whole_folder
from fewbits.graph.files import as_file
from fewbits.libraries import openvino as library
from fewbits.libraries import openvino_sentence


def save_ir(
    source: ir.Model | Path,
    path: Path,
    *,
    fp16: bool = False,
    half_io: bool = False,
    layers: Mapping[str, Mapping[str, str]] | None = None,
) -> None:
    """Convert to IR: ``NAME.xml`` and ``NAME.bin``, whole or not at all.

    Args:
        fp16: store FP32 weights in FP16.
        half_io: take FP16 where the model takes FP32, and give FP16.
        layers: node name → attributes for that layer's ``rt_info``, such as ``quantization_level``.

    Raises:
        EngineError: OpenVINO cannot read the model.
        OutputError: the files cannot be written.
    """
    openvino = library()
    with as_file(source) as file:
        try:
            model = openvino.Core().read_model(str(file))
        except RuntimeError as error:
            raise EngineError(f"OpenVINO cannot read it: {openvino_sentence(error)}") from error
        if half_io:
            model = _with_half_io(openvino, model)
        with whole_folder(path) as scratch:
            target = scratch / path.name
            try:
                openvino.save_model(model, str(target), compress_to_fp16=fp16)
            except RuntimeError as error:  # its streams say nothing more; the likely cause is a full disk
                free = shutil.disk_usage(scratch).free
                raise OutputError(
                    f"OpenVINO cannot write it ({free} bytes are free)",
                    where=str(path),
                    fix="free some space or write elsewhere with -o",
                ) from error
            if layers:
                _annotate(target, layers)


def _with_half_io(openvino: Any, model: Any) -> Any:
    steps = openvino.preprocess.PrePostProcessor(model)
    for ports, sides in ((model.inputs, steps.input), (model.outputs, steps.output)):
        for index, port in enumerate(ports):
            if port.get_element_type() == openvino.Type.f32:
                sides(index).tensor().set_element_type(openvino.Type.f16)
    return steps.build()


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


def check_ir(path: Path) -> None:
    """Whether the path is an IR: a ``<net>`` document with its ``.bin`` beside it.

    Raises:
        ModelError: it is not.
    """
    if not path.exists():
        raise ModelError("no such file", where=str(path), fix="check the path")
    if not path.is_file():
        raise ModelError("this is a folder, not a model file", where=str(path), fix="name the .xml file in it")
    try:
        with path.open("rb") as file:
            # Only the root's start tag is read: no entity of a foreign document is ever expanded.
            _, root = next(ET.iterparse(file, events=("start",)))
    except (ET.ParseError, StopIteration, OSError) as error:
        raise ModelError("not an OpenVINO IR", where=str(path), fix="convert the model again") from error
    if root.tag != "net":
        raise ModelError("not an OpenVINO IR: its root is no <net>", where=str(path), fix="convert the model again")
    if not path.with_suffix(".bin").is_file():
        raise ModelError("its weights are missing", where=str(path), fix=f"put {path.stem}.bin beside it")
