"""The small network with its data as files, its INT8 version, and the command line run in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from small import CALIBRATION, CLASSES, TEST, Net, Ran, Run, build_net, images_and_labels


@pytest.fixture(scope="session")
def head() -> np.ndarray:
    """The linear layer [features + 1, classes] that reads the classes off the network's features."""
    import onnxruntime as ort

    session = ort.InferenceSession(build_net().SerializeToString(), providers=["CPUExecutionProvider"])
    images, labels = images_and_labels(800, seed=11)
    features = session.run(None, {"image": images})[0]
    features = np.concatenate([features, np.ones((len(features), 1), np.float32)], axis=1)
    ridge = 10.0 * np.eye(features.shape[1])
    solved: np.ndarray = np.linalg.solve(features.T @ features + ridge, features.T @ np.eye(CLASSES)[labels])
    return solved


@pytest.fixture(scope="session")
def net(tmp_path_factory: pytest.TempPathFactory, head: np.ndarray) -> Net:
    """Read-only for tests: the network and its data."""
    folder = tmp_path_factory.mktemp("net")
    made = Net(*(folder / name for name in ("model.onnx", "test.npz", "calibration.npz", "unlabelled.npz")))
    onnx.save(build_net(head), made.model)
    images, labels = images_and_labels(TEST, seed=1)
    np.savez(made.test, x=images, y=labels)
    np.savez(made.unlabelled, x=images)
    images, labels = images_and_labels(CALIBRATION, seed=2)
    np.savez(made.calibration, x=images, y=labels)
    return made


@pytest.fixture(scope="session")
def int8(tmp_path_factory: pytest.TempPathFactory, net: Net) -> Path:
    """The small network in INT8 for both engines."""
    import fewbits

    out = tmp_path_factory.mktemp("int8") / "int8.onnx"
    fewbits.calibrate(net.model, fewbits.DataOptions(data=net.calibration), out=out, method="minmax")
    return out


@pytest.fixture(autouse=True)
def _short_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here asks how fast a model is: in this process its speed is taken in two short rounds."""
    from fewbits.measurement.speed import time_sessions

    def short(*args: Any, **options: Any) -> Any:
        return time_sessions(*args, **(options | {"rounds": 2, "turn_s": 0.01}))

    monkeypatch.setattr("fewbits.verbs.measure.time_sessions", short)
    for turn in ("SHORT_TURN_S", "TURN_S"):
        monkeypatch.setattr(f"fewbits.selection.clocking.{turn}", 0.01)
    for rounds in ("QUICK", "SURE", "MOST"):
        monkeypatch.setattr(f"fewbits.selection.trial.{rounds}", 2)


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command line in this process."""
    from fewbits.cli import main

    def run(*arguments: object) -> Ran:
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert isinstance(caught.value.code, int)
        return Ran(caught.value.code, out, err)

    return run
