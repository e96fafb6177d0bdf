"""Layer type → what writes it, and the message its parameters stand in. A new layer is a function and a line here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import onnx_ir as ir

from fewbits.frontends.caffe import (
    activation,
    combine,
    convolution,
    detection,
    normalization,
    pooling,
    priors,
    reducing,
    reshaping,
    resizing,
)
from fewbits.frontends.caffe.step import Step


@dataclass(frozen=True)
class Rule:
    """``write`` returns the value of each top; ``bottoms`` is the least and the largest number of them."""

    write: Callable[[Step], list[ir.Value]]
    params: str = ""
    bottoms: tuple[int, int] = (1, 1)


_MANY = 10_000
_CONVOLUTION = "convolution_param"

LAYERS: dict[str, Rule] = {
    "AbsVal": Rule(activation.absolute),
    "ArgMax": Rule(reducing.argmax, "argmax_param"),
    "BNLL": Rule(activation.softplus),
    "BatchNorm": Rule(normalization.batch_norm, "batch_norm_param"),
    "Bias": Rule(normalization.bias, "bias_param", (1, 2)),
    "Clip": Rule(activation.clip, "clip_param"),
    "Concat": Rule(combine.concat, "concat_param", (1, _MANY)),
    "Convolution": Rule(convolution.convolution, _CONVOLUTION, (1, _MANY)),
    "ConvolutionDepthwise": Rule(convolution.depthwise, _CONVOLUTION),
    "Crop": Rule(reshaping.crop, "crop_param", (2, 2)),
    "Deconvolution": Rule(convolution.deconvolution, _CONVOLUTION, (1, _MANY)),
    "DepthwiseConvolution": Rule(convolution.depthwise, _CONVOLUTION),
    "DetectionOutput": Rule(detection.detection_output, "detection_output_param", (3, 5)),
    "Dropout": Rule(activation.dropout, "dropout_param"),
    "ELU": Rule(activation.elu, "elu_param"),
    "Eltwise": Rule(combine.eltwise, "eltwise_param", (2, _MANY)),
    "Exp": Rule(activation.exponential, "exp_param"),
    "Flatten": Rule(reshaping.flatten, "flatten_param"),
    "InnerProduct": Rule(convolution.inner_product, "inner_product_param"),
    "Interp": Rule(resizing.interp, "interp_param"),
    "LRN": Rule(normalization.lrn, "lrn_param"),
    "Log": Rule(activation.logarithm, "log_param"),
    "MVN": Rule(normalization.mvn, "mvn_param"),
    "Normalize": Rule(normalization.normalize, "norm_param"),
    "PReLU": Rule(activation.prelu, "prelu_param"),
    "Permute": Rule(reshaping.permute, "permute_param"),
    "Pooling": Rule(pooling.pooling, "pooling_param"),
    "Power": Rule(activation.power, "power_param"),
    "PriorBox": Rule(priors.prior_box, "prior_box_param", (2, 2)),
    "ReLU": Rule(activation.relu, "relu_param"),
    "ReLU6": Rule(activation.relu6),
    "Reduction": Rule(reducing.reduction, "reduction_param"),
    "Reshape": Rule(reshaping.reshape, "reshape_param"),
    "Scale": Rule(normalization.scale, "scale_param", (1, 2)),
    "ShuffleChannel": Rule(reshaping.shuffle_channels, "shuffle_channel_param"),
    "Sigmoid": Rule(activation.sigmoid, "sigmoid_param"),
    "Silence": Rule(activation.same, bottoms=(1, _MANY)),
    "Slice": Rule(combine.slices, "slice_param"),
    "Softmax": Rule(reducing.softmax, "softmax_param"),
    "Split": Rule(activation.same),
    "Swish": Rule(activation.swish, "swish_param"),
    "TanH": Rule(activation.tanh, "tanh_param"),
    "Threshold": Rule(activation.threshold, "threshold_param"),
    "Tile": Rule(reshaping.tile, "tile_param"),
    "Upsample": Rule(resizing.upsample, "upsample_param", (1, 2)),
}
