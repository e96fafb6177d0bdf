"""Which function writes which ONNX operator: the one table to change when an operator is added."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from fewbits.frontends.legacy_ir.writing import elementwise, moving, weighted
from fewbits.frontends.legacy_ir.writing.draft import Task

WRITERS: Final[dict[str, Callable[[Task], None]]] = {
    "Conv": weighted.conv,
    "ConvTranspose": weighted.conv_transpose,
    "Gemm": weighted.gemm,
    "MatMul": weighted.matmul,
    "MaxPool": weighted.max_pool,
    "AveragePool": weighted.average_pool,
    "GlobalMaxPool": weighted.global_max_pool,
    "GlobalAveragePool": weighted.global_average_pool,
    "ReduceMean": weighted.reduce_mean,
    "Relu": elementwise.relu,
    "LeakyRelu": elementwise.leaky_relu,
    "PRelu": elementwise.prelu,
    "Elu": elementwise.elu,
    "Clip": elementwise.clip,
    "Sigmoid": elementwise.activation("sigmoid"),
    "Tanh": elementwise.activation("tanh"),
    "Exp": elementwise.activation("exp"),
    "HardSigmoid": elementwise.hard_sigmoid,
    "HardSwish": elementwise.hard_swish,
    "Neg": elementwise.negate,
    "Sqrt": elementwise.square_root,
    "Pow": elementwise.power,
    "Add": elementwise.add,
    "Sub": elementwise.subtract,
    "Mul": elementwise.multiply,
    "Div": elementwise.eltwise("div"),
    "Max": elementwise.eltwise("max"),
    "Min": elementwise.eltwise("min"),
    "Sum": elementwise.eltwise("sum"),
    "BatchNormalization": elementwise.batch_normalization,
    "LRN": elementwise.lrn,
    "Softmax": elementwise.softmax,
    "Identity": elementwise.identity,
    "Dropout": elementwise.identity,
    "Concat": moving.concat,
    "Split": moving.split,
    "Reshape": moving.reshape,
    "Flatten": moving.flatten,
    "Squeeze": moving.reshape,
    "Unsqueeze": moving.reshape,
    "Transpose": moving.transpose,
    "Slice": moving.cut,
    "Pad": moving.pad,
    "DepthToSpace": moving.depth_to_space,
    "Resize": moving.resize,
}
