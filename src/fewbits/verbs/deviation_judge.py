"""Is a deviation the rounding of a format, or a fault? By kind of input, and by what moving the original does."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from typing import Final

from fewbits.engines import Arrays
from fewbits.errors import EngineError
from fewbits.measurement import feeds as kinds
from fewbits.measurement.deviation import Deviation, is_rounding, noise_sums, worst_of
from fewbits.measurement.feeds import Case
from fewbits.measurement.truth import Truth
from fewbits.numerics import NoiseSum
from fewbits.progress import Progress
from fewbits.verbs.made import ConversionError, Made

_SEEDS: Final = (0, 1)


class DeviationJudge:
    """Compares results with what the truth computed; ``kind`` is then the kind of input that was looked at last."""

    def __init__(self, truth: Truth, made: Made, progress: Progress) -> None:
        self.truth = truth
        self.made = made
        self.progress = progress
        self.kind = ""
        self._moved: dict[str, list[dict[str, dict[str, NoiseSum]]]] = {}

    def judge(
        self, chosen: Sequence[Case], got: Sequence[Arrays], to: str, refuse: Callable[[str], ConversionError]
    ) -> tuple[Deviation, ...]:
        """One deviation a kind of input; raises what ``refuse`` makes of the sentence where it is no rounding."""
        found: dict[str, Deviation] = {}
        scale: dict[str, float] = {}
        order = list(dict.fromkeys(case.kind for case in chosen))
        # Data counts most: where it passes in 16 bits, what random numbers do is a warning.
        for kind in sorted(order, key=lambda kind: kind != kinds.DATA):
            places = [index for index, case in enumerate(chosen) if case.kind == kind]
            self.kind = kind
            try:
                noise = noise_sums(
                    [chosen[i].expected for i in places],
                    [got[i] for i in places],
                    whole_numbers=to == "fp32",
                    drawn=self.truth.drawn,
                )
            except EngineError as error:
                raise refuse(f"on {kind} input {error.what}") from error
            for name, one in noise.items():
                if kind == kinds.RANDOM:
                    scale[name] = one.signal_energy / max(one.count, 1)
                elif kind not in kinds.PLAUSIBLE:  # what is nothing beside the usual results is no deviation
                    one.signal_energy = max(one.signal_energy, scale.get(name, 0.0) * one.count)
            found[kind] = worst_of(kind, len(places), noise)
            least = self.made.rounding.least_sqnr_db(to, alike=kind not in kinds.PLAUSIBLE)
            bad = {name: one for name, one in noise.items() if not one.sqnr_db >= least}
            if bad:
                advisory = to != "fp32" and kind != kinds.DATA and kinds.DATA in found
                self._excuse(found[kind], bad, to, refuse, advisory=advisory)
        return tuple(found[kind] for kind in order)

    def _excuse(
        self,
        found: Deviation,
        bad: dict[str, NoiseSum],
        to: str,
        refuse: Callable[[str], ConversionError],
        *,
        advisory: bool,
    ) -> None:
        """Refuse what moving the original does not explain; say what it does. ``advisory``: the data has decided."""
        edge = found.inputs not in kinds.PLAUSIBLE
        for count in range(1, len(_SEEDS) + 1):
            moved = self._amplified(to, found.inputs, count)
            left = [n for n, one in bad.items() if not is_rounding(to, one, _of(moved, n), edge=edge)]
            if not left:
                break
        else:
            worst = bad[left[0]]
            what = (
                f"the {to} model deviates from the original on {found.inputs} input by more than rounding: "
                f"{worst.sqnr_db:.1f} dB at output {left[0]}, largest difference {worst.max_abs:g}"
            )
            padding = to != "fp32" and found.inputs == kinds.MASKS and math.isfinite(worst.noise_energy)
            if not advisory and not padding:
                raise refuse(what)
            self.progress.warn(f"{what}; {'on the data it does not' if advisory else 'whole rows are masked there'}")
            return
        if not edge:
            amplified = min(one.sqnr_db for name in bad for one in _of(moved, name))
            self.progress.warn(
                f"on {found.inputs} input this network amplifies rounding: {found.sqnr_db:.1f} dB, and "
                f"{amplified:.1f} dB where the original's numbers move at random by as much as {to} rounds"
                + ("" if found.inputs == kinds.DATA else "; --data shows how it does on real input")
            )

    def _amplified(self, to: str, kind: str, count: int) -> list[dict[str, NoiseSum]]:
        """What the original itself does on this kind of input with its numbers moved, one entry a try.

        Nothing where it does not run then: numbers decide sizes there.
        """
        runs = self._moved.setdefault(to, [])
        runs += [self._move(to, seed) for seed in _SEEDS[len(runs) : count]]
        return [run[kind] for run in runs if kind in run]

    def _move(self, to: str, seed: int) -> dict[str, dict[str, NoiseSum]]:
        chosen = self.truth.of_kinds(plausible=None if to == "fp32" else True)
        found: dict[str, dict[str, NoiseSum]] = {}
        if self.truth.engine is None:
            return found
        try:
            with self.truth.original.opened(self.truth.engine, self.made.rounding.reach(to), seed) as run:
                for kind in dict.fromkeys(case.kind for case in chosen):
                    mine = [case for case in chosen if case.kind == kind]
                    with contextlib.suppress(EngineError):
                        got = [run(case.feed) for case in mine]
                        expected = [case.expected for case in mine]
                        found[kind] = noise_sums(expected, got, whole_numbers=to == "fp32", drawn=self.truth.drawn)
        except EngineError:
            pass
        return found


def _of(moved: Sequence[dict[str, NoiseSum]], name: str) -> list[NoiseSum]:
    return [run[name] for run in moved if name in run]
