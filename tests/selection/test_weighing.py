"""FP32 is judged by what its products are computed in; masks, pixels and one-hot rows are in 8 bits in any model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from fewbits.data import Sample
from fewbits.engines import ENGINES, OpTime, Profile
from fewbits.graph.files import save_onnx
from fewbits.measurement.records import Subject
from fewbits.progress import Progress
from fewbits.selection import weighing
from fewbits.selection.journal import Journal
from fewbits.selection.known import Known
from models import f32, i64, network

PIXELS = network(
    """g (uint8[1,8,8,3] x) => (float[1,4,8,8] y) {
         t = Transpose<perm=[0,3,1,2]>(x)  f = Cast<to=1>(t)  y = Conv<pads=[1,1,1,1]>(f, w) }""",
    w=(4, 3, 3, 3),
)
MASKS = network(
    """g (float[1,64,64] x) => (float[1,64,64] y) {
         a = Greater(x, z)  b = Not(a)  c = Equal(b, a)  d = Or(c, b)  y = Where(d, x, z) }""",
    z=f32(0),
)
ONE_HOT = network(
    """g (int64[1,4] x) => (float[1,4,8] y) { o = OneHot(x, d, v)  c = Cast<to=1>(o)  y = MatMul(c, w) }""",
    d=i64(16), v=f32(0, 1), w=(16, 8),
)  # fmt: skip
NO_PRODUCT = network("g (uint8[1,16] x) => (uint8[1,16] y) { y = Max(x, z) }", z=np.zeros(1, np.uint8))


def known_of(folder: Path, engine: str, model: ir.Model) -> Known:
    save_onnx(model, folder / "m.onnx")
    known = Known(Journal(folder, "run", resume=False), Progress())
    known.add(Subject(f"{engine}-fp32", folder / "m.onnx", engine, threads=1))
    return known


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("model", [PIXELS, MASKS, ONE_HOT, NO_PRODUCT], ids=["pixels", "masks", "one-hot", "none"])
def test_what_is_in_8_bits_anyway_does_not_count(engine: str, model: ir.Model, tmp_path: Path) -> None:
    known = known_of(tmp_path, engine, model)
    (value,) = model.graph.inputs
    feed = {"x": np.ones(tuple(value.shape.numpy()), value.dtype.numpy())}  # type: ignore[union-attr]
    weighing.look_inside(known, [f"{engine}-fp32"], Sample("a", feed))
    assert known.executed[f"{engine}-fp32"]
    assert not known.failures


@pytest.mark.parametrize(
    ("ops", "out"),
    [
        ([("Convolution", "i8", 5.0), ("Eltwise", "f32", 5.0)], True),
        ([("FullyConnected", "bf16", 1.0), ("Convolution", "f32", 3.0)], True),
        ([("MatMul", "f16", 0.01), ("MatMul", "f32", 9.0)], False),  # a share that no one would notice
        ([("Convert", "i8", 50.0), ("Subgraph", "bf16", 5.0), ("MatMul", "f32", 1.0)], False),
        ([], False),
    ],
)
def test_products_in_less_than_fp32_do(
    ops: list[tuple[str, str, float]], out: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = known_of(tmp_path, "openvino", PIXELS)
    profile = Profile(tuple(OpTime(str(i), *op) for i, op in enumerate(ops)))

    class Fixed:
        def profile(self, *_: object, **__: object) -> Profile:
            return profile

    monkeypatch.setattr(weighing, "ENGINES", {"openvino": Fixed()})
    for _ in range(2):  # found, and found again in the journal
        known.failures.clear()
        weighing.look_inside(known, ["openvino-fp32"], Sample("a", {}))
        assert bool(known.failures) == out
