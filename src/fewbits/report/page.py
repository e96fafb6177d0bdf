"""``report.html``: one file that holds everything it shows, opens from the disk and asks no network for anything."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from fewbits import __version__
from fewbits.files import write_text
from fewbits.measurement.comparison import Comparison, LayerComparison
from fewbits.report import words
from fewbits.report.charts import depth, histogram, javascript, trade_off
from fewbits.report.deploy import snippets
from fewbits.report.json_view import finite
from fewbits.report.points import AXES
from fewbits.report.story import Story
from fewbits.selection.closeup_records import NO_NOISE_DB, Closeup, Layer

REPORT = "report.html"
_TEMPLATES = Path(__file__).parent / "templates"


def write_report(story: Story, path: Path) -> None:
    """Write the report of a run, whole or not at all.

    Raises:
        OutputError: the place cannot be written.
    """
    write_text(path, render(story))


def write_comparison(result: Comparison, path: Path) -> None:
    """Write the report of ``compare``.

    Raises:
        OutputError: the place cannot be written.
    """
    write_text(path, render_comparison(result))


def render(story: Story) -> str:
    """The report of a run as one page of HTML."""
    choice, asked = story.choice, story.asked
    closeup = story.closeup or Closeup()
    return _page(
        "choice.html",
        {"chart": trade_off(choice), **_layer_data(closeup.layers), "axes": [asdict(axis) for axis in AXES]},
        story=story,
        choice=choice,
        model=Path(choice.model).name,
        chosen=choice.named(choice.chosen),
        reference=choice.named(choice.reference),
        gain=_gain(story),
        closeup=closeup,
        layers=_worst_first(closeup.layers),
        noted=any(layer.reason or layer.hazards or layer.overflow for layer in closeup.layers),
        snippets=snippets(choice, asked.device if asked else "CPU", asked.inputs if asked else ()),
        axes=AXES,
        versions={**choice.versions, **(asked.versions if asked else {})},
        title=words.headline(choice, finished=story.finished),
    )


def render_comparison(result: Comparison) -> str:
    """The report of a comparison as one page of HTML."""
    layers = [_as_layer(entry) for entry in result.layers]
    order = sorted(range(len(layers)), key=lambda i: layers[i].sqnr_db or 0.0)
    return _page(
        "comparison.html",
        _layer_data(layers),
        result=result,
        rows=[(i, result.layers[i]) for i in order],
        title=f"{result.other.name} against {result.reference.name}",
    )


def _page(template: str, data: Mapping[str, Any], **content: Any) -> str:
    scripts = [Markup(javascript()), Markup((_TEMPLATES / "page.js").read_text(encoding="utf-8"))]
    return (
        _environment()
        .get_template(template)
        .render(
            **content,
            data=embedded(data),
            style=Markup((_TEMPLATES / "style.css").read_text(encoding="utf-8")),
            scripts=scripts,
            hashes=" ".join(f"'sha256-{_digest(script)}'" for script in scripts),
            version=__version__,
        )
    )


@functools.cache
def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals |= {"words": words, "no_noise": NO_NOISE_DB}
    return made


def embedded(data: Any) -> Markup:
    """JSON that may stand inside a script element: no name in it can end the element or begin a comment."""
    text = json.dumps(finite(data), ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _gain(story: Story) -> tuple[float, float, float] | None:
    entry = story.choice.named(story.choice.chosen)
    return None if entry is None or entry.name == story.choice.reference else words.gain(story.choice, entry)


def _worst_first(layers: Sequence[Layer]) -> list[tuple[int, Layer]]:
    """(place in the model, layer) by rising signal to noise; the unknown ones last."""
    known = [(i, layer) for i, layer in enumerate(layers)]
    return sorted(known, key=lambda pair: (pair[1].sqnr_db is None, pair[1].sqnr_db or 0.0))


def _layer_data(layers: Sequence[Layer]) -> dict[str, Any]:
    """What the page's script needs of the layers: the charts, and the histograms to draw on demand."""
    return {
        "depth": depth(layers),
        "histogram": histogram(),
        "activations": [asdict(layer.activation) if layer.activation else None for layer in layers],
    }


def _as_layer(entry: LayerComparison) -> Layer:
    db = max(-NO_NOISE_DB, min(NO_NOISE_DB, entry.sqnr_db))
    low, high = entry.reference_range
    return Layer(entry.node, entry.op, "", sqnr_db=db, low=low, high=high)
