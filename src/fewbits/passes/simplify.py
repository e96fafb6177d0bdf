"""Constant folding, dead code, identities: what onnxscript's optimizer and rewrite rules already do well."""

from __future__ import annotations

import onnx_ir as ir


def fold_constants(model: ir.Model) -> bool:
    """Evaluate what does not depend on the input; drop dropout, identities and unused nodes; whether any went."""
    from onnxscript import optimizer

    before = len(model.graph)
    optimizer.optimize_ir(model, num_iterations=1)
    if changed := len(model.graph) != before:  # what went may have been the last in the way of more
        optimizer.optimize_ir(model, num_iterations=1)
    return changed


def merge_neighbours(model: ir.Model) -> bool:
    """Merge neighbours that cancel or combine: casts, reshapes, transposes, slices, clips, pads before convolutions."""
    from onnxscript import rewriter
    from onnxscript.rewriter.rules import common

    rules = (
        common.add_0_rule,
        common.sub_0_rule,
        common.mul_by_1_rule,
        common.div_by_1_rule,
        common.cast_cast_rule,
        common.no_op_cast_rule,
        common.no_op_expand_rule,
        common.no_op_transpose_rule,
        common.reshape_reshape_rule,
        common.transpose_transpose_rule,
        common.unsqueeze_unsqueeze_rule,
        common.successive_clip_rule,
        common.successive_clip_relu_rule,
        common.successive_relu_clip_rule,
        common.successive_relu_rule,
        common.dropout_inference_rule,
        common.dropout_zero_rule,
        common.normalize_pad_format_conv_rule,
        common.fuse_pad_into_conv_rule,
    )
    return rewriter.RewritePass(rules)(model).modified
