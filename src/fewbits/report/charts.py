"""The report's charts as Vega-Lite specifications, and the JavaScript that draws them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fewbits.report.story import Choice, Entry
from fewbits.report.words import engine_name, label, megabytes, number, percent
from fewbits.selection.closeup_records import Layer

VEGA_LITE = "6.4"
_SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
# Mid-tones that stand out on white as well as on black.
_COLOURS = {"fp32": "#7b8494", "fp16": "#8b5cf6", "bf16": "#c77700", "int8": "#0b9a6d"}
_MIXES = ("#2f7de1", "#d6409f", "#0aa2c0")
_SHAPES = {"openvino": "circle", "onnxruntime": "square", "emulated": "diamond"}
_BUDGET = "#dc2626"
_SHORT = "datum.value < 1000 ? datum.label : format(datum.value, '~s')"


@dataclass(frozen=True)
class Axis:
    """What accuracy is drawn against; ``better`` is 1 where more is better, -1 where less is."""

    key: str
    name: str
    title: str
    better: int


AXES = (
    Axis("latency", "Latency", "median latency at batch 1, ms (less is better)", -1),
    Axis("throughput", "Throughput", "samples a second with all cores busy (more is better)", 1),
    Axis("size", "Size", "model file, MB (less is better)", -1),
    Axis("memory", "Memory", "peak memory of the process, MB (less is better)", -1),
)


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
    points = [point for axis in AXES for point in _points(choice, axis)]
    if not points:
        return None
    formats = list(dict.fromkeys(point["format"] for point in points))
    engines = list(dict.fromkeys(point["engine"] for point in points))
    first = next(axis for axis in AXES if axis.key == points[0]["axis"])
    reference = choice.named(choice.reference)
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
    if reference is not None and reference.accuracy is not None:
        floor = (reference.accuracy - choice.budget.max_drop) * 100
        once: dict[str, Any] = {"data": {"values": [{}]}}
        rule = {"y": {"datum": floor, "type": "quantitative"}}
        layers += [
            once
            | {"mark": {"type": "rule", "strokeDash": [6, 4], "color": _BUDGET, "strokeWidth": 1.5}, "encoding": rule},
            once
            | {
                "mark": {"type": "text", "align": "right", "dy": 12, "color": _BUDGET, "fontSize": 12},
                "encoding": rule
                | {
                    "x": {"value": {"expr": "width - 6"}},
                    "text": {"value": f"budget: {number(choice.budget.max_drop * 100, 1)} points below FP32"},
                },
            },
        ]
    return _spec(layers, 380) | {
        "params": [{"name": "axis", "value": first.key}, {"name": "axisTitle", "value": first.title}],
        "data": {"values": points},
        "resolve": {"scale": {"x": "shared", "y": "shared"}},
    }


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


def _points(choice: Choice, axis: Axis) -> list[dict[str, Any]]:
    reference = choice.named(choice.reference)
    base = reference.accuracy if reference else None
    found = []
    for entry in choice.candidates:
        x, x_low, x_high = _place(entry, axis)
        if x is None or entry.accuracy is None:
            continue
        low = high = None
        if base is not None and entry.drop_interval is not None and entry is not reference:
            low, high = ((base - drop) * 100 for drop in reversed(entry.drop_interval))
        found.append(
            {
                "axis": axis.key,
                "name": entry.name,
                "engine": entry.engine,
                "format": entry.formats,
                "x": x,
                "x_low": x_low,
                "x_high": x_high,
                "y": entry.accuracy * 100,
                "y_low": low,
                "y_high": high,
                "chosen": entry.name == choice.chosen,
                "tip": _tip(choice, entry),
            }
        )
    for point in found:
        point["front"] = not any(_beats(other, point, axis.better) for other in found)
    return sorted(found, key=lambda point: bool(point["chosen"]))  # the chosen one is drawn last, on top


def _beats(other: dict[str, Any], point: dict[str, Any], better: int) -> bool:
    """Whether the other is no worse in both, and better in one."""
    ahead, right = better * (other["x"] - point["x"]), other["y"] - point["y"]
    return bool(ahead >= 0 and right >= 0 and (ahead > 0 or right > 0))


def _place(entry: Entry, axis: Axis) -> tuple[float | None, float | None, float | None]:
    """(value, lower and upper quartile of the rounds) on an axis."""
    match axis.key:
        case "latency":
            return entry.p50_ms, *_quartiles(entry.round_ms)
        case "throughput":
            return entry.throughput_fps, *_quartiles(entry.round_fps)
        case "size":
            return None if entry.size_bytes is None else entry.size_bytes / 1e6, None, None
        case _:
            return None if entry.peak_rss_bytes is None else entry.peak_rss_bytes / 1e6, None, None


def _quartiles(rounds: Sequence[float | None]) -> tuple[float | None, float | None]:
    known = [value for value in rounds if value is not None]
    return (None, None) if len(known) < 4 else tuple(float(v) for v in np.percentile(known, (25, 75)))  # type: ignore[return-value]


def _tip(choice: Choice, entry: Entry) -> str:
    lines = [label(entry), f"{choice.metric} {percent(entry.accuracy)}"]
    if entry.name == choice.reference:
        lines.append("the FP32 reference")
    elif entry.drop is not None and entry.drop_interval is not None:
        low, high = (number(v * 100) for v in entry.drop_interval)
        lines.append(f"drop {number(entry.drop * 100)} points ({low} … {high})")
    lines.append(f"{number(entry.p50_ms)} ms · {number(entry.throughput_fps, 0)} a second")
    lines.append(f"{megabytes(entry.size_bytes)} MB file · {megabytes(entry.peak_rss_bytes, 0)} MB memory")
    return "\n".join(lines)


def _layer_tip(layer: Layer) -> str:
    return f"{layer.node}\n{layer.op} {layer.format}\n{number(layer.sqnr_db, 1)} dB"


def _colours(formats: Sequence[str]) -> list[str]:
    mixes = iter(_MIXES * len(formats))
    return [_COLOURS.get(name) or next(mixes) for name in formats]


def _names(engines: Sequence[str]) -> str:
    cases = "".join(f"datum.value == '{e}' ? '{engine_name(e)}' : " for e in engines if e.isalnum())
    return f"{cases}datum.value"
