"""Test samples that two versions of a model answer differently, with small pictures of them."""

from __future__ import annotations

import base64
import io
import time
from dataclasses import dataclass

import numpy as np
from PIL import Image

from fewbits.data import Dataset
from fewbits.engines import ENGINES, Arrays, Session
from fewbits.errors import DataError, SampleError
from fewbits.measurement.metrics import Agreement
from fewbits.measurement.metrics.outputs import class_scores
from fewbits.measurement.records import Subject
from fewbits.progress import Progress
from fewbits.selection.closeup_records import Difference

MOST = 24
_SECONDS = 3.0
_SIDE, _JPEG_BYTES = 112, 6000
_NAME_CHARACTERS = 200


@dataclass(frozen=True)
class Differences:
    """The first differing samples, how many were compared for them, and why there are none where that is so."""

    shown: tuple[Difference, ...] = ()
    compared: int = 0
    notes: tuple[str, ...] = ()


def differences(data: Dataset, chosen: Subject, reference: Subject, progress: Progress) -> Differences:
    """Run both on the test samples, in order, until enough differ or the time is up.

    Raises:
        EngineError: one of them does not run.
    """
    sessions = [ENGINES[s.engine].compile(s.path, s.options("latency")) for s in (chosen, reference)]
    try:
        return _search(data, sessions[0], sessions[1], progress)
    except DataError:
        return Differences(notes=("the outputs are no classes, so there are no answers to compare one by one",))
    finally:
        for session in sessions:
            session.close()


def _search(data: Dataset, chosen: Session, reference: Session, progress: Progress) -> Differences:
    agreement, compared = Agreement(), 0
    found: list[Difference] = []
    deadline = time.monotonic() + _SECONDS
    for index in range(len(data)):
        if len(found) == MOST or time.monotonic() > deadline:
            break
        progress.step("comparing answers", index, len(data))
        try:
            sample = data.read(index)
        except SampleError:
            continue
        expected = {name: array.copy() for name, array in reference.run(sample.inputs).items()}
        got = chosen.run(sample.inputs)
        share = agreement.observe(got, None, expected)
        compared += 1
        if share < 1:
            found.append(_difference(data, index, sample.name, share, expected, got))
    return Differences(tuple(found), compared)


def _difference(data: Dataset, index: int, name: str, share: float, expected: Arrays, got: Arrays) -> Difference:
    label, picture = data.label(index), data.image(index)
    said = (_answer(expected), _answer(got)) if isinstance(share, int) else ("", f"{share:.1%} of the pixels agree")
    return Difference(
        name[:_NAME_CHARACTERS],
        "" if label is None else str(label),
        *said,
        "" if picture is None else thumbnail(picture),
    )


def _answer(outputs: Arrays) -> str:
    """The class with the highest score, or why there is none."""
    scores = class_scores(outputs)
    if scores is None or np.isnan(scores).any():
        return "no class (NaN)"
    return str(int(np.argmax(scores)))


def thumbnail(image: Image.Image) -> str:
    """The image as a ``data:`` address of a JPEG of at most 6 kB; tiny ones are not enlarged."""
    small = image.convert("RGB")
    small.thumbnail((_SIDE, _SIDE))
    for quality in (80, 60, 40, 20):
        buffer = io.BytesIO()
        small.save(buffer, "JPEG", quality=quality, optimize=True)
        if buffer.tell() <= _JPEG_BYTES:
            return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
    return ""
