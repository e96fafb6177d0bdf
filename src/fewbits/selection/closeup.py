"""A closer look at the chosen model once the decision stands: layer by layer, and where its answers are not FP32's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fewbits.engines import ENGINES
from fewbits.errors import FewbitsError
from fewbits.measurement.records import Subject
from fewbits.progress import Progress
from fewbits.selection.closeup_records import Closeup
from fewbits.selection.differences import Differences, differences
from fewbits.selection.job import Job
from fewbits.selection.kept import read_record, write_record
from fewbits.selection.layers import Layers, Sensitivity, layers
from fewbits.selection.records import Decision, Measured

CLOSEUP = "closeup.json"


@dataclass(frozen=True)
class _Pair:
    """The chosen candidate and the FP32 one it is held against, as they were measured, on how many test samples."""

    chosen: Subject
    reference: Subject
    samples: int


def look_closer(job: Job, decision: Decision, progress: Progress) -> Closeup:
    """Look at the chosen model and write what was seen as ``closeup.json`` into the run's folder.

    What cannot be seen (an engine that gives no profile, a device that is not here) is left out with a note: the
    decision does not depend on it.

    Raises:
        OutputError: the file cannot be written.
    """
    found, notes = Closeup(), []
    pair = _pair(job, decision)
    if pair is None:
        notes.append("no candidate was chosen and run here, so there are no layers to show")
    else:
        shown, differing = Layers(), Differences()
        try:
            shown = layers(job, pair.chosen, pair.reference, progress, _sensitivity(decision, pair.chosen))
        except FewbitsError as error:
            notes.append(f"the layers could not be compared: {error}")
        try:
            if pair.chosen != pair.reference:
                differing = differences(job.test, pair.chosen, pair.reference, decision.differing, progress)
        except FewbitsError as error:
            notes.append(f"the answers could not be compared: {error}")
        found = Closeup(
            chosen=pair.chosen.name,
            reference=pair.reference.name,
            layers=shown.rows,
            layer_samples=shown.samples,
            other_us=shown.other_us,
            reference_other_us=shown.reference_other_us,
            differences=differing.shown,
            differing=len(decision.differing or ()),
            compared=0 if decision.differing is None or pair.chosen == pair.reference else pair.samples,
            notes=(*shown.notes, *differing.notes, *notes),
        )
    write_record(job.folder / CLOSEUP, Closeup, found)
    return found


def _sensitivity(decision: Decision, chosen: Subject) -> Sensitivity:
    """Node → SQNR in dB at the outputs with only it, and with all but it, in INT8, where the search asked."""
    return {group.name: (group.only_db, group.but_db) for group in decision.groups.get(chosen.engine, ())}


def read_closeup(folder: Path) -> Closeup | None:
    """What ``look_closer`` wrote; None where it did not come to that.

    Raises:
        InputError: the file is damaged.
    """
    fix = "remove it to see the report without it"
    return read_record(folder / CLOSEUP, Closeup, damaged="is no close-up of a run", fix=fix)


def _pair(job: Job, decision: Decision) -> _Pair | None:
    found, samples = {}, {}
    for outcome in decision.outcomes:
        c = outcome.candidate
        if isinstance(outcome, Measured) and c.engine in ENGINES:
            found[c.name] = job.subject(c, outcome.files[0])
            samples[c.name] = outcome.measurement.accuracy.samples if outcome.measurement.accuracy else 0
    if decision.chosen not in found or decision.reference not in found:
        return None
    return _Pair(found[decision.chosen], found[decision.reference], samples[decision.chosen])
