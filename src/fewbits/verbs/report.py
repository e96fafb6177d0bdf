"""``report``: render a finished or stopped run again."""

from __future__ import annotations

from pathlib import Path

from fewbits.files import check_place
from fewbits.report.page import REPORT, write_report
from fewbits.report.story import Story, read_story


def report(run: str | Path, *, out: str | Path | None = None) -> tuple[Path, Story]:
    """Write ``report.html`` of a run from what lies in its folder; nothing is measured.

    Args:
        run: the folder that ``choose`` wrote; of a stopped run the report tells what was found out so far.
        out: where the page goes, ``report.html`` in that folder if not said.

    Returns:
        (the page, the record it shows).

    Raises:
        InputError: the folder holds no run, or a file in it is damaged.
        OutputError: the page cannot be written.
    """
    folder = Path(run)
    story = read_story(folder)
    page = Path(out) if out is not None else folder / REPORT
    check_place(page)
    write_report(story, page)
    return page, story
