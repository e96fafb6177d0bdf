"""Test samples that two versions of a model answer differently, with small pictures of them."""

from __future__ import annotations

import base64
import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from fewbits.data import Dataset
from fewbits.engines import ENGINES, Arrays
from fewbits.errors import SampleError
from fewbits.measurement.metrics import Agreement
from fewbits.measurement.metrics.outputs import class_scores
from fewbits.measurement.records import Subject
from fewbits.progress import Progress
from fewbits.selection.closeup_records import Difference

MOST = 24
_SIDE, _JPEG_BYTES = 112, 6000
_NAME_CHARACTERS = 200


@dataclass(frozen=True)
class Differences:
    """The first differing samples, and why there are none where that is so."""

    shown: tuple[Difference, ...] = ()
    notes: tuple[str, ...] = ()


def differences(
    data: Dataset, chosen: Subject, reference: Subject, positions: Sequence[int] | None, progress: Progress
) -> Differences:
    """Run both once more on the first of the samples they answer differently.

    Args:
        positions: of these samples in the test data, in order; None where the outputs are no classes.

    Raises:
        EngineError: one of them does not run.
    """
    if positions is None:
        return Differences(notes=("the outputs are no classes, so there are no answers to compare one by one",))
    if not positions:
        return Differences()
    mine, theirs = (ENGINES[s.engine].compile(s.path, s.options("latency")) for s in (chosen, reference))
    try:
        found = []
        for done, index in enumerate(positions[:MOST]):
            progress.step("comparing answers", done, min(len(positions), MOST))
            with contextlib.suppress(SampleError):
                sample = data.read(index)
                expected = {name: array.copy() for name, array in theirs.run(sample.inputs).items()}
                found.append(_difference(data, index, sample.name, expected, mine.run(sample.inputs)))
        return Differences(tuple(found))
    finally:
        mine.close()
        theirs.close()


def _difference(data: Dataset, index: int, name: str, expected: Arrays, got: Arrays) -> Difference:
    label, picture = data.label(index), data.image(index)
    share = Agreement().observe(got, None, expected)
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
