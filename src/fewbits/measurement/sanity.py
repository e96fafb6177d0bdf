"""Is the data read as the model was trained to read it? The usual slips are tried on a few labelled samples.

Top-1 of a few dozen samples says little, so readings are compared by the log-probability of the label, paired by
sample. What looks best on some samples is held against the reading as given on others that played no part in
finding it, so that the best of many does not win by luck; only then is it named.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from fewbits.data import Dataset
from fewbits.data.slips import Reading, readings
from fewbits.engines import Session
from fewbits.errors import SampleError
from fewbits.measurement.judging import Judge
from fewbits.measurement.metrics.outputs import class_scores

LEAST_SAMPLES = 40
LEAST_READABLE = 8
# (samples, readings that go on): most readings are hopeless after a few samples.
SCREENING = ((4, 12), (4, 6), (8, 4), (8, 3))
# Samples of the confirmation; more of them only where the reading is ahead and not yet surely so.
CONFIRMING = (40, 40, 80)
MOST_CHANCE = 0.001  # that a reading no better than the one given passes one look of the confirmation
HOPELESS = 0.1
LEAST_GAIN = 0.05  # of top-1; a border around the crop may be worth 3 points, and is no slip
GUESSING = 0.05  # this far above the top-1 of guessing is still near it


@dataclass(frozen=True)
class Repair:
    """Another reading of the data, and both top-1 on samples that played no part in finding it."""

    changes: Mapping[str, str]
    top1: float
    top1_as_given: float
    samples: int

    @property
    def options(self) -> str:
        """``--channels bgr --mean 104,117,123``."""
        return " ".join(f"{option} {value}" for option, value in self.changes.items())


@dataclass(frozen=True)
class Sanity:
    """Top-1 of the data as given, and the reading that repairs it, if there is one.

    ``images`` tells that preprocessing was varied; arrays that are fed as they are leave only the label offset.
    """

    top1: float
    samples: int
    classes: int
    images: bool
    repair: Repair | None = None

    @property
    def guessing(self) -> bool:
        """Whether top-1 is within 5 points of guessing, or what one guesser in a hundred reaches."""
        chance = 1 / self.classes
        lucky = float(stats.binom.ppf(0.99, self.samples, chance)) / self.samples
        return self.top1 <= max(chance + GUESSING, lucky)


def look(session: Session, data: Dataset, seed: int, most_s: float | None = None) -> Sanity | None:
    """Compare the data as given with the usual slips; None where there is nothing to compare.

    Args:
        session: the model in FP32.
        data: labelled with class numbers; what is not, or has fewer than 40 samples, is not looked at.
        most_s: nothing is compared either where this time would not do.

    Raises:
        EngineError: the model does not run.
    """
    if not data.labelled or data.label(0) is None or len(data) < LEAST_SAMPLES:
        return None
    drawn = np.random.default_rng(seed).permutation(len(data)).tolist()
    judge = Judge(session, data)
    screened = sum(count for count, _ in SCREENING)
    finding, proving = drawn[:screened], drawn[screened : screened + sum(CONFIRMING)]
    first = next((sample for sample in finding if _readable(data, sample)), None)
    if first is None or (scores := class_scores(session.run(data.read(first).inputs))) is None:
        return None
    given, *others = readings(data, first, session.inputs)
    start = time.monotonic()
    right = judge.scores(finding, [given]).right
    # Half of the readings, on average, are still there.
    rest_s = (time.monotonic() - start) * len({reading.steps for reading in others}) / 2
    if len(right) < LEAST_READABLE or (most_s is not None and rest_s > most_s):
        return None
    repair = None
    if right.mean() <= 1 - LEAST_GAIN:
        rivals = _screen(judge, given, others, finding)
        if given not in rivals:
            repair = _confirm(judge, given, rivals, others, finding, proving)
    seen = judge.scores(drawn[: screened + CONFIRMING[0]], [given]).right
    images = any(reading.steps != given.steps for reading in others)
    return Sanity(float(seen.mean()), len(seen), len(scores), images, repair)


def _readable(data: Dataset, sample: int) -> bool:
    try:
        data.read(sample)
    except SampleError:
        return False
    return True


def _screen(judge: Judge, given: Reading, others: Sequence[Reading], samples: Sequence[int]) -> list[Reading]:
    """The best readings, ``given`` among them where it is as good."""
    alive, end = list(others), 0
    for count, most in SCREENING:
        end += count
        means = judge.scores(samples[:end], alive).log_p.mean(axis=0)
        alive = [alive[k] for k in np.argsort(-means, kind="stable")[:most]]
    return _simplest(judge, given, [given, *alive], samples, errors=1)


def _simplest(
    judge: Judge, given: Reading, candidates: Sequence[Reading], samples: Sequence[int], errors: float
) -> list[Reading]:
    """The candidates of the fewest changes, the best first; several change the same options to values as good.

    More changes have to pay: in log-probability by more than so many standard errors, and in top-1, since a network
    can be made surer of itself without being right more often.
    """
    scores = judge.scores(samples, candidates)
    order = np.argsort(-scores.log_p.mean(axis=0), kind="stable")
    behind = scores.log_p[:, order[:1]] - scores.log_p[:, order]
    noise = behind.std(axis=0, ddof=1) / math.sqrt(len(behind))
    right = scores.right.mean(axis=0)[order]
    alike = [candidates[k] for k in order[(behind.mean(axis=0) <= errors * noise) | (right >= right[0])]]
    simplest = min(alike, key=lambda reading: len(reading.changes(given))).changes(given)
    return [reading for reading in alike if reading.changes(given).keys() == simplest.keys()]


def _confirm(
    judge: Judge,
    given: Reading,
    rivals: Sequence[Reading],
    others: Sequence[Reading],
    finding: Sequence[int],
    proving: Sequence[int],
) -> Repair | None:
    """The first of ``rivals`` if it is surely and noticeably better on ``proving``, or less of it that is as good."""
    end = 0
    for count in CONFIRMING:
        end += count
        scores = judge.scores(proving[:end], [given, rivals[0]])
        if len(scores.right) < LEAST_READABLE:
            break
        gain = scores.right[:, 1].mean() - scores.right[:, 0].mean()
        chance = _chance(scores.log_p[:, 1] - scores.log_p[:, 0])
        if chance < MOST_CHANCE and gain >= LEAST_GAIN:
            changes = rivals[0].changes(given).items()
            less = [reading for reading in others if reading.changes(given).items() < changes]
            best = _simplest(judge, given, [*rivals, *less], [*finding, *proving[:end]], errors=2)[0]
            as_given, top1 = judge.scores(proving[:end], [given, best]).right.mean(axis=0).tolist()
            return Repair(best.changes(given), top1, as_given, len(scores.right))
        if chance > HOPELESS or end >= len(proving):
            break
    return None


def _chance(gains: NDArray[np.float64]) -> float:
    """Of a mean gain like this where there is none: Student's one-sided paired test."""
    error = float(gains.std(ddof=1)) / math.sqrt(len(gains))
    if error == 0:
        return 0.0 if gains[0] > 0 else 1.0
    return float(stats.t.sf(float(gains.mean()) / error, len(gains) - 1))
