"""The calibration set is read once, and what trials look at is there before the model is loaded."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from fewbits.calibration.gather import gather
from fewbits.data import Sample, keeping, open_dataset
from fewbits.engines import TRIALS, Options, Session
from fewbits.engines.onnxruntime import OnnxRuntime
from fewbits.graph import queries
from fewbits.progress import Progress
from models import network

COUNT = 7


@pytest.mark.parametrize("keep", [0, 3, COUNT, 20])
def test_kept_samples_are_handed_over_before_the_model_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: int
) -> None:
    np.save(tmp_path / "x.npy", np.arange(COUNT * 2, dtype=np.float32).reshape(COUNT, 2))
    model = network("g (float[1,2] x) => (float[1,2] y) { y = Neg(x) }")
    data = open_dataset(tmp_path / "x.npy", inputs=queries.specs(model.graph.inputs))
    events: list[str] = []
    compiled = OnnxRuntime.compile

    def compile_(self: OnnxRuntime, source: ir.Model | Path, options: Options) -> Session:
        events.append("loaded")
        return compiled(self, source, options)

    monkeypatch.setattr(OnnxRuntime, "compile", compile_)
    kept: list[Sample] = []
    found = gather(
        model, ["y"], data, TRIALS, Options(), Progress(), kept, keep, lambda held: events.append(f"kept {len(held)}")
    )
    assert events == ([f"kept {min(keep, COUNT)}", "loaded"] if keep else ["loaded"])
    assert [s.name for s in kept] == [data.sample_name(i) for i in range(min(keep, COUNT))]
    assert found.count == COUNT
    assert float(found.values["y"].minimum.min()) == -13.0
    assert found.values["y"].histogram.count == COUNT * 2


def test_no_more_is_read_ahead_than_may_be_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of samples too large to keep, one more than fits is held."""
    monkeypatch.setattr(importlib.import_module("fewbits.data.keeping"), "_MOST_BYTES", 0)
    np.save(tmp_path / "x.npy", np.zeros((40, 2), np.float32))
    model = network("g (float[1,2] x) => (float[1,2] y) { y = Neg(x) }")
    data = open_dataset(tmp_path / "x.npy", inputs=queries.specs(model.graph.inputs))
    taken: list[int] = []
    monkeypatch.setattr(
        "fewbits.calibration.gather.keeping",
        lambda source, kept, most: (taken.append(1) or sample for sample in keeping(source, kept, most)),
    )
    seen: list[int] = []
    kept: list[Sample] = []
    found = gather(model, ["y"], data, TRIALS, Options(), Progress(), kept, 16, lambda _: seen.append(len(taken)))
    assert len(kept) == 4
    assert seen == [5]
    assert found.count == 40
