"""The journal of a run: one line per finished piece of work, so that a stopped run goes on where it was."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from fewbits.errors import InputError
from fewbits.files import SCRATCH, output_error

NAME = "journal.jsonl"
CANDIDATES = "candidates"
MODEL = "model.onnx"
MODEL_IR = ("model.xml", "model.bin")
# What a run writes into its folder besides candidates and the journal.
RESULTS = (
    MODEL,
    f"{MODEL}.data",
    *MODEL_IR,
    "preprocess.toml",
    "decision.json",
    "closeup.json",
    "report.html",
    "statistics.npz",
)


def clear(folder: Path) -> None:
    """Remove the results of an earlier run, and what killed runs left."""
    shutil.rmtree(folder / CANDIDATES, ignore_errors=True)
    for name in RESULTS:
        (folder / name).unlink(missing_ok=True)
    for scratch in folder.glob(f"{SCRATCH}*"):
        shutil.rmtree(scratch, ignore_errors=True)


class Journal:
    """Finished work by kind and key. A line that was cut off by a kill is ignored and overwritten.

    ``added`` counts what this run recorded.
    """

    def __init__(self, folder: Path, run: str, *, resume: bool) -> None:
        """Open the journal in ``folder`` for the run with this fingerprint.

        Raises:
            InputError: resuming a run that was started with another model, data, options or versions.
            OutputError: the journal cannot be written.
        """
        self._path = folder / NAME
        self._done: dict[tuple[str, str], Any] = {}
        self.added = 0
        try:
            if resume and self._path.is_file():
                self._read(run)
                return
            # Only where a journal lies the folder holds an earlier run of ours, and its results go.
            if self._path.is_file():
                clear(folder)
            self._path.unlink(missing_ok=True)
        except OSError as error:
            raise output_error(error, self._path) from error
        self.put("run", "fingerprint", run)

    def _read(self, run: str) -> None:
        for scratch in self._path.parent.rglob(f"{SCRATCH}*"):
            shutil.rmtree(scratch, ignore_errors=True)
        whole = 0
        with self._path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break
                try:
                    entry = json.loads(line)
                    self._done[entry["kind"], entry["key"]] = entry["value"]
                except (ValueError, KeyError, TypeError):
                    break
                whole += len(line)
        os.truncate(self._path, whole)
        if not whole:
            self.put("run", "fingerprint", run)
        if self._done.get(("run", "fingerprint")) != run:
            raise InputError(
                "this run was started with another model, data, options or engine versions",
                where=str(self._path),
                fix="leave --resume out to start anew, or name another folder with -o",
            )

    def get(self, kind: str, key: str) -> Any:
        """What was recorded, or None."""
        return self._done.get((kind, key))

    def put(self, kind: str, key: str, value: Any) -> None:
        """Record finished work; it is on the disk when this returns."""
        self._done[kind, key] = value
        self.added += 1
        line = json.dumps({"kind": kind, "key": key, "value": value}) + "\n"
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise output_error(error, self._path) from error
