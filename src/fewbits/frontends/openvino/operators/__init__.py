"""The operations of OpenVINO's opsets 1 to 15 and what each becomes in ONNX, a file a family."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import onnx_ir as ir

from fewbits.frontends.openvino.operation import Operation
from fewbits.frontends.openvino.operators import (
    activations,
    convolution,
    detection,
    elementwise,
    fourier,
    indexing,
    matmul,
    normalization,
    pooling,
    quantize,
    recurrent,
    reduction,
    resize,
    shapes,
    slicing,
    space,
    ssd,
)
from fewbits.frontends.openvino.writer import Writer

Emit = Callable[[Operation, Writer], ir.Value | Sequence[ir.Value]]

TABLE: Final[dict[str, Emit]] = {
    **elementwise.TABLE,
    **activations.TABLE,
    **convolution.TABLE,
    **pooling.TABLE,
    **normalization.TABLE,
    **matmul.TABLE,
    **shapes.TABLE,
    **slicing.TABLE,
    **indexing.TABLE,
    **space.TABLE,
    **reduction.TABLE,
    **resize.TABLE,
    **quantize.TABLE,
    **detection.TABLE,
    **ssd.TABLE,
    **fourier.TABLE,
    **recurrent.TABLE,
}

# What only a later ONNX opset than the house's minimum can say.
LATER_OPSET: Final[dict[str, int]] = {
    "BitwiseAnd": 18,
    "BitwiseOr": 18,
    "BitwiseXor": 18,
    "BitwiseNot": 18,
    "ScatterElementsUpdate": 18,
}

_BODY = "it runs a body of its own, and quantization here needs one flat graph"
_STATE = "it keeps a state between runs"
REFUSED: Final[dict[str, str]] = {
    "If": _BODY,
    "Loop": _BODY,
    "TensorIterator": _BODY,
    "ReadValue": _STATE,
    "Assign": _STATE,
    "RandomUniform": "its numbers differ each run, so nothing could be compared",
    "Multinomial": "its numbers differ each run, so nothing could be compared",
    "FrameworkNode": "OpenVINO's reader does not know it",
}
