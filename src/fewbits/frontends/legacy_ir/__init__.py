"""The OpenVINO IR of 2018 and 2019 (versions 2 to 7): read into ONNX, with Q/DQ from its statistics, and written.

OpenVINO of today reads version 10 and later only.
"""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir

from fewbits.errors import ModelError
from fewbits.files import check_name
from fewbits.frontends.legacy_ir.build import build, preprocessing
from fewbits.frontends.legacy_ir.document import read
from fewbits.frontends.legacy_ir.quantizers import quantize_layers
from fewbits.frontends.legacy_ir.weights import Weights


def load(path: Path, *, weights: Path | None = None, quantized: bool = True) -> ir.Model:
    """Read an IR of version 2 to 7.

    Args:
        weights: its ``.bin``; None for the file of the same name beside it.
        quantized: put Q/DQ where the IR marks layers I8; False leaves the FP32 network.

    Raises:
        ModelError: not such an IR, damaged, or with a layer that fewbits does not know.
    """
    check_name(path)
    if path.is_dir():
        raise ModelError("this is a folder, not a model file", where=str(path), fix="name the .xml file in it")
    net = read(path)
    try:
        model, built = build(net, Weights(weights or path.with_suffix(".bin")))
        floats = quantize_layers(model, net, built) if quantized else []
    except ModelError as error:
        raise ModelError(error.what, where=f"{path}: {error.where}", fix=error.fix) from error
    notes = model.meta.setdefault("notes", [])
    for name in preprocessing(net):
        notes.append(f"the IR's mean and scale of input {name} are part of the network; feed it what it is made for")
    if floats:
        notes.append(
            f"the IR has no statistics for what {len(floats)} I8 layers read, such as {floats[0]}: left in FP32"
        )
    model.meta["frontend"] = f"OpenVINO IR v{net.version}"
    return model
