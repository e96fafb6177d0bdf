"""The report's charts as Vega-Lite specifications, and the JavaScript that draws them."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from fewbits.report.points import AXES, points
from fewbits.report.story import Choice
from fewbits.report.words import engine_name, number
from fewbits.selection.closeup_records import Layer

VEGA_LITE = "6.4"
_SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
# Mid-tones that stand out on white as well as on black.
_COLOURS = {"fp32": "#7b8494", "fp16": "#8b5cf6", "bf16": "#c77700", "int8": "#0b9a6d"}
_MIXES = ("#2f7de1", "#d6409f", "#0aa2c0")
_SHAPES = {"openvino": "circle", "onnxruntime": "square", "emulated": "diamond"}
_BUDGET = "#dc2626"
_SHORT = "datum.value < 1000 ? datum.label : format(datum.value, '~s')"


@functools.cache
def javascript() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script; it holds no ``</script``."""
    import vl_convert

    return str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", VEGA_LITE)).replace(
        "</script", "<\\/script"
    )


def svg(spec: dict[str, Any]) -> str:
    """A picture of the chart as it first appears."""
    import vl_convert

    return str(vl_convert.vegalite_to_svg(spec, vl_version=VEGA_LITE))


def trade_off(choice: Choice) -> dict[str, Any] | None:
    """Accuracy against speed, size or memory: error bars, Pareto front, budget line, the chosen one in a ring.

    The parameters ``axis`` and ``axisTitle`` say what lies on the x axis. None where no accuracy is known.
    """
    found = [point for axis in AXES for point in points(choice, axis)]
    if not found:
        return None
    formats = list(dict.fromkeys(point["format"] for point in found))
    engines = list(dict.fromkeys(point["engine"] for point in found))
    known = {point["axis"] for point in found}
    first = next(axis for axis in sorted(AXES, key=lambda a: a.key != choice.budget.objective) if axis.key in known)
    x: dict[str, Any] = {"field": "x", "type": "quantitative", "scale": {"domainMin": 0, "nice": True}}
    y: dict[str, Any] = {"field": "y", "type": "quantitative", "scale": {"zero": False, "padding": 14}}
    x["axis"] = {"title": {"expr": "axisTitle"}, "tickCount": 6}
    y["axis"] = {"title": f"{choice.metric}, %", "tickCount": 6}
    colour = {
        "field": "format",
        "type": "nominal",
        "scale": {"domain": formats, "range": _colours(formats)},
        "legend": {"title": None, "symbolType": "circle", "symbolSize": 110, "symbolOpacity": 1},
    }
    shape = {
        "field": "engine",
        "type": "nominal",
        "scale": {"domain": engines, "range": [_SHAPES[e] for e in engines]},
        "legend": {"title": None, "labelExpr": _names(engines), "symbolSize": 110, "symbolFillColor": "currentColor"}
        if len(engines) > 1
        else None,
    }
    here, picked = {"filter": "datum.axis == axis"}, {"filter": "datum.chosen"}
    layers: list[dict[str, Any]] = [
        {
            "transform": [here, {"filter": "datum.front"}],
            "mark": {"type": "line", "strokeWidth": 1.5, "strokeDash": [2, 3], "opacity": 0.7, "color": "#7b8494"},
            "encoding": {"x": x, "y": y, "order": {"field": "x"}},
        },
        {
            "transform": [here, {"filter": "isValid(datum.y_low)"}],
            "mark": {"type": "rule", "strokeWidth": 1.5, "opacity": 0.55},
            "encoding": {"x": x, "y": {**y, "field": "y_low"}, "y2": {"field": "y_high"}, "color": colour},
        },
        {
            "transform": [here, {"filter": "isValid(datum.x_low)"}],
            "mark": {"type": "rule", "strokeWidth": 1.5, "opacity": 0.55},
            "encoding": {"x": {**x, "field": "x_low"}, "x2": {"field": "x_high"}, "y": y, "color": colour},
        },
        {
            "transform": [here, picked],
            "mark": {"type": "point", "aria": False, "size": 520, "strokeWidth": 2.5, "color": _COLOURS["int8"]},
            "encoding": {"x": x, "y": y, "tooltip": {"field": "tip"}},
        },
        {
            "name": "points",
            "transform": [here],
            "mark": {"type": "point", "filled": True, "size": 130, "opacity": 1},
            "encoding": {
                "x": x,
                "y": y,
                "color": colour,
                "shape": shape,
                "tooltip": {"field": "tip"},
                "description": {"field": "tip"},
            },
        },
        {
            "transform": [here, picked],
            "mark": {"type": "text", "dy": 27, "fontWeight": 600, "fontSize": 13},
            "encoding": {"x": x, "y": y, "text": {"value": "chosen"}},
        },
    ]
    layers += _budget(choice, found)
    return _spec(layers, 380) | {
        "params": [{"name": "axis", "value": first.key}, {"name": "axisTitle", "value": first.title}],
        "data": {"values": found},
        "resolve": {"scale": {"x": "shared", "y": "shared"}},
    }


def _budget(choice: Choice, found: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The line no candidate may lie below; only words where it lies so low that it would flatten everything else."""
    reference = choice.named(choice.reference)
    if reference is None or reference.accuracy is None:
        return []
    floor = (reference.accuracy - choice.budget.max_drop) * 100
    low = min(point["y_low"] or point["y"] for point in found)
    high = max(point["y_high"] or point["y"] for point in found)
    words = f"budget: {number(choice.budget.max_drop * 100, 1)} points below FP32"
    near = floor > low - 2 * (high - low) - 1
    y: dict[str, Any] = {"datum": floor, "type": "quantitative"} if near else {"value": {"expr": "height - 18"}}
    once: dict[str, Any] = {"data": {"values": [{}]}}
    text = {
        "mark": {"type": "text", "align": "right", "dy": 12, "fontSize": 12},
        "encoding": {"y": y, "x": {"value": {"expr": "width - 6"}}, "text": {"value": words if near else f"{words} ↓"}},
    }
    rule = {"mark": {"type": "rule", "strokeDash": [6, 4], "color": _BUDGET, "strokeWidth": 1.5}, "encoding": {"y": y}}
    return [once | rule, once | text] if near else [once | text]


def depth(layers: Sequence[Layer]) -> dict[str, Any] | None:
    """Signal to noise of every layer's output along the model; None where it was not taken."""
    points = [
        {"index": i, "db": max(layer.sqnr_db, 0.0), "format": layer.format or "unknown", "tip": _layer_tip(layer)}
        for i, layer in enumerate(layers, start=1)
        if layer.sqnr_db is not None
    ]
    if not points:
        return None
    x = {"title": "layer, in order of execution", "labels": False, "ticks": False}
    bars = {
        "mark": {"type": "bar", "cornerRadiusEnd": 2},
        "encoding": {
            "color": {
                "condition": {"test": "datum.format == 'i8' || datum.format == 'unknown'", "value": _COLOURS["int8"]},
                "value": _COLOURS["fp32"],
            },
            "x": {"field": "index", "type": "ordinal", "axis": x},
            "y": {"field": "db", "type": "quantitative", "axis": {"title": "SQNR, dB", "tickCount": 4}},
            "tooltip": {"field": "tip"},
            "description": {"field": "tip"},
        },
    }
    return _spec([bars], 170) | {"data": {"values": points}}


def histogram() -> dict[str, Any]:
    """A layer's activations: bars from ``low`` to ``high``, and what the quantizer keeps between two lines.

    The page fills the data sets ``bins`` (low, high, count, tip) and ``clip`` (at).
    """
    bars = {
        "data": {"name": "bins"},
        "mark": {"type": "bar", "color": _COLOURS["int8"], "binSpacing": 0.5},
        "encoding": {
            "x": {
                "field": "low",
                "bin": "binned",
                "type": "quantitative",
                "axis": {"title": "activation", "tickCount": 8},
            },
            "x2": {"field": "high"},
            "y": {
                "field": "count",
                "type": "quantitative",
                "scale": {"type": "symlog"},
                "axis": {"title": "values (log)", "values": [0, 10, 1e3, 1e5, 1e7, 1e9], "labelExpr": _SHORT},
            },
            "tooltip": {"field": "tip"},
            "description": {"field": "tip"},
        },
    }
    lines = {
        "data": {"name": "clip"},
        "mark": {"type": "rule", "color": _BUDGET, "strokeDash": [4, 3]},
        "encoding": {"x": {"field": "at", "type": "quantitative"}},
    }
    return _spec([bars, lines], 150) | {"datasets": {"bins": [], "clip": []}}


def _spec(layers: list[dict[str, Any]], height: int) -> dict[str, Any]:
    ink = "currentColor"
    return {
        "$schema": _SCHEMA,
        "width": "container",
        "height": height,
        "autosize": {"type": "fit", "contains": "padding"},
        "background": None,
        "layer": layers,
        "config": {
            "font": "system-ui, sans-serif",
            "view": {"stroke": None},
            "axis": {
                "labelColor": ink,
                "titleColor": ink,
                "domainColor": ink,
                "tickColor": ink,
                "gridColor": ink,
                "gridOpacity": 0.1,
                "domainOpacity": 0.35,
                "tickOpacity": 0.35,
                "labelFontSize": 12,
                "titleFontSize": 12,
                "titleFontWeight": "normal",
                "titlePadding": 10,
            },
            "legend": {
                "orient": "top",
                "direction": "horizontal",
                "labelColor": ink,
                "labelFontSize": 12,
                "columns": {"expr": "width < 420 ? 3 : 8"},
                "layout": {"top": {"direction": "vertical", "anchor": "start"}},
            },
            "text": {"color": ink},
        },
    }


def _layer_tip(layer: Layer) -> str:
    return f"{layer.node}\n{layer.op} {layer.format}\n{number(layer.sqnr_db, 1)} dB"


def _colours(formats: Sequence[str]) -> list[str]:
    mixes = iter(_MIXES * len(formats))
    return [_COLOURS.get(name) or next(mixes) for name in formats]


def _names(engines: Sequence[str]) -> str:
    cases = "".join(f"datum.value == '{e}' ? '{engine_name(e)}' : " for e in engines if e.isalnum())
    return f"{cases}datum.value"
