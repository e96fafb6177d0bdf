"""Which operators were written or meant differently before which version, and what brings them there.

An operator that is not named here at a version says there what it said before: its list of types grew, negative axes
were allowed, or an attribute was added whose default is the old behaviour.
"""

from __future__ import annotations

from typing import Final

from fewbits.frontends.opsets import broadcasting, inputs, normalisation, resizing, scanning, small, softmax
from fewbits.frontends.opsets.scope import Adapter

_CONSUMED = small.without("consumed_inputs")
_ALIGNED = ("Add", "Sub", "Mul", "Div", "Pow", "And", "Or", "Xor", "Equal", "Greater", "Less")
# fmt: off
_IN_PLACE = (
    "Abs", "Add", "BatchNormalization", "Ceil", "Clip", "Div", "Dropout", "Elu", "Exp", "Floor", "HardSigmoid",
    "InstanceNormalization", "LeakyRelu", "Log", "Max", "Mean", "Min", "Mul", "Neg", "PRelu", "Reciprocal", "Relu",
    "Sigmoid", "Sqrt", "Sub", "Sum", "Tanh",
)

TABLE: Final[dict[int, dict[str, Adapter]]] = {
    2: {
        "GlobalLpPool": small.norm_order,
        "LpPool": small.norm_order,
        "Pad": small.renamed("paddings", "pads"),
        "Split": inputs.split_attribute,
    },
    3: {"GRU": small.direction},
    4: {"Concat": small.with_default("axis", 1)},
    5: {"Reshape": inputs.reshape_input},
    6: {
        **dict.fromkeys(_IN_PLACE, _CONSUMED),
        "Cast": small.cast_to,
        "Selu": normalisation.selu,
        "Tile": broadcasting.repeats,
    },
    7: {
        **dict.fromkeys(_ALIGNED, broadcasting.aligned),
        **dict.fromkeys(("GRU", "LSTM", "RNN"), small.without("output_sequence")),
        "BatchNormalization": normalisation.said_inference,
        "Dropout": normalisation.said_inference,
        "Gemm": small.without("broadcast"),
        "PRelu": broadcasting.slope,
        "Upsample": resizing.both_scales,
    },
    9: {
        "BatchNormalization": normalisation.per_feature,
        "Scan": scanning.batched,
        "Upsample": resizing.scales_input,
    },
    10: {
        "Dropout": normalisation.typed_mask,
        "Slice": inputs.slice_inputs,
        "TopK": inputs.as_input("k"),
        "Upsample": resizing.upsample,
    },
    11: {
        "Clip": inputs.bounds,
        "Pad": inputs.padding,
        "Resize": resizing.resize,
        "Scatter": small.scatter,
    },
    12: {"Dropout": normalisation.mask},
    13: {
        **dict.fromkeys(("Hardmax", "LogSoftmax", "Softmax"), softmax.matrix),
        **dict.fromkeys(("ReduceSum", "Squeeze", "Unsqueeze"), inputs.as_input("axes")),
        "Split": inputs.as_input("split"),
    },
    14: {"BatchNormalization": normalisation.one_output},
    16: {"RoiAlign": resizing.roi_align},
}
# fmt: on
