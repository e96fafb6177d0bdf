"""How right a model is on a few samples under several readings of them; a run is never done twice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fewbits.data import Dataset, Preprocess
from fewbits.data.slips import Reading
from fewbits.engines import Arrays, Session
from fewbits.errors import DataError, SampleError
from fewbits.measurement.metrics.outputs import class_scores

Row = NDArray[np.float64]
_UNFIT = -100.0  # below what any model says


@dataclass(frozen=True)
class Scores:
    """Of readings on samples: log-probability of the label, and whether it is first; each [samples, readings]."""

    log_p: NDArray[np.float64]
    right: NDArray[np.float64]


@dataclass
class Judge:
    """Runs each sample once for each preprocessing; label offsets cost no run."""

    session: Session
    data: Dataset
    # sample → steps → class scores [K], None where the steps do not fit the image; no entry: unreadable
    _known: dict[int, dict[Preprocess | None, Row | None]] = field(default_factory=dict)

    def scores(self, samples: Sequence[int], readings: Sequence[Reading]) -> Scores:
        """How right the readings are; samples that cannot be read are left out.

        Raises:
            EngineError: the model does not run.
        """
        steps = list(dict.fromkeys(reading.steps for reading in readings))
        slots = self.session.slots if self.data.concurrent else 1
        with ThreadPoolExecutor(slots) as pool:
            list(pool.map(lambda slot: self._run(samples[slot::slots], steps, slot), range(slots)))
        rows = [[self._judge(sample, reading) for reading in readings] for sample in samples if self._known[sample]]
        found = np.array(rows, np.float64).reshape(-1, len(readings), 2)
        return Scores(found[:, :, 0], found[:, :, 1])

    def _run(self, samples: Sequence[int], steps: Sequence[Preprocess | None], slot: int) -> None:
        for sample in samples:
            known = self._known.setdefault(sample, {})
            missing = [one for one in steps if one not in known]
            try:
                feeds = self._feeds(sample, missing) if missing else []
            except SampleError:
                continue
            for one, feed in zip(missing, feeds, strict=True):
                known[one] = None if feed is None else class_scores(self.session.run(feed, slot))

    def _feeds(self, sample: int, steps: Sequence[Preprocess | None]) -> list[Arrays | None]:
        """The image is decoded once."""
        image = self.data.image(sample)
        if image is None:
            return [dict(self.data.read(sample).inputs)]
        [spec] = self.session.inputs
        feeds: list[Arrays | None] = []
        for one in steps:
            try:
                feeds.append({spec.name: one.apply(image, spec)} if one else None)
            except SampleError:
                raise
            except DataError:  # a crop larger than this image
                feeds.append(None)
        return feeds

    def _judge(self, sample: int, reading: Reading) -> tuple[float, float]:
        """(log-probability, 1 or 0)."""
        scores = self._known[sample][reading.steps]
        label = (self.data.label(sample) or 0) - self.data.label_offset + reading.label_offset
        if scores is None:
            return _UNFIT, 0.0
        return log_probability(scores, label), float(label == int(np.argmax(scores)))


def log_probability(scores: Row, label: int) -> float:
    """Of the label, from probabilities or logits [K]; at least log(0.1 / K), also where the label is no class.

    The bound keeps one sample that is surely wrong from outweighing all others.
    """
    least = math.log(0.1 / len(scores))
    if not 0 <= label < len(scores) or not np.isfinite(scores).all():
        return least
    if scores.min() >= 0 and abs(scores.sum() - 1) < 1e-3:
        return max(math.log(max(scores[label], 1e-30)), least)
    shifted = scores - scores.max()
    return max(float(shifted[label]) - math.log(np.exp(shifted).sum()), least)
