"""OpenVINO IR, and what OpenVINO reads without the frameworks: TensorFlow, TensorFlow Lite, PaddlePaddle."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir
from onnx_ir.passes import common

from fewbits.errors import ModelError
from fewbits.frontends.onnx import normalise
from fewbits.frontends.openvino.build import build
from fewbits.frontends.openvino.joins import join_biases, join_clips
from fewbits.frontends.openvino.reading import read


def load(path: Path) -> ir.Model:
    """Read an .xml (IR version 10 or 11), a .pb (frozen graph), a SavedModel folder, a .tflite or a .pdmodel file.

    Returns:
        The model in ONNX operators: names of inputs and outputs kept, constants folded, weights of 8 bits kept as such.

    Raises:
        ModelError: no such file, one that its reader refuses, or an operation that ONNX cannot express.
    """
    source, phrase = read(path)
    try:
        model = build(source, named=path.suffix.lower() == ".xml")
    except ModelError as error:
        raise ModelError(error.what, where=f"{path}: {error.where}".rstrip(": "), fix=error.fix) from error
    common.RemoveUnusedNodesPass()(model)
    join_biases(model)
    join_clips(model)
    model = normalise(model)
    model.meta["frontend"] = phrase
    return model
