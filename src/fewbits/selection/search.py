"""Candidates that only measurement calls for: better rounded INT8, and mixes that keep some layers in float.

INT8 of an engine comes first. Where it loses too much its weights are rounded by learning; where that loses too much as
well, groups of layers leave INT8 in the order of ``moves``, as few as bring it inside the budget, and never so many
that the mix would be slower than what is inside already. Where INT8 is inside, only groups leave it that are faster in
float.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from fewbits.engines import Arrays, Engine, Options, Profile
from fewbits.errors import EngineError
from fewbits.progress import Progress
from fewbits.quantization.groups import groups
from fewbits.quantization.tune import Bench, Tuned
from fewbits.quantization.workshop import Workshop
from fewbits.selection.build import Built
from fewbits.selection.costs import costs
from fewbits.selection.journal import Journal
from fewbits.selection.moves import Move, fewest, free_moves, moves, worthwhile
from fewbits.selection.records import Candidate, GroupFacts
from fewbits.selection.sensitivity import sensitivities
from fewbits.selection.trial import Trial

# A mix for speed alone is built where the profiles promise at least this share of the network's time.
_LEAST_GAIN = 0.03
_FORMATS = {"f32": "fp32", "bf16": "bf16", "f16": "fp16"}


@dataclass(frozen=True)
class Ground:
    """What the search on one engine works with.

    Args:
        tuned: plain INT8 for the engine, the candidate ``ENGINE-int8`` of the trial.
        bench: calibration samples; learned rounding reads all of them.
        options: how the engine is to be profiled, but for the precision.
        floating: the FP32 file.
        integer: the file of plain INT8.
        sample: what profiles are taken with.
        enter: writes a candidate's file and adds it to the trial.
        rounding: whether learned rounding may be tried, which the recipe must leave open.
        mixing: whether mixes are among the formats asked for.
    """

    engine: Engine
    tuned: Tuned
    bench: Bench
    options: Options
    floating: Path
    integer: Path
    sample: Arrays
    enter: Callable[[Candidate, Tuned], Built]
    rounding: bool
    mixing: bool


class Search:
    """The search on one engine; what it finds are candidates of the trial, measured as far as their accuracy decides.

    ``groups`` is then what was found out about each group, in the order of the moves.
    """

    def __init__(self, ground: Ground, trial: Trial, journal: Journal, progress: Progress) -> None:
        self._ground, self._trial, self._journal, self._progress = ground, trial, journal, progress
        self._workshop = Workshop(ground.engine, ground.bench)
        self._plain = f"{ground.engine.name}-int8"
        self.groups: tuple[GroupFacts, ...] = ()

    def run(self) -> None:
        """Look for what is inside the budget and faster than all that is.

        Raises:
            EngineError: the calibration samples cannot be run any more.
        """
        if self._plain not in self._trial.known.alive():
            return
        ground, best, inside = self._ground, self._ground.tuned, self._inside(self._plain)
        if not inside and ground.rounding and self._may_win():
            rounded = self._workshop.rounded(ground.tuned)
            name = f"{self._plain}-rounded"
            inside = self._try(Candidate(name, ground.engine.name, "int8", "f32", rounded.recipe), rounded)
            if self._drop(name) <= self._drop(self._plain):
                best = rounded
        if ground.mixing:
            self._mix(best, inside)

    def _mix(self, base: Tuned, inside: bool) -> None:
        precision = self._rest()
        ranked, int8_us = self._rank(precision)
        if inside:
            if count := free_moves(ranked, int8_us, _LEAST_GAIN):
                self._try_mix(base, ranked[:count], len(ranked), precision)
        elif self._may_win():
            # The times of profiles are those of single operators; what may be spent is measured on whole networks.
            allowed = int8_us / self._trial.gain(self._plain, self._trial.best()).median
            most = worthwhile(ranked, int8_us, allowed)
            fewest(most, lambda count: self._try_mix(base, ranked[:count], len(ranked), precision))

    def _rest(self) -> str:
        """What the float layers of a mix execute in: BF16 where that alone is inside the budget, else FP32."""
        name = f"{self._ground.engine.name}-bf16"
        return "bf16" if name in self._trial.known.alive() and self._inside(name) else "f32"

    def _try_mix(self, base: Tuned, out: Sequence[Move], total: int, precision: str) -> bool:
        engine = self._ground.engine.name
        name = f"{engine}-int8+{_FORMATS[precision]}-{len(out)}of{total}"
        mixed = self._workshop.keeping_float(base, [move.group for move in out])
        return self._try(Candidate(name, engine, "mixed", precision, mixed.recipe), mixed)

    def _try(self, candidate: Candidate, tuned: Tuned) -> bool:
        """Whether a new candidate is inside the budget; one that the engine cannot run is not."""
        self._progress.step(f"trying {candidate.name}")
        if candidate.name not in self._trial.known.subjects:
            self._ground.enter(candidate, tuned)
        self._trial.quick_clock([candidate.name])
        return candidate.name in self._trial.known.alive() and self._inside(candidate.name)

    def _inside(self, name: str) -> bool:
        return self._drop(name) <= self._trial.budget.max_drop

    def _drop(self, name: str) -> float:
        """As far as it had to be measured; 1 for what cannot be run."""
        try:
            return self._trial.confirm(name, self._trial.budget.max_drop).estimate
        except EngineError:
            return 1.0

    def _may_win(self) -> bool:
        """Whether INT8 is better, beyond the noise, than the best that is inside the budget."""
        return self._trial.gain(self._trial.best(), self._plain).low > 1.0

    def _rank(self, precision: str) -> tuple[tuple[Move, ...], float]:
        """The moves, and the time of plain INT8 in the profile; journalled, since times are not the same twice."""
        ground, key = self._ground, f"{self._ground.engine.name} {precision}"
        known = self._journal.get("groups", key)
        if known is None:
            self._progress.step("sensitivity of each group of layers")
            source, recipe = ground.tuned.source, ground.tuned.recipe
            found = groups(source, recipe, ground.engine.capability)
            felt = sensitivities(
                ground.tuned,
                found,
                ground.bench.samples,
                ground.bench.engine,
                Options(mode="throughput", threads=ground.bench.options.threads),
                lambda done, total: self._progress.step("sensitivity of each group of layers", done, total),
            )
            integer, floating = self._profile(ground.integer, precision), self._profile(ground.floating, precision)
            priced = costs(source, found, integer, floating)
            order = moves(found, felt, priced)
            by_name = {group.name: group for group in found}
            facts = [
                GroupFacts(
                    move.group,
                    by_name[move.group].nodes,
                    felt[move.group].only_db,
                    felt[move.group].but_db,
                    priced[move.group].int8_us if move.group in priced else None,
                    priced[move.group].float_us if move.group in priced else None,
                )
                for move in order
            ]
            known = {
                "facts": [asdict(fact) for fact in facts],
                "lost_us": [move.lost_us for move in order],
                "noise": [move.noise for move in order],
                "int8_us": sum(op.time_us for op in integer.ops),
            }
            self._journal.put("groups", key, known)
        self.groups = tuple(GroupFacts(**{**fact, "nodes": tuple(fact["nodes"])}) for fact in known["facts"])
        figures = zip(self.groups, known["noise"], known["lost_us"], strict=True)
        return tuple(Move(group.name, noise, lost_us) for group, noise, lost_us in figures), known["int8_us"]

    def _profile(self, file: Path, precision: str) -> Profile:
        from dataclasses import replace

        return self._ground.engine.profile(file, replace(self._ground.options, precision=precision), self._ground.sample)
