"""The README's picture from a real run: ``python scripts/readme_picture.py RUN_DIR docs/choice.svg``.

Needs matplotlib (``pip install -e '.[docs]'``).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("svg")
import matplotlib.pyplot as plt

COLOURS = {"fp32": "#6b7280", "fp16": "#a78bfa", "bf16": "#f59e0b", "int8": "#059669"}
MARKERS = {"openvino": "o", "onnxruntime": "s"}


def main(run: Path, out: Path) -> None:
    decision = json.loads((run / "decision.json").read_text(encoding="utf-8"))
    measured = [c for c in decision["candidates"] if c["status"] == "measured"]
    reference = next(c for c in measured if c["name"] == decision["reference"])
    plt.rcParams |= {"font.size": 10, "svg.hashsalt": "fewbits", "svg.fonttype": "path"}
    figure, axes = plt.subplots(figsize=(7.6, 4.2), layout="constrained")
    for c in measured:
        x, y = c["latency_ms"]["p50"], c["accuracy"] * 100
        low, high = (reference["accuracy"] * 100 - 100 * d for d in reversed(c["drop_interval"]))
        colour = COLOURS[c["formats"].split("+")[0]]
        axes.errorbar(
            x, y, yerr=[[max(y - low, 0)], [max(high - y, 0)]], fmt=MARKERS[c["engine"]], ms=8, color=colour,
            ecolor=colour, elinewidth=1, alpha=0.9, zorder=3,
        )  # fmt: skip
        if c["name"] == decision["chosen"]:
            axes.plot(x, y, "o", ms=19, mfc="none", mec="#059669", mew=2, zorder=4)
            axes.annotate(
                f"chosen: {c['name']}", (x, y), (-16, -4), textcoords="offset points", weight="bold", ha="right"
            )
    floor = reference["accuracy"] * 100 - decision["budget"]["max_drop"] * 100
    axes.axhline(floor, color="#dc2626", lw=1, ls="--", zorder=1)
    axes.annotate("accuracy budget", (1, floor), (-4, -12), xycoords=("axes fraction", "data"),
                  textcoords="offset points", ha="right", color="#dc2626")  # fmt: skip
    for name, colour in COLOURS.items():
        axes.plot([], [], "o", color=colour, label=name.upper())
    for name, marker in MARKERS.items():
        axes.plot([], [], marker, color="#374151", mfc="none", ls="", label=name)
    axes.legend(frameon=False, ncols=3, loc="upper right")
    axes.set_xlim(left=0)
    axes.set_xlabel("median latency at batch 1, ms")
    axes.set_ylabel(f"{decision['metric']}, % (bars: paired interval)")
    axes.set_title(f"{Path(decision['model']).stem} on {decision['host']['cpu']}, {decision['host']['cores']} cores")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(out, metadata={"Date": None, "Creator": "fewbits scripts/readme_picture.py"})


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
