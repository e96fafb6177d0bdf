"""The docs run: every ``fewbits`` command in the README and in docs/ does what it says, on the shipped example."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fewbits import example
from fewbits.cli import main
from fewbits.measurement.speed import time_sessions

ROOT = Path(__file__).parents[1]
# Rows of the example's data that the commands get: enough to run, few enough to be quick.
TEST, CALIBRATION = 40, 32
FENCE = re.compile(r"^```(?:console|sh|bash|shell)\s*\n(.*?)^```", re.MULTILINE | re.DOTALL)
SPELLED = re.compile(r"^(?:\$ )?(fewbits .*)$")


def commands(text: str) -> list[str]:
    """The distinct ``fewbits`` command lines of a Markdown text, in order; a backslash joins two lines."""
    found: dict[str, None] = {}
    for block in FENCE.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            match = SPELLED.match(line.strip())
            if match:
                found[shlex.join(shlex.split(match[1], comments=True))] = None
    return list(found)


def pages() -> list[Path]:
    return [page for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))) if page.is_file()]


EVERY = {command: page for page in reversed(pages()) for command in commands(page.read_text(encoding="utf-8"))}
# README first, each page's commands in its order: a later one may read what an earlier one wrote.
ORDERED = list(dict.fromkeys(command for page in pages() for command in commands(page.read_text(encoding="utf-8"))))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with the files the docs speak of: the example under other names."""
    place = tmp_path_factory.mktemp("docs")
    shutil.copyfile(example.model(), place / "model.onnx")
    shutil.copyfile(example.preprocess(), place / "preprocess.toml")
    for name, source, count in (("val", example.test(), TEST), ("calib", example.calibration(), CALIBRATION)):
        with np.load(source) as data:
            np.savez(place / f"{name}.npz", x=data["x"][:count], y=data["y"][:count])
    return place


def test_the_readme_has_commands_to_run() -> None:
    assert commands((ROOT / "README.md").read_text(encoding="utf-8"))


def test_commands_are_found_and_others_are_left() -> None:
    shell = "```sh\nmake demo\n$ fewbits a \\\n  -b  # why\npip install fewbits\nfewbits c 'd e'\n```\n"
    text = f"{shell}```python\nfewbits x\n```\n"
    assert commands(text) == ["fewbits a -b", "fewbits c 'd e'"]


@pytest.fixture
def _short_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """That the command runs is asked here, not how fast the example is: its speed is taken in two short rounds."""

    def short(*args: Any, **options: Any) -> Any:
        return time_sessions(*args, **(options | {"rounds": 2, "turn_s": 0.01}))

    monkeypatch.setattr("fewbits.verbs.measure.time_sessions", short)
    for turn in ("TURN_S", "SHORT_TURN_S"):
        monkeypatch.setattr(f"fewbits.selection.clocking.{turn}", 0.01)


@pytest.mark.usefixtures("_short_turns")
@pytest.mark.parametrize("command", ORDERED)
def test_the_command_runs(
    command: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = shlex.split(command)[1:]
    monkeypatch.chdir(folder)
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    out, err = capsys.readouterr()
    assert ended.value.code == 0, f"{EVERY[command].relative_to(ROOT)}: {command}\n{err}"
    assert out
    written = next((arguments[i + 1] for i, word in enumerate(arguments[:-1]) if word in ("-o", "--out")), None)
    assert written is None or (folder / written).exists()


def test_links_lead_somewhere() -> None:
    """Relative links and pictures in the docs name files that are there."""
    broken = []
    for page in pages():
        text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            path = target.split("#")[0]
            if path and not re.match(r"[a-z]+:", path) and not (page.parent / path).exists():
                broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert broken == []
