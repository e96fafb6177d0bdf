"""Which function builds which layer: the one table to change when a layer is added.

From the catalog of layers of OpenVINO 2019 (``Legacy_IR_Layers_Catalog_Spec``); names that only older versions used
stand beside their successors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import onnx_ir as ir

from fewbits.frontends.legacy_ir import (
    detection,
    linear,
    norms,
    pointwise,
    pooling,
    priors,
    resizing,
    selecting,
    shaping,
)
from fewbits.frontends.legacy_ir.site import Site

Build = Callable[[Site], ir.Value | Sequence[ir.Value]]

LAYERS: Final[dict[str, Build]] = {
    "Convolution": linear.convolution,
    "Deconvolution": linear.deconvolution,
    "FullyConnected": linear.fully_connected,
    "InnerProduct": linear.fully_connected,
    "Gemm": linear.gemm,
    "Pooling": pooling.pooling,
    **pointwise.UNARY,
    "Activation": pointwise.activation,
    "ReLU": pointwise.relu,
    "ELU": pointwise.elu,
    "Clamp": pointwise.clamp,
    "PReLU": pointwise.prelu,
    "Power": pointwise.power,
    "Eltwise": pointwise.eltwise,
    "ScaleShift": pointwise.scale_shift,
    "BatchNormalization": pointwise.batch_normalization,
    "Norm": norms.norm,
    "LRN": norms.norm,
    "Normalize": norms.normalize,
    "GRN": norms.grn,
    "MVN": norms.mvn,
    "SoftMax": norms.softmax,
    "Reshape": shaping.reshape,
    "Flatten": shaping.reshape,
    "Squeeze": shaping.reshape,
    "Unsqueeze": shaping.reshape,
    "Concat": shaping.concat,
    "Split": shaping.split,
    "Slice": shaping.split,
    "Permute": shaping.permute,
    "Crop": shaping.crop,
    "Pad": shaping.pad,
    "Tile": shaping.tile,
    "StridedSlice": shaping.strided_slice,
    "DepthToSpace": shaping.depth_to_space,
    "ShuffleChannels": shaping.shuffle_channels,
    "Interp": resizing.interp,
    "Resample": resizing.resample,
    "Upsampling": resizing.nearest,
    "ArgMax": selecting.argmax,
    "TopK": selecting.top_k,
    "PriorBox": priors.prior_box,
    "PriorBoxClustered": priors.prior_box_clustered,
    "DetectionOutput": detection.detection_output,
}
