"""What an engine fuses into integer kernels, as data that quantization reads."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Capability:
    """Where an engine wants quantization so that its integer kernels really run.

    Args:
        compute: operators with an integer kernel for quantized inputs and constant weights.
        joins: joining and pooling operators with an integer kernel.
        carries: operators that pass 8-bit values through.
        activations: activations fused into the integer kernel before them.
        functions: functions of one value that have an integer kernel, for where both sides are quantized anyway.
        output_ops: operators whose integer kernel exists only where their output is quantized as well.
        not_shared: of ``compute``, those that must stay in floating point where their result is a model output and is
            read on inside the model.
        requantize_carries: operators that pass values through need Q/DQ on both sides.
        on_integers: of ``carries``, those the engine leaves in float between Q/DQ; they are written on the 8-bit
            numbers themselves.
        int32_bias: the bias must be quantized to INT32 with scale ``input scale * weight scale``.
        one_matrix: of ``compute``, those whose weights must be one matrix, not a stack of them.
        moving: of ``compute``, those to run in integers on two activations as well (attention).
        moving_no_faster: of ``compute``, those with such a kernel that saves a model no time.
        moving_centred: that kernel takes no zero points, and its second operand as INT8 only.
        signed_symmetric: activations with negative values are quicker as INT8 around zero than with a zero point.
    """

    compute: frozenset[str] = frozenset()
    joins: frozenset[str] = frozenset()
    carries: frozenset[str] = frozenset()
    activations: frozenset[str] = frozenset()
    functions: frozenset[str] = frozenset()
    output_ops: frozenset[str] = frozenset()
    not_shared: frozenset[str] = frozenset()
    requantize_carries: bool = False
    on_integers: frozenset[str] = frozenset()
    int32_bias: bool = False
    one_matrix: frozenset[str] = frozenset()
    moving: frozenset[str] = frozenset()
    moving_no_faster: frozenset[str] = frozenset()
    moving_centred: bool = False
    signed_symmetric: bool = False
