"""What a run was asked to do, kept beside its results so that it can be shown and done again."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from fewbits.devices.host import Host, detect
from fewbits.engines import named
from fewbits.graph import queries
from fewbits.selection.job import Job
from fewbits.selection.kept import read_record, write_record
from fewbits.selection.records import Budget

ASKED = "asked.json"


@dataclass(frozen=True)
class AskedInput:
    """One input of the model; a free size is None."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str


@dataclass(frozen=True)
class Asked:
    """The command line that does the run again, and what it is about.

    Args:
        command: as typed in a shell.
        data, calibration: names of the test and calibration sets; ``samples`` and ``calibration_samples`` how many.
        python, fewbits: versions.
    """

    command: str
    model: str
    metric: str
    budget: Budget
    device: str
    inputs: tuple[AskedInput, ...]
    data: str
    samples: int
    calibration: str
    calibration_samples: int
    host: Host
    versions: dict[str, str] = field(default_factory=dict)


def asked_of(job: Job, command: str, versions: dict[str, str]) -> Asked:
    """The record of a job about to be run; ``versions`` are added to those of the engines."""
    specs = queries.specs(job.original.graph.inputs)
    return Asked(
        command=command,
        model=str(job.path),
        metric=job.metric.name,
        budget=job.budget,
        device=job.device,
        inputs=tuple(AskedInput(s.name, tuple(s.shape), s.dtype.name) for s in specs),
        data=job.test.name,
        samples=len(job.test),
        calibration=job.calibration.name,
        calibration_samples=len(job.calibration),
        host=detect(),
        versions={engine.name: engine.version for engine in named(job.engine)} | versions,
    )


def write_asked(folder: Path, asked: Asked) -> None:
    """Write ``asked.json``; raises ``OutputError`` where the folder cannot be written."""
    write_record(folder / ASKED, Asked, asked)


def read_asked(folder: Path) -> Asked | None:
    """What ``write_asked`` wrote, or None.

    Raises:
        InputError: the file is damaged.
    """
    return read_record(folder / ASKED, Asked, damaged="does not say what was asked of a run", fix="remove it")
