"""A run that was stopped goes on where it was, wherever in a line it was stopped."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fewbits.errors import InputError, OutputError
from fewbits.selection.journal import NAME, Journal

VALUES = [{"n": 1, "nested": [1.5, None, "ü"]}, [1, 2, 3], "text", 0]


def written(folder: Path) -> bytes:
    journal = Journal(folder, "run", resume=False)
    for index, value in enumerate(VALUES):
        journal.put("kind", str(index), value)
    return (folder / NAME).read_bytes()


def test_resuming_reads_back_what_was_done(tmp_path: Path) -> None:
    written(tmp_path)
    journal = Journal(tmp_path, "run", resume=True)
    assert [journal.get("kind", str(i)) for i in range(len(VALUES))] == VALUES
    assert journal.get("kind", "unknown") is None
    assert journal.get("other", "0") is None
    journal.put("kind", "0", "newer")
    assert Journal(tmp_path, "run", resume=True).get("kind", "0") == "newer"


def test_every_line_is_on_the_disk_when_put_returns(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "run", resume=False)
    for index, value in enumerate(VALUES):
        journal.put("kind", str(index), value)
        lines = (tmp_path / NAME).read_text(encoding="utf-8").splitlines()
        assert len(lines) == index + 2
        assert json.loads(lines[-1])["value"] == value


WHOLE = len('{"kind": "run", "key": "fingerprint", "value": "run"}\n')


@given(cut=st.integers(WHOLE, 1000))
@example(cut=-1)  # all but the last line break
@example(cut=WHOLE - 1)
def test_a_journal_cut_off_anywhere_goes_on(cut: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        content = written(folder)
        kept = content[:cut]
        (folder / NAME).write_bytes(kept)
        finished = max(kept.count(b"\n") - 1, 0)
        journal = Journal(folder, "run", resume=True)
        for index in range(finished):
            assert journal.get("kind", str(index)) == VALUES[index]
        journal.put("kind", "new", "work")
        journal.put("kind", "more", "work")
        again = Journal(folder, "run", resume=True)
        assert again.get("kind", "new") == again.get("kind", "more") == "work"
        for index in range(finished):
            assert again.get("kind", str(index)) == VALUES[index]


def test_a_run_stopped_in_its_first_line_starts_anew(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(written(tmp_path)[:20])
    journal = Journal(tmp_path, "run", resume=True)
    journal.put("kind", "new", "work")
    assert Journal(tmp_path, "run", resume=True).get("kind", "new") == "work"


@pytest.mark.parametrize("rest", [b'{"kind": "kind", "ke', b"\xff\xfe\n", b"5\n", b'{"kind": "kind"}\n', b"\0" * 50])
def test_what_follows_a_broken_line_is_dropped(tmp_path: Path, rest: bytes) -> None:
    whole = written(tmp_path)
    (tmp_path / NAME).write_bytes(whole + rest)
    journal = Journal(tmp_path, "run", resume=True)
    assert journal.get("kind", "3") == VALUES[3]
    assert (tmp_path / NAME).read_bytes() == whole


def test_another_run_is_not_gone_on_with(tmp_path: Path) -> None:
    whole = written(tmp_path)
    with pytest.raises(InputError, match=r"another model, data, options.*--resume"):
        Journal(tmp_path, "other", resume=True)
    assert (tmp_path / NAME).read_bytes() == whole


def test_without_resume_the_journal_starts_anew(tmp_path: Path) -> None:
    written(tmp_path)
    assert Journal(tmp_path, "run", resume=False).get("kind", "0") is None
    assert Journal(tmp_path, "run", resume=True).get("kind", "0") is None


def test_a_journal_that_cannot_be_written_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError):
        Journal(tmp_path / "missing", "run", resume=False)
