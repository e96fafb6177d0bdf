"""The README's picture from a real run, by the report's own chart.

``python scripts/readme_picture.py RUN_DIR docs/choice.svg``
"""

from __future__ import annotations

import sys
from pathlib import Path

from fewbits.report.charts import svg, trade_off
from fewbits.report.story import read_story


def main(run: Path, out: Path) -> None:
    choice = read_story(run).choice
    spec = trade_off(choice)
    if spec is None:
        sys.exit(f"{run} holds no accuracies to draw")
    host = f"{choice.host.cpu}, {choice.host.cores} cores"
    title = {"text": f"{Path(choice.model).stem} on {host}", "anchor": "start", "offset": 12}
    out.write_text(svg(spec | {"width": 760, "height": 360, "background": "white", "title": title}), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
