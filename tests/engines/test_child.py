"""What crashes, hangs or fills the memory in a process of its own ends in a sentence here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest

from fewbits.engines import ENGINES, ORACLE, Options
from fewbits.engines import child as child_module
from fewbits.engines.child import Bounds, reference_outputs, try_in_child
from fewbits.engines.forking import Ended, OvertimeError
from fewbits.errors import EngineError, InputError
from fewbits.graph.files import save_onnx
from models import conv_relu_conv, i64, network, samples

STAGE = 'import os, signal; print(\'{"stage": "STAGE"}\', flush=True); '


@pytest.fixture
def instead(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Have other Python code run in the process."""

    def replace(code: str) -> None:
        def other(*_: Any) -> Ended:
            try:
                done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=1.5)
            except subprocess.TimeoutExpired as error:
                raise OvertimeError from error
            return Ended(done.returncode, done.stdout)

        monkeypatch.setattr(child_module, "work_elsewhere", other)

    return replace


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("import os; os.abort()", r"ONNX Runtime crashed \(signal 6\) while starting it"),
        (STAGE.replace("STAGE", "compiling") + "os.kill(os.getpid(), signal.SIGSEGV)", "signal 11.* while compiling"),
        (STAGE.replace("STAGE", "running") + "os.kill(os.getpid(), signal.SIGKILL)", "signal 9.* while running"),
        (STAGE.replace("STAGE", "running") + "os._exit(9)", "exit code 9.* while running"),
        (STAGE.replace("STAGE", "running"), "exit code 0.* while running"),
        ("print('a library says hello')", "exit code 0"),
        ("import time; time.sleep(100)", "did not finish"),
        ('print(\'{"error": "no memory"}\')', "no memory"),
    ],
)
def test_a_crash_or_a_hang_is_an_engine_error_that_says_when(instead: Any, code: str, says: str) -> None:
    instead(code)
    with pytest.raises(EngineError, match=says) as caught:
        try_in_child(Path("m.onnx"), "onnxruntime")
    assert "\n" not in str(caught.value)


def test_an_error_of_the_input_stays_one(instead: Any) -> None:
    instead('print(\'{"error": "there is no such device", "exit_code": 2}\')')
    with pytest.raises(InputError, match="no such device"):
        try_in_child(Path("m.onnx"), "openvino")


def test_what_a_library_prints_first_does_no_harm(instead: Any) -> None:
    instead("print('hello'); print('[1]'); print('{\"baseline\": 5, \"peak\": 7}')")
    found = try_in_child(Path("m.onnx"), "onnxruntime")
    assert (found.baseline_bytes, found.peak_bytes) == (5, 7)


@pytest.mark.parametrize("engine", ENGINES)
def test_it_runs_on_what_it_is_fed(engine: str) -> None:
    """Position 9 is none of a table of 4: only a run on this very feed shows it."""
    model = network(
        "g (float[4] x, int64[2] i) => (float[2] y) { n = Reshape(i, s)  y = GatherElements(x, n) }", s=i64(2)
    )
    feed = {"x": np.ones(4, np.float32), "i": i64(0, 3)}
    assert try_in_child(model, engine, Options(threads=1), feed).peak_bytes > 0
    if engine == "onnxruntime":
        with pytest.raises(EngineError):
            try_in_child(model, engine, feed=feed | {"i": i64(0, 9)})


def test_the_reference_evaluator_gives_there_what_it_gives_here(tmp_path: Path) -> None:
    model, path = conv_relu_conv(), tmp_path / "model.onnx"
    save_onnx(model, path)
    feeds = [sample.inputs for sample in samples(model, 2)]
    session = ORACLE.compile(model, Options())
    for source in (model, path):
        for got, feed in zip(reference_outputs(source, feeds, Bounds()), feeds, strict=True):
            np.testing.assert_array_equal(got["y"], session.run(feed)["y"])


def test_arrays_of_any_type_and_name_come_and_go() -> None:
    model = network(
        """g (bfloat16[2] file, bool[2] about, uint8[] n) => (bfloat16[2] args, bool[2] b, uint8[] m) {
             args = Identity(file)  b = Not(about)  m = Identity(n) }"""
    )
    feed = {
        "file": np.array([1, 2], ml_dtypes.bfloat16),
        "about": np.array([True, False]),
        "n": np.array(7, np.uint8),
    }
    (got,) = reference_outputs(model, [feed], Bounds())
    assert {name: (array.dtype.name, array.tolist()) for name, array in got.items()} == {
        "args": ("bfloat16", [1.0, 2.0]),
        "b": ("bool", [False, True]),
        "m": ("uint8", 7),
    }


@pytest.mark.parametrize(
    ("bounds", "says"),
    [
        (Bounds(wall_s=0.2), "did not finish"),
        (Bounds(memory_bytes=3 << 30), "memory"),
        (Bounds(cpu_s=1), "more than 1 s of processor time"),
    ],
)
def test_the_reference_evaluator_stays_within_its_bounds(bounds: Bounds, says: str) -> None:
    """A sum over 64 GB of products; a loop without end where there is no bound of memory."""
    wide = network(
        "g (float[1] x) => (float[1] y) { e = Expand(x, s)  y = ReduceSum<keepdims=0>(e, a) }",
        s=i64(1 << 34, 1), a=i64(0),
    )  # fmt: skip
    endless = network(
        """g (float[1] x) => (float[1] y) { y = Loop(n, c, x) <body = b (int64 i, bool k, float[1] v) =>
            (bool k2, float[1] w) { k2 = Identity(k)  w = Sin(v) }> }""",
        n=np.array(1 << 40), c=np.array(True),
    )  # fmt: skip
    with pytest.raises(EngineError, match=says):
        reference_outputs(endless if bounds.memory_bytes is None else wide, [{"x": np.ones(1, np.float32)}], bounds)


def test_a_model_the_reference_evaluator_does_not_know_is_an_engine_error() -> None:
    node = ir.node("NoSuch", [ir.val("x", ir.DataType.FLOAT, [1])], domain="nowhere")
    node.outputs[0].name = "y"
    model = ir.Model(ir.Graph(list(node.inputs), node.outputs, nodes=[node], opset_imports={"": 17}), ir_version=8)
    with pytest.raises(EngineError, match="reference evaluator"):
        reference_outputs(model, [{"x": np.ones(1, np.float32)}], Bounds())
