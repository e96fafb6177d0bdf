"""Thousands of random graphs through convert and calibrate: ``python -m benchmarks.graphs --count 20000 --workers 2``.

Every graph is written in FP32, FP16, BF16 and INT8 for both engines, each file is run in its engine on samples that
calibration has not seen and held against ONNX Runtime on the graph itself (``tests/graphs``). Results are appended to
``results.jsonl`` in the folder; a campaign that was stopped goes on where it was. ``--only SEED`` judges one graph and
keeps its file, ``--reduce SEED`` makes the smallest graph that fails the same way, ``--choose K`` takes K graphs
through ``choose``.
"""

from __future__ import annotations

import argparse
import collections
import faulthandler
import gc
import json
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

HANG_S = 60
# A worker starts anew after so many graphs, so that what engines keep does not add up.
LIFE = 400
Record = dict[str, Any]


def record_of(seed: int, folder: Path) -> Record:
    """One graph through every verb."""
    from tests.graphs.generator import graph
    from tests.graphs.judge import Case, NotJudgedError, judge
    from tests.graphs.steps import all_nodes

    start = time.monotonic()
    drawn = graph(seed)
    record: Record = {
        "seed": seed,
        "opset": drawn.style.opset,
        "ops": [node.op_type for node in all_nodes(drawn.nodes) if node.op_type != "Constant"],
        "verdicts": [],
    }
    try:
        case = Case(drawn, folder, seed)
        for found in judge(case):
            db = found.sqnr_db if abs(found.sqnr_db) < 1e4 else None
            record["verdicts"].append([found.file, found.verdict, found.why, db, found.warned])
    except NotJudgedError as error:
        record["not_judged"] = str(error)[:300]
    record["seconds"] = round(time.monotonic() - start, 3)
    return record


def chosen_of(seed: int, folder: Path) -> Record:
    """One graph through ``choose``, with eight samples."""
    from tests.graphs.generator import graph
    from tests.graphs.judge import Case, NotJudgedError

    import fewbits
    from fewbits.errors import FewbitsError

    record: Record = {"seed": seed, "ops": [], "verdicts": []}
    try:
        drawn = graph(seed)
        record["ops"] = [node.op_type for node in drawn.nodes if node.op_type != "Constant"]
        case = Case(drawn, folder, seed)
        decision = fewbits.choose(
            case.path, fewbits.DataOptions(data=case.data), out=folder / "run", time_budget_s=20, threads=1
        )
        record["verdicts"].append(["choose", "right", f"{decision.chosen}: {decision.reason}"[:200], None, False])
    except NotJudgedError as error:
        record["not_judged"] = str(error)[:300]
    except FewbitsError as error:
        record["verdicts"].append(
            ["choose", "refused" if error.exit_code > 1 else "fault", str(error)[:400], None, False]
        )
    except Exception as error:
        record["verdicts"].append(["choose", "fault", f"{type(error).__name__}: {error}"[:400], None, False])
    return record


def work(connection: Connection, core: int, folder: str, job: str) -> None:
    """A worker process: a seed in, a record out, on one core."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[core % len(cores)]})
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    tempfile.tempdir = str(place)
    log = (place / "worker.log").open("a")
    os.dup2(log.fileno(), 1)
    os.dup2(log.fileno(), 2)
    faulthandler.enable(log)
    one = record_of if job == "judge" else chosen_of
    # Everything is imported by a first graph; what it leaves need not be looked through at each collection.
    record_of(0, place / "case")
    gc.freeze()
    while True:
        seed = connection.recv()
        case = place / "case"
        try:
            record = one(seed, case)
        except Exception as error:  # the judge itself
            record = {
                "seed": seed,
                "ops": [],
                "verdicts": [["judge", "fault", f"{type(error).__name__}: {error}", None, False]],
            }
        shutil.rmtree(case, ignore_errors=True)
        connection.send(record)


@dataclass
class Worker:
    """A process and what it is at."""

    core: int
    folder: Path
    job: str
    limit_s: float
    process: Any = None
    connection: Any = None
    seed: int | None = None
    since: float = 0.0
    done: int = field(default=0)

    def give(self, seed: int) -> None:
        if self.process is None or self.done >= LIFE:
            self.stop()
            context = multiprocessing.get_context("spawn")
            self.connection, theirs = context.Pipe()
            arguments = (theirs, self.core, str(self.folder), self.job)
            self.process = context.Process(target=work, args=arguments, daemon=True)
            self.process.start()
            theirs.close()
            self.done = 0
        self.seed, self.since = seed, time.monotonic()
        self.connection.send(seed)

    def result(self) -> Record | None:
        """The record, or that the process died or hung; None while it is at work."""
        if self.connection.poll():
            try:
                record: Record = self.connection.recv()
            except EOFError:
                self.process.join(5)
                record = self._failed(f"the process ended with {self.process.exitcode}")
        elif time.monotonic() - self.since > self.limit_s:
            record = self._failed(f"no answer in {self.limit_s:.0f} s")
        else:
            return None
        self.seed = None
        self.done += 1
        return record

    def _failed(self, why: str) -> Record:
        record = {"seed": self.seed, "ops": [], "verdicts": [["process", "fault", why, None, False]]}
        self.stop()
        return record

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.connection.close()
        self.process = None


def campaign(
    seeds: Iterator[int], workers: int, folder: Path, job: str = "judge", limit_s: float = HANG_S
) -> Iterator[Record]:
    """Records as they come; a seed that kills or hangs its worker is one as well."""
    scratch = Path("/dev/shm") if Path("/dev/shm").is_dir() else folder
    room = Path(tempfile.mkdtemp(prefix="graphs-", dir=scratch))
    crew = [Worker(index, room / str(index), job, limit_s) for index in range(workers)]
    try:
        busy: list[Worker] = []
        for worker in crew:
            seed = next(seeds, None)
            if seed is not None:
                worker.give(seed)
                busy.append(worker)
        while busy:
            wait([worker.connection for worker in busy], timeout=1)
            for worker in list(busy):
                record = worker.result()
                if record is None:
                    continue
                yield record
                seed = next(seeds, None)
                if seed is None:
                    busy.remove(worker)
                else:
                    worker.give(seed)
    finally:
        for worker in crew:
            worker.stop()
        shutil.rmtree(room, ignore_errors=True)


def summarise(records: list[Record]) -> str:
    """What came of all graphs, by file, and the failures by kind with the seeds that show them."""
    from tests.graphs.sentences import bucket

    files: dict[str, collections.Counter[str]] = {}
    kinds: dict[tuple[str, str, str], list[int]] = {}
    for record in records:
        for file, verdict, why, _, warned in record["verdicts"]:
            counter = files.setdefault(file, collections.Counter())
            counter[verdict] += 1
            counter["warned"] += bool(warned)
            if verdict != "right":
                kinds.setdefault((verdict, file, bucket(why)), []).append(record["seed"])
    judged = [record for record in records if "not_judged" not in record]
    lines = [f"{len(records)} graphs, {len(judged)} judged, {sum(r.get('seconds', 0) for r in records):.0f} s in all"]
    for file, counter in sorted(files.items()):
        lines.append(
            f"  {file:12} "
            + "  ".join(f"{name} {counter[name]}" for name in ("right", "wrong", "fault", "refused", "warned"))
        )
    for wanted in ("fault", "wrong", "refused"):
        lines.append(f"\n{wanted}")
        found = [(seeds, key) for key, seeds in kinds.items() if key[0] == wanted]
        for seeds, (_, file, why) in sorted(found, key=lambda item: -len(item[0])):
            lines.append(f"  {len(seeds):5} {file:11} {why}  seeds {','.join(map(str, seeds[:4]))}")
    lines.append("\none of them again: python -m benchmarks.graphs --only SEED")
    return "\n".join(lines)


def coverage(records: list[Record], least: int) -> str:
    """Operator × opset that were drawn at least so often."""
    counts: dict[str, collections.Counter[int]] = {}
    for record in records:
        for op in set(record["ops"]):
            counts.setdefault(op, collections.Counter())[record.get("opset", 0)] += 1
    pairs = sum(n >= least for counter in counts.values() for n in counter.values())
    lines = [f"{len(counts)} operators, {pairs} operator and opset pairs drawn {least} times or more"]
    lines += [f"  {op:28} {sum(c.values()):6}  opsets {min(c)}-{max(c)}" for op, c in sorted(counts.items())]
    return "\n".join(lines)


def show_one(seed: int, folder: Path) -> None:
    from tests.graphs.generator import graph

    place = folder / str(seed)
    record = record_of(seed, place)
    graph(seed).save(place / "graph.onnx")
    print(f"seed {seed}, opset {record.get('opset')}: {' '.join(record['ops'])}\n  {place / 'graph.onnx'}")
    if "not_judged" in record:
        print(f"  not judged: {record['not_judged']}")
    for file, verdict, why, db, warned in record["verdicts"]:
        print(f"  {file:12} {verdict:8} {'' if db is None else f'{db:.1f} dB '}{'(warned) ' if warned else ''}{why}")


def show_reduced(seed: int, folder: Path) -> None:
    from tests.graphs.reduce import reduced

    print(reduced(seed, folder / str(seed)))


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0, help="the first one")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path("graphs-run"))
    parser.add_argument("--only", type=int)
    parser.add_argument("--reduce", type=int)
    parser.add_argument("--choose", type=int, default=0)
    parser.add_argument("--summary", action="store_true", help="of what is there, nothing is run")
    parser.add_argument("--coverage", type=int, metavar="N", help="operators and opsets drawn at least N times")
    asked = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # workers and their files go with it
    asked.folder.mkdir(parents=True, exist_ok=True)
    if asked.only is not None:
        return show_one(asked.only, asked.folder)
    if asked.reduce is not None:
        return show_reduced(asked.reduce, asked.folder)
    job, count = ("choose", asked.choose) if asked.choose else ("judge", asked.count)
    results = asked.folder / ("choose.jsonl" if asked.choose else "results.jsonl")
    text = results.read_text(encoding="utf-8") if results.exists() else ""
    records = [json.loads(line) for line in text.splitlines()]
    if not asked.summary:
        done = {record["seed"] for record in records}
        seeds = (seed for seed in range(asked.seed, asked.seed + count) if seed not in done)
        limit_s = HANG_S if job == "judge" else 10 * HANG_S
        with results.open("a", encoding="utf-8") as file:
            for record in campaign(seeds, asked.workers, asked.folder, job, limit_s):
                records.append(record)
                file.write(json.dumps(record) + "\n")
                file.flush()
                if len(records) % 200 == 0:
                    print(f"{len(records)} graphs", flush=True)
    print(summarise(records))
    if asked.coverage:
        print(coverage(records, asked.coverage))
    return None


if __name__ == "__main__":
    main(sys.argv[1:])
