"""What the original computes, and on which inputs: the first engine that runs the untouched file says it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from fewbits.engines import Arrays, Engine
from fewbits.errors import EngineError, InputError
from fewbits.graph import queries
from fewbits.graph.drawn import drawn_outputs
from fewbits.graph.vocabulary import bounds
from fewbits.measurement import feeds as kinds
from fewbits.measurement.feeds import Case, cases
from fewbits.measurement.inputs import ModelInput, model_inputs
from fewbits.measurement.original import NOTHING, Original

# Multiply-accumulates of one sample from which on a run takes seconds on two cores.
_HEAVY_MACS = 10_000_000_000


@dataclass(frozen=True)
class Plan:
    """What is known of the original before it runs; small, where the model may be gigabytes."""

    original: Original
    inputs: tuple[ModelInput, ...] | None
    bounds: tuple[float, ...]
    drawn: frozenset[str]
    data: tuple[Arrays, ...]
    macs: int = 0

    @classmethod
    def of(cls, original: Original, model: ir.Model, data: Iterable[Arrays]) -> Plan:
        """Look at the model as its frontend read it."""
        macs = sum(map(queries.macs, model.graph))
        return cls(original, model_inputs(model), bounds(model), drawn_outputs(model), tuple(data), macs)


@dataclass(frozen=True)
class Truth:
    """What the original computes.

    Attributes:
        said: what served as truth, in words; ``engine`` is None where nothing ran it.
        drawn: outputs of random numbers.
    """

    original: Original
    said: str
    engine: Engine | None
    cases: tuple[Case, ...]
    drawn: Collection[str] = ()

    def of_kinds(self, *, plausible: bool | None = None) -> tuple[Case, ...]:
        """The cases, or those of plausible inputs or of others only."""
        return tuple(c for c in self.cases if plausible in (None, c.kind in kinds.PLAUSIBLE))


def truths(plan: Plan) -> Iterator[Truth]:
    """What the original computes in each engine that takes it, on inputs that suit it; one of no engine if none does.

    The first is the truth. Where that is not ONNX Runtime's, an engine may be wrong, and another one that computes what
    the result does proves it as well.

    Raises:
        InputError: it has free sizes, and none that were tried suit it.
    """
    given = False
    free = [one for one in plan.inputs or () if not all(isinstance(size, int) for size in one.sizes)]
    for engine in plan.original.engines() if plan.inputs is not None else ():
        try:
            found, drawn = _run(plan, engine)
        except EngineError:
            continue
        if found:
            given = True
            yield Truth(plan.original, plan.original.label(engine), engine, found, drawn)
        elif free and not given:
            raise _unsuited(plan.original.path, free)
    if not given:
        yield Truth(plan.original, NOTHING, None, ())


def _unsuited(path: Path, free: Sequence[ModelInput]) -> InputError:
    described = "; ".join(f"{one.name}: {', '.join(str(size or '?') for size in one.sizes)}" for one in free)
    what = f"its free sizes have to agree with one another, and none that were tried do ({described})"
    text = ",".join(str(size if isinstance(size, int) else "N") for size in free[0].sizes)
    return InputError(what, where=str(path), fix=f"fix them with --input-shape {free[0].name}:{text}")


def _run(plan: Plan, engine: Engine) -> tuple[tuple[Case, ...], frozenset[str]]:
    with plan.original.opened(engine) as run:
        data = [Case(kinds.DATA, feed, run(feed)) for feed in plan.data]
        known = [{name: array.shape for name, array in data[0].feed.items()}] if data else []
        found = (*cases(plan.inputs or (), plan.bounds, run, known=known, heavy=plan.macs > _HEAVY_MACS), *data)
        drawn: set[str] = set()
        if plan.drawn and found:
            again = run(found[0].feed)
            for name, array in found[0].expected.items():
                other = again[name]
                if name.split("[")[0] in plan.drawn and (other.shape != array.shape or (other != array).any()):
                    drawn.add(name)
    return found, frozenset(drawn)
