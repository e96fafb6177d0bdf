"""The main job on a small network: its files, its decision, its time budget, and runs that are stopped."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from small import ENGINES, TEST, Net, Ran, Run, check_measurement, run_in_process

from fewbits.selection.judging import STRETCH

DECISION = {
    *("schema", "model", "metric", "budget", "host", "reference", "chosen", "reason", "seconds", "candidates"),
}
CANDIDATE = {
    *("name", "engine", "formats", "status", "reason", "accuracy", "drop", "drop_interval", "agreement"),
    *("latency_ms", "throughput_fps", "size_bytes", "peak_rss_bytes", "executed", "files"),
}
EVERYTHING = ("--engine", "all", "--formats", "fp32,fp16,bf16,int8,mixed")
QUICK = ("--engine", "onnxruntime", "--formats", "fp32,int8", "--method", "minmax", "--time-budget", "8s")


def choose_line(net: Net, run: Path, *options: object) -> list[object]:
    calibration = ("--calibration-data", net.calibration)
    return ["choose", net.model, "--data", net.test, *calibration, "-o", run, "--json", *QUICK, *options]


@pytest.fixture(scope="module")
def chosen(net: Net, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ran]:
    """One run in all formats on both engines: (folder, what it printed)."""
    run = tmp_path_factory.mktemp("chosen") / "run"
    ran = run_in_process(*choose_line(net, run, *EVERYTHING))
    assert ran.code == 0, ran.err
    return run, ran


def test_the_decision_has_every_key(chosen: tuple[Path, Ran], net: Net) -> None:
    run, ran = chosen
    decision = ran.json
    assert decision.keys() >= DECISION
    assert (decision["model"], decision["metric"]) == (str(net.model), "top1")
    assert decision["budget"]["max_drop"] == 0.01
    assert decision["host"].keys() == {"cpu", "isa", "cores"}
    names = [entry["name"] for entry in decision["candidates"]]
    formats = ("fp32", "fp16", "bf16", "int8", "int8+bf16")
    # The search may have found that a layer of this small network is faster in float.
    found = [name for name in names if re.search(r"-int8\+(bf16|fp32)-\d+of\d+$", name)]
    assert set(names) - set(found) == {f"{engine}-{name}" for engine in ENGINES for name in formats}
    assert decision["chosen"] in names
    assert decision["reference"] in [name for name in names if name.endswith("-fp32")]
    assert len(decision["reason"]) > 20
    assert decision["seconds"] > 0
    for entry in decision["candidates"]:
        assert entry.keys() >= CANDIDATE
        assert entry["engine"] in ENGINES
        assert re.fullmatch(r"fp32|fp16|bf16|int8|int8\+(bf16|fp32)", entry["formats"])
        assert entry["reason"]
        if entry["status"] != "measured":
            assert (entry["accuracy"], entry["latency_ms"], entry["files"]) == (None, None, [])
            continue
        check_measurement(entry | {"path": "", "device": "", "precision": "", "metric": ""})
        assert 0 <= entry["accuracy"] <= 1
        assert 0 <= entry["agreement"] <= 1
        low, high = entry["drop_interval"]
        assert -1 <= low <= entry["drop"] <= high <= 1
        assert entry["files"]
        assert all((run / file).is_file() for file in entry["files"])
        assert entry["size_bytes"] == sum((run / file).stat().st_size for file in entry["files"])
    by_name = {entry["name"]: entry for entry in decision["candidates"]}
    reference = by_name[decision["reference"]]
    assert reference["drop"] == 0
    for entry in by_name.values():
        if entry["status"] == "measured":
            assert entry["drop"] == pytest.approx(reference["accuracy"] - entry["accuracy"], abs=1e-9)
    assert by_name[decision["chosen"]]["drop"] <= 0.01


def test_the_file_says_what_was_printed(chosen: tuple[Path, Ran]) -> None:
    run, ran = chosen
    assert (run / "decision.json").read_text(encoding="utf-8") == ran.out
    assert not any(line.startswith("fewbits: ") for line in ran.err.splitlines())


def test_the_chosen_model_is_the_candidates(chosen: tuple[Path, Ran]) -> None:
    run, ran = chosen
    winner = next(entry for entry in ran.json["candidates"] if entry["name"] == ran.json["chosen"])
    assert (run / "model.onnx").read_bytes() == (run / winner["files"][0]).read_bytes()
    assert set(ran.json["files"]) <= {file.name for file in run.iterdir()}


def test_resume_of_a_finished_run_measures_nothing_again(chosen: tuple[Path, Ran], net: Net, cli: Run) -> None:
    run, before = chosen
    journal = (run / "journal.jsonl").read_bytes()
    arguments = choose_line(net, run, *EVERYTHING, "--resume")
    ran = cli(*arguments)
    assert ran.code == 0, ran.err
    assert (run / "journal.jsonl").read_bytes() == journal
    volatile = {"seconds": 0.0}
    assert ran.json | volatile == before.json | volatile


def test_a_budget_may_change_on_resume_and_an_impossible_one_still_reports(
    chosen: tuple[Path, Ran], net: Net, cli: Run
) -> None:
    run, _ = chosen
    options = (*EVERYTHING, "--resume", "--max-latency-ms", "1e-9")
    journal = (run / "journal.jsonl").stat().st_size
    ran = cli(*choose_line(net, run, *options))
    assert ran.code == 3
    assert ran.json["chosen"] is None
    assert ran.json == json.loads((run / "decision.json").read_text(encoding="utf-8"))
    assert ran.last.startswith(f"fewbits: {run}: nothing fits the budget")
    assert (run / "journal.jsonl").stat().st_size == journal
    assert not (run / "model.onnx").exists(), "the model of an earlier decision lies beside this one"
    ran = cli(*choose_line(net, run, *options[:-2]))
    assert ran.code == 0
    assert (run / "model.onnx").is_file()


def test_without_labels_the_metric_is_agreement_and_a_part_is_set_aside(net: Net, cli: Run, tmp_path: Path) -> None:
    line = ("choose", net.model, "--data", net.unlabelled, "-o", tmp_path / "run", "--json", *QUICK)
    ran = cli(*line, "--time-budget", "100s")
    assert ran.code == 0, ran.err
    assert ran.json["metric"] == "agreement"
    [warning] = [entry for entry in ran.json["warnings"] if "no calibration data" in entry]
    assert f"{TEST // 3} samples" in warning
    assert f"warning: {warning}" in ran.err.splitlines()
    reference = next(entry for entry in ran.json["candidates"] if entry["name"] == ran.json["reference"])
    assert (reference["accuracy"], reference["agreement"], reference["samples"]) == (1, 1, TEST - TEST // 3)


def test_a_short_time_budget_says_what_it_left_out(net: Net, cli: Run, tmp_path: Path) -> None:
    ran = cli(*choose_line(net, tmp_path / "run", "--time-budget", "1s"))
    assert ran.code == 0, ran.err
    seen = {entry["samples"] for entry in ran.json["candidates"] if entry["status"] == "measured"}
    assert len(seen) == 1
    if seen != {TEST}:
        assert any(f"of {TEST}" in entry and "time" in entry for entry in ran.json["warnings"]), ran.json["warnings"]


def test_a_time_budget_on_resume_still_pairs_the_samples(net: Net, cli: Run, tmp_path: Path) -> None:
    """FP32 was judged on all samples before the kill; INT8 gets only as many as the new budget allows."""
    run = tmp_path / "run"
    assert cli(*choose_line(net, run, "--time-budget", "100s")).code == 0
    journal = run / "journal.jsonl"
    entries = [json.loads(entry) for entry in journal.read_text(encoding="utf-8").splitlines()]
    judged = [index for index, entry in enumerate(entries) if entry["kind"] == "evidence"]
    assert entries[judged[0]]["key"].startswith("onnxruntime-fp32 latency from 0 ")
    kept = entries[: judged[0] + 1]
    journal.write_text("".join(json.dumps(entry) + "\n" for entry in kept), encoding="utf-8")
    ran = cli(*choose_line(net, run, "--resume", "--time-budget", "0.01s"))
    assert ran.code == 0, ran.err
    whole, other = ran.json["candidates"]
    assert (whole["samples"], other["samples"]) == (STRETCH, 1)
    written = map(json.loads, journal.read_text(encoding="utf-8").splitlines())
    seen = next(e["value"] for e in written if e["key"].startswith("onnxruntime-int8 latency from 0 "))
    assert other["drop"] == entries[judged[0]]["value"]["evidence"][0] - seen["evidence"][0]
    assert other["accuracy"] == pytest.approx(min(max(whole["accuracy"] - other["drop"], 0), 1)), (
        "not that of one sample"
    )
    assert any(f"time for 1 of {TEST}" in entry for entry in ran.json["warnings"])


KILLS = 10
_AS_IN_THIS_PROCESS = """
import sys
from fewbits.cli import main
from fewbits.selection import clocking
clocking.SHORT_TURN_S = clocking.TURN_S = 0.01
main(sys.argv[1:])
"""


def test_a_run_that_is_killed_again_and_again_ends_the_same(net: Net, tmp_path: Path) -> None:
    """kill -9 at ten moments, wherever the run is then; then --resume. No finished work is done twice."""
    run = tmp_path / "run"
    command = choose_line(net, run, "--time-budget", "1000s", "--formats", "fp32,fp16,int8")
    line = [sys.executable, "-c", _AS_IN_THIS_PROCESS, *map(str, command)]
    journal, moments = run / "journal.jsonl", np.random.default_rng(5)
    seen: list[str] = []
    for kills in range(KILLS):
        options = ["--resume"] if kills else []
        with subprocess.Popen(
            [*line, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        ) as process:
            # One more line at least, so that it gets on; then at once, or in the middle of what comes next.
            wanted, deadline = len(seen) + 1 + int(moments.integers(2)), time.monotonic() + 120
            while process.poll() is None and time.monotonic() < deadline:
                if journal.is_file() and journal.read_bytes().count(b"\n") >= wanted:
                    time.sleep(moments.uniform(0, 0.05))
                    os.killpg(process.pid, signal.SIGKILL)
                    break
                time.sleep(0.005)
        assert process.returncode == -signal.SIGKILL
        assert not (run / "decision.json").exists()
        assert not list(run.rglob("model.onnx"))
        lines = journal.read_text(encoding="utf-8").splitlines()
        assert lines[: len(seen)] == seen, "what was finished is not kept"
        seen = [entry for entry in lines if entry.endswith("}")]
    with journal.open("ab") as file:
        file.write(b'{"kind": "evidence", "key": "cut o')
    ran = run_in_process(*command, "--resume")
    assert ran.code == 0, ran.err
    assert [entry["status"] for entry in ran.json["candidates"]] == ["measured"] * 3
    text = journal.read_text(encoding="utf-8").splitlines()
    assert text[: len(seen)] == seen, "what was finished is not kept"
    keys = [(entry["kind"], entry["key"]) for entry in map(json.loads, text)]
    assert len(keys) == len(set(keys)), "work was done twice"
    assert not list(run.rglob(".fewbits-*")), "scratch folders of the killed runs are left"
    again = run_in_process(*command, "--resume")
    assert (again.json["chosen"], again.json["reason"]) == (ran.json["chosen"], ran.json["reason"])


def test_a_person_without_json_sees_the_table_and_the_verdict(chosen: tuple[Path, Ran], net: Net, cli: Run) -> None:
    run, before = chosen
    options = (*EVERYTHING, "--resume")
    ran = cli(*[argument for argument in choose_line(net, run, *options) if argument != "--json"])
    assert ran.code == 0
    for entry in before.json["candidates"]:
        assert entry["name"] in ran.out
    assert "".join(before.json["reason"].split()) in "".join(ran.out.split())
