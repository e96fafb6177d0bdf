"""What each ONNX operator is to quantization: the one table to change when an operator is added.

An operator's role says what may happen to numbers at it; whether an *engine* has an integer kernel
for it is the engine's capability, not written here.
"""

from __future__ import annotations

from enum import Enum
from typing import Final


class Role(Enum):
    """How an operator treats the values that pass through it."""

    COMPUTE = "multiplies and accumulates with weights; the work INT8 is for"
    JOIN = "combines values that each bring their own scale"
    POOL = "averages values; the result needs a scale of its own"
    CARRY = "moves or selects values; one scale serves input and output"
    ACTIVATION = "an element-wise function that engines fuse into the operator before it"
    FLOAT = "stays in floating point"


OPS: Final[dict[str, Role]] = {
    "Conv": Role.COMPUTE,
    "ConvTranspose": Role.COMPUTE,
    "Gemm": Role.COMPUTE,
    "MatMul": Role.COMPUTE,
    "Add": Role.JOIN,
    "Mul": Role.JOIN,
    "Concat": Role.JOIN,
    "AveragePool": Role.POOL,
    "GlobalAveragePool": Role.POOL,
    "MaxPool": Role.CARRY,
    "GlobalMaxPool": Role.CARRY,
    "Flatten": Role.CARRY,
    "Reshape": Role.CARRY,
    "Transpose": Role.CARRY,
    "Squeeze": Role.CARRY,
    "Unsqueeze": Role.CARRY,
    "Slice": Role.CARRY,
    "Split": Role.CARRY,
    "Gather": Role.CARRY,
    "Identity": Role.CARRY,
    "DepthToSpace": Role.CARRY,
    "SpaceToDepth": Role.CARRY,
    "Pad": Role.CARRY,
    "Resize": Role.CARRY,
    "Relu": Role.ACTIVATION,
    "Clip": Role.ACTIVATION,
    "LeakyRelu": Role.ACTIVATION,
    "PRelu": Role.ACTIVATION,
    "Elu": Role.ACTIVATION,
    "HardSigmoid": Role.ACTIVATION,
    "HardSwish": Role.ACTIVATION,
    "Sigmoid": Role.ACTIVATION,
    "Tanh": Role.ACTIVATION,
}

FLOAT_REASONS: Final[dict[str, str]] = {
    "Softmax": "softmax needs the range of floating point: its exponentials span many orders of magnitude",
    "LogSoftmax": "log-softmax needs the range of floating point",
    "LayerNormalization": "normalisation divides by a small variance; eight bits lose it",
    "InstanceNormalization": "normalisation divides by a small variance; eight bits lose it",
    "BatchNormalization": "a batch norm that could not be folded into a convolution stays in floating point",
    "RMSNormalization": "normalisation divides by a mean square; eight bits lose small ones",
    "Gelu": "GELU has no integer kernel in these engines",
    "Erf": "the error function has no integer kernel in these engines",
    "Div": "division has no integer kernel in these engines: eight bits cannot hold the reciprocal of a small number",
    "Sub": "subtraction has no integer kernel in these engines; differences of close numbers would lose their digits",
    "Pow": "powers spread numbers over more magnitudes than eight bits hold",
    "Exp": "exponentials span more magnitudes than eight bits hold",
    "Sqrt": "a square root is taken of small and large numbers alike; eight bits hold only the large ones",
    "ReduceMean": "a mean over an axis is summed in floating point; it has no integer kernel in these engines",
    "ReduceSum": "a sum over an axis is taken in floating point; it has no integer kernel in these engines",
    "Add": "the engine adds in 8 bits only where a convolution or a quantized operator takes the sum over",
    "Mul": "the engine has no integer kernel for products of two activations, element by element",
    "Einsum": "Einsum has no integer kernel in these engines; export it as MatMul to have it in INT8",
    "Where": "it selects by a mask and multiplies nothing; 8 bits would gain nothing",
    "Shape": "it computes with shapes, not with activations",
}

# Operators whose result is 0 or more, and operators (of one moving input) that keep it so.
NEVER_NEGATIVE: Final = frozenset({"Relu", "Sigmoid", "HardSigmoid", "Softmax", "Exp", "Abs", "Sqrt"})
KEEPS_SIGN: Final = frozenset(
    {"MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "Flatten", "Reshape", "Transpose", "Squeeze"}
    | {"Unsqueeze", "Slice", "Split", "Gather", "Identity", "ReduceMean", "DepthToSpace", "SpaceToDepth"}
)

# Of each COMPUTE operator: the inputs that hold the weights and, where there is one, the bias.
WEIGHT_INPUT: Final = 1
BIAS_INPUT: Final = 2


def role(op_type: str) -> Role:
    """The role of an operator; unknown operators stay in floating point."""
    return OPS.get(op_type, Role.FLOAT)


def float_reason(op_type: str) -> str:
    """The sentence why an operator stays in floating point."""
    return FLOAT_REASONS.get(op_type, f"{op_type} has no integer kernel; it stays in floating point")
