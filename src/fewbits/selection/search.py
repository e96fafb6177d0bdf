"""Candidates that only measurement calls for: better rounded INT8, and mixes that keep some layers in float.

INT8 of an engine comes first. Where it loses too much its weights are rounded by learning; where that loses too much as
well, groups of layers leave INT8 in the order of ``moves``, as few as bring it inside the budget, and never so many
that the mix would be slower than what is inside already. Where INT8 is inside, only groups leave it that are faster in
float.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import asdict, replace

from fewbits.engines import ENGINES, Engine, Profile
from fewbits.errors import EngineError
from fewbits.progress import Progress
from fewbits.quantization.groups import Group, groups
from fewbits.quantization.recipe import AUTO
from fewbits.quantization.tune import Tuned
from fewbits.quantization.workshop import Workshop
from fewbits.selection.build import Yard
from fewbits.selection.costs import Cost, costs
from fewbits.selection.moves import Move, fewest, free_moves, moves, worthwhile
from fewbits.selection.records import Candidate, GroupFacts
from fewbits.selection.sensitivity import sensitivities
from fewbits.selection.trial import Trial
from fewbits.selection.tuning import Tuning

# A mix is built where the profiles promise that it saves at least this share of a network's time.
_LEAST_GAIN = 0.03
_FORMATS = {"f32": "fp32", "bf16": "bf16", "f16": "fp16"}


def extend(yard: Yard, trial: Trial, tuning: Tuning, progress: Progress) -> dict[str, tuple[GroupFacts, ...]]:
    """Search on every engine that has an INT8 candidate in the trial, the faster one first.

    Returns:
        Engine → its groups of layers and what was found out about them, where that was asked.
    """
    plain = [name for name in trial.known.alive() if yard.built[name].candidate.format == "int8"]
    plain.sort(key=lambda name: -trial.gain(trial.reference, name).median)
    found = {}
    for name in plain:
        engine = yard.built[name].candidate.engine
        search = Search(ENGINES[engine], yard, trial, tuning, progress)
        search.run()
        if search.groups:
            found[engine] = search.groups
    return found


class Search:
    """The search on one engine; what it finds are candidates of the trial, measured as far as their accuracy decides.

    ``groups`` is then what was found out about each group, in the order of the moves.
    """

    def __init__(self, engine: Engine, yard: Yard, trial: Trial, tuning: Tuning, progress: Progress) -> None:
        self._engine, self._yard, self._trial, self._tuning, self._progress = engine, yard, trial, tuning, progress
        self._job = yard.job
        self._workshop = Workshop(engine, tuning.bench)
        self._plain = f"{engine.name}-int8"
        self._precision = "f32"
        self.groups: tuple[GroupFacts, ...] = ()

    def run(self) -> None:
        """Look for what is inside the budget and faster than all that is, as long as there is time.

        Raises:
            EngineError: the calibration samples cannot be run any more.
        """
        if self._trial.late:
            return
        best = tuned = self._tuning.tuned[self._engine.name]
        inside = self._inside(self._plain)
        # What a recipe names is meant; only what it leaves open is tried.
        if not inside and AUTO in self._job.recipe.corrections and self._may_win():
            rounded = Workshop(self._engine, self._tuning.more_samples()).rounded(tuned)
            name = f"{self._plain}-rounded"
            inside = self._try(Candidate(name, self._engine.name, "int8", "f32", rounded.recipe), rounded)
            if self._drop(name) <= self._drop(self._plain):
                best = rounded
        if "mixed" in self._job.formats and not self._trial.late:
            self._mix(best, inside)

    def _mix(self, base: Tuned, inside: bool) -> None:
        self._precision = self._rest(inside)
        if self._out_of_reach():
            return
        ranked, int8_us = self._rank()
        if inside:
            if count := free_moves(ranked, int8_us, _LEAST_GAIN):
                self._try_mix(base, ranked[:count], len(ranked))
        elif self._may_win():
            # The times of profiles are those of single operators; what may be spent is measured on whole networks.
            allowed = int8_us / self._trial.gain(self._plain, self._trial.best()).median
            most = worthwhile(ranked[:-1], int8_us, allowed * (1 - _LEAST_GAIN))
            fewest(most, lambda count: self._try_mix(base, ranked[:count], len(ranked)))

    def _out_of_reach(self) -> bool:
        """Whether another engine has something inside the budget that is faster than any mix here can be.

        A mix saves what its layers save that are faster in float; the profiles tell how much that is at best.
        """
        best = self._trial.best()
        if self._yard.built[best].candidate.engine == self._engine.name:
            return False
        priced, int8_us = self._prices
        saved = sum(max(0.0, cost.int8_us - cost.float_us) for cost in priced.values()) / int8_us
        return self._trial.gain(self._plain, best).low * (1 - saved) > 1.0

    def _rest(self, inside: bool) -> str:
        """What the float layers of a mix execute in: BF16 where that alone is inside the budget, else FP32.

        Where INT8 is inside, what BF16 has been seen to lose so far is enough to go by.
        """
        name = f"{self._engine.name}-bf16"
        if name not in self._trial.known.alive():
            return "f32"
        fit = self._trial.drop(name).low <= self._trial.budget.max_drop if inside else self._inside(name)
        return "bf16" if fit else "f32"

    def _try_mix(self, base: Tuned, out: Sequence[Move], total: int) -> bool:
        engine, precision = self._engine.name, self._precision
        name = f"{engine}-int8+{_FORMATS[precision]}-{len(out)}of{total}"
        mixed = self._workshop.keeping_float(base, [move.group for move in out])
        return self._try(Candidate(name, engine, "mixed", precision, mixed.recipe), mixed)

    def _try(self, candidate: Candidate, tuned: Tuned) -> bool:
        """Whether a new candidate is inside the budget; one that the engine cannot run, or that is too late, is not."""
        if self._trial.late:
            return False
        self._progress.step(f"trying {candidate.name}")
        if candidate.name not in self._trial.known.subjects:
            self._trial.add(self._yard.build(candidate, tuned).subject(self._job))
            self._trial.weigh()  # in a process of its own, before it is compiled in this one
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
        """Whether INT8 seems better than the best that is inside the budget; few rounds were run so far."""
        return self._trial.gain(self._trial.best(), self._plain).median > 1.0

    def _rank(self) -> tuple[tuple[Move, ...], float]:
        """The moves, and the time of plain INT8 in the profile; journalled, since times are not the same twice."""
        journal, key = self._yard.journal, f"{self._engine.name} {self._precision}"
        known = journal.get("groups", key)
        if known is None:
            known = {"facts": [asdict(fact) for fact in self._survey()], "int8_us": self._prices[1]}
            journal.put("groups", key, known)
        facts = {fact["name"]: GroupFacts(**{**fact, "nodes": tuple(fact["nodes"])}) for fact in known["facts"]}
        order = moves(list(facts.values()))
        self.groups = tuple(facts[move.group] for move in order)
        return order, known["int8_us"]

    def _survey(self) -> list[GroupFacts]:
        bench = self._tuning.bench
        felt = sensitivities(
            self._tuning.tuned[self._engine.name],
            self._layers,
            bench.samples,
            bench.engine,
            replace(bench.options, mode="throughput"),
            lambda done, total: self._progress.step("sensitivity of each group of layers", done, total),
        )
        facts = []
        for group in self._layers:
            cost, error = self._prices[0].get(group.name), felt[group.name]
            times = (None, None) if cost is None else (cost.int8_us, cost.float_us)
            facts.append(GroupFacts(group.name, group.nodes, error.only_db, error.but_db, *times))
        return facts

    @functools.cached_property
    def _layers(self) -> tuple[Group, ...]:
        tuned = self._tuning.tuned[self._engine.name]
        return groups(tuned.source, tuned.recipe, self._engine.capability, tuned.statistics.unusable)

    @functools.cached_property
    def _prices(self) -> tuple[dict[str, Cost], float]:
        """The cost of each group, and the time of plain INT8, both as profiled."""
        integer, floating = (self._profile(f"{self._engine.name}-{name}", self._precision) for name in ("int8", "fp32"))
        source = self._tuning.tuned[self._engine.name].source
        return costs(source, self._layers, integer, floating), sum(op.time_us for op in integer.ops)

    def _profile(self, name: str, precision: str) -> Profile:
        file = self._job.folder / self._yard.built[name].file
        options = replace(self._job.options, precision=precision)
        return self._engine.profile(file, options, dict(self._tuning.bench.samples[0].inputs))
