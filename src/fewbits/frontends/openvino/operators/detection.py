"""What detectors end with: boxes, selections, windows on feature maps. Prior boxes are constants by then."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import onnx_ir as ir

from fewbits.frontends.openvino.operation import Operation
from fewbits.frontends.openvino.writer import Writer

Emit = Callable[[Operation, Writer], ir.Value | Sequence[ir.Value]]


def _non_max_suppression(op: Operation, w: Writer) -> Sequence[ir.Value]:
    """Selected [K, 3] (image, class, box); their scores [K, 3] (image, class, score); K [1]."""
    version = op.node.get_type_info().version_id
    op.refuse_unless(version in ("opset5", "opset9"), "this version fills its result up with -1 to a fixed size")
    op.refuse_unless(not op.has(5) or not op.constant(5).any(), "soft suppression has no counterpart in ONNX")
    across = bool(op.attributes["sort_result_descending"]) and (op.dims(1) or (None,))[:2] != (1, 1)
    op.refuse_unless(not across, "boxes sorted by score across images and classes", fix="export without that sorting")
    limits = [w.integers(*op.integers(2)) if op.has(2) else w.integers(0)]
    limits += [w.constant(op.constant(index).reshape(1), "float32") for index in (3, 4) if op.has(index)]
    center = int(str(op.attributes["box_encoding"]).lower() == "center")
    chosen = w.op("NonMaxSuppression", op.input(0), op.input(1), *limits, center_point_box=center)
    chosen.dtype = ir.DataType.INT64
    results = [w.cast(chosen, op.result_type(0))]
    if op.used(1):
        kind = op.result_type(1)
        scores = w.unsqueeze(w.op("GatherND", op.input(1), chosen), 1)
        places = w.cast(w.slice(chosen, 1, 0, 2), kind)
        results.append(w.op("Concat", places, scores, axis=1))
    elif op.used(2):
        results.append(w.op("Shape", chosen))
    if op.used(2):
        count = w.slice(w.op("Shape", chosen), 0, 0, 1)
        count.dtype = ir.DataType.INT64
        results.append(w.cast(count, op.result_type(2)))
    return results


# Found by comparing what both compute: OpenVINO's plain half_pixel is none of ONNX's.
_ALIGNED: Final = {"asymmetric": "output_half_pixel", "half_pixel_for_nn": "half_pixel"}


def _roi_align(op: Operation, w: Writer) -> ir.Value:
    aligned = str(op.attributes.get("aligned_mode", "asymmetric")).lower()
    op.refuse_unless(aligned in _ALIGNED, f"{aligned} has no counterpart in ONNX")
    mode = str(op.attributes["mode"]).lower()
    op.refuse_unless(mode == "avg", "ONNX Runtime and OpenVINO take the largest of other numbers")
    return w.op(
        "RoiAlign",
        op.input(0),
        op.input(1),
        w.cast(op.input(2), ir.DataType.INT64),
        mode=mode,
        output_height=int(op.attributes["pooled_h"]),
        output_width=int(op.attributes["pooled_w"]),
        sampling_ratio=int(op.attributes["sampling_ratio"]),
        spatial_scale=float(op.attributes["spatial_scale"]),
        coordinate_transformation_mode=_ALIGNED[aligned],
    )


def _grid_sample(op: Operation, w: Writer) -> ir.Value:
    return w.op(
        "GridSample",
        op.input(0),
        op.input(1),
        mode=str(op.attributes["mode"]).lower(),
        padding_mode=str(op.attributes["padding_mode"]).lower(),
        align_corners=int(bool(op.attributes["align_corners"])),
    )


TABLE: Final[dict[str, Emit]] = {
    "GridSample": _grid_sample,
    "NonMaxSuppression": _non_max_suppression,
    "ROIAlign": _roi_align,
}
