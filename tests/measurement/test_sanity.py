"""Slips in how a model is fed: planted ones are named, and what is merely poor is left alone."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from PIL import Image

from fewbits.data import Dataset, Preprocess, open_dataset
from fewbits.engines import TRIALS, Options, Session
from fewbits.errors import DataError
from fewbits.measurement.judging import log_probability
from fewbits.measurement.metrics import Metric, metric
from fewbits.measurement.sanity import Sanity, look
from fewbits.progress import Progress
from fewbits.verbs.sanity import check_fp32, warn_of_slips
from models import f32, network

# Red, green, blue, yellow, cyan, magenta: with R and B swapped only green and magenta stay what they are.
COLOURS = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [0, 1, 1], [1, 0, 1]], np.float32)
RIGHT = Preprocess(channels="bgr", scale=(255,))
TOP1 = metric("top1", labelled=True)


def colour_reader(background: int = 0) -> ir.Model:
    """B, G, R in 0..1 -> logits of the nearest of the six colours, after ``background`` classes nobody is of."""
    seen = COLOURS[:, ::-1]
    weights = np.concatenate([np.zeros((background, 3)), 8 * seen]).astype(np.float32)
    bias = np.concatenate([np.full(background, -16), -4 * (seen**2).sum(axis=1)]).astype(np.float32)
    return network(
        f"""g (float[N,3,4,4] x) => (float[N,{len(weights)}] y) {{
             [mean] m = GlobalAveragePool(x)
             [flat] f = Flatten(m)
             [fc] y = Gemm<transB=1>(f, w, b) }}""",
        w=weights,
        b=bias,
    )


def pictures(count: int, wrong: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """Pale and noisy pictures uint8 [count, 4, 4, 3] of the colours, and labels of which a share is wrong."""
    rng = np.random.default_rng(5)
    labels = rng.integers(0, len(COLOURS), count)
    noise = rng.normal(0, 0.1, (count, 4, 4, 3))
    pixels = np.clip(0.15 + 0.7 * COLOURS[labels][:, None, None] + noise, 0, 1)
    labels = np.where(rng.random(count) < wrong, rng.integers(0, len(COLOURS), count), labels)
    return np.round(255 * pixels).astype(np.uint8), labels


def session_of(model: ir.Model) -> Session:
    return TRIALS.compile(model, Options(mode="throughput"))


def opened(
    folder: Path, session: Session, steps: Preprocess, count: int = 200, *, offset: int = 0, wrong: float = 0.1
) -> Dataset:
    images, labels = pictures(count, wrong)
    np.savez(folder / "test.npz", x=images, y=labels)
    return open_dataset(folder / "test.npz", inputs=session.inputs, preprocess=steps, label_offset=offset)


def found_by(folder: Path, steps: Preprocess, *, offset: int = 0, background: int = 0, seed: int = 0) -> Sanity:
    session = session_of(colour_reader(background))
    found = look(session, opened(folder, session, steps, offset=offset), seed)
    assert found is not None
    return found


@pytest.mark.parametrize("seed", range(5))
def test_swapped_colours_are_named(tmp_path: Path, seed: int) -> None:
    found = found_by(tmp_path, Preprocess(scale=(255,)), seed=seed)
    assert found.images
    assert found.repair is not None
    assert found.repair.changes == {"--channels": "bgr"}
    assert found.repair.options == "--channels bgr"
    assert found.repair.top1 - found.repair.top1_as_given > 0.4
    assert 0.15 < found.top1 < 0.55


def test_two_slips_at_once_are_named(tmp_path: Path) -> None:
    found = found_by(tmp_path, Preprocess(channels="bgr", scale=(255,)), background=1)
    assert found.repair is not None
    assert found.repair.changes == {"--label-offset": "1"}
    found = found_by(tmp_path, Preprocess(scale=(255,)), background=1)
    assert found.repair is not None
    assert found.repair.changes == {"--channels": "bgr", "--label-offset": "1"}


@pytest.mark.parametrize("wrong", [0.0, 0.2, 0.5])
def test_what_is_right_is_left_alone_however_poor(tmp_path: Path, wrong: float) -> None:
    session = session_of(colour_reader())
    data = opened(tmp_path, session, RIGHT, wrong=wrong)
    for seed in range(20):
        found = look(session, data, seed)
        assert found is not None
        assert found.repair is None
        assert not found.guessing
        assert found.top1 == pytest.approx(1 - wrong * 5 / 6, abs=0.2)
        assert found.samples == 64


def test_arrays_leave_only_the_label_offset(tmp_path: Path) -> None:
    session = session_of(colour_reader(background=1))
    images, labels = pictures(120)
    x = (images[..., ::-1].transpose(0, 3, 1, 2) / 255).astype(np.float32)
    np.savez(tmp_path / "test.npz", x=x, y=labels)
    found = look(session, open_dataset(tmp_path / "test.npz", inputs=session.inputs), 0)
    assert found is not None
    assert not found.images
    assert found.guessing
    assert found.repair is not None
    assert found.repair.changes == {"--label-offset": "1"}
    right = open_dataset(tmp_path / "test.npz", inputs=session.inputs, label_offset=1)
    found = look(session, right, 0)
    assert found is not None
    assert found.repair is None


def test_unreadable_images_are_left_out(tmp_path: Path) -> None:
    images, labels = pictures(48)
    rows = ["file,label"]
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        Image.fromarray(image).save(tmp_path / f"{index}.png")
        rows.append(f"{index}.png,{label}")
    broken = int(np.random.default_rng(0).permutation(48)[0])
    (tmp_path / f"{broken}.png").write_bytes(b"no image")
    (tmp_path / "test.csv").write_text("\n".join(rows), encoding="utf-8")
    session = session_of(colour_reader())
    data = open_dataset(tmp_path / "test.csv", inputs=session.inputs, preprocess=Preprocess(scale=(255,)))
    found = look(session, data, 0)
    assert found is not None
    assert found.samples == 47
    assert found.repair is not None
    assert found.repair.changes == {"--channels": "bgr"}


def test_it_is_left_out_where_time_is_short(tmp_path: Path) -> None:
    session = session_of(colour_reader())
    data = opened(tmp_path, session, Preprocess(scale=(255,)))
    assert look(session, data, 0, most_s=0.0) is None
    found = look(session, data, 0, most_s=600.0)
    assert found is not None
    assert found.repair is not None


def test_nothing_is_said_where_nothing_can_be_read(tmp_path: Path) -> None:
    rows = ["file,label", *(f"{index}.png,0" for index in range(60))]
    for index in range(60):
        (tmp_path / f"{index}.png").write_bytes(b"no image")
    (tmp_path / "test.csv").write_text("\n".join(rows), encoding="utf-8")
    session = session_of(colour_reader())
    assert look(session, open_dataset(tmp_path / "test.csv", inputs=session.inputs, preprocess=RIGHT), 0) is None


def test_nothing_is_said_of_few_samples_or_none_labelled(tmp_path: Path) -> None:
    session = session_of(colour_reader())
    assert look(session, opened(tmp_path, session, Preprocess(scale=(255,)), 39), 0) is None
    np.savez(tmp_path / "bare.npz", x=pictures(60)[0])
    assert look(session, open_dataset(tmp_path / "bare.npz", inputs=session.inputs, preprocess=RIGHT), 0) is None


@pytest.mark.parametrize(
    ("right", "classes", "guessing"),
    [(0, 1000, True), (4, 64, True), (5, 1000, False), (15, 10, False), (9, 10, True), (38, 2, True), (60, 2, False)],
)
def test_guessing(right: int, classes: int, guessing: bool) -> None:
    assert Sanity(right / 64, 64, classes, images=True).guessing is guessing


def test_log_probability_of_logits_and_probabilities() -> None:
    logits = np.array([2.0, -1.0, 0.5])
    p = np.exp(logits) / np.exp(logits).sum()
    for label in range(3):
        assert log_probability(logits, label) == pytest.approx(math.log(p[label]), rel=1e-9)
        assert log_probability(p, label) == pytest.approx(math.log(p[label]), rel=1e-9)
    least = math.log(0.1 / 3)
    assert log_probability(logits, 3) == log_probability(logits, -1) == least
    assert log_probability(np.array([1.0, 0.0, 0.0]), 1) == log_probability(np.array([900.0, 0.0, 0.0]), 1) == least
    assert log_probability(np.array([np.nan, 0.0, 0.0]), 1) == least


def checked(folder: Path, steps: Preprocess, *, offset: int = 0, background: int = 0, by: Metric = TOP1) -> list[str]:
    model, progress = colour_reader(background), Progress()
    session = session_of(model)
    check_fp32(model, opened(folder, session, steps, offset=offset), by, 0, progress)
    return progress.warnings


def test_a_better_reading_is_a_warning(tmp_path: Path) -> None:
    [warning] = checked(tmp_path, Preprocess(scale=(255,)))
    assert warning.startswith("test.npz: top-1 is ")
    assert "% with --channels bgr - " in warning


def test_a_guesser_that_can_be_repaired_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"near the 14\.3% of guessing; with --label-offset 1 it is") as caught:
        checked(tmp_path, RIGHT, background=1)
    assert caught.value.fix == "give --label-offset 1"
    assert caught.value.where == "test.npz"
    assert caught.value.exit_code == 2


def test_what_is_only_measured_is_never_refused(tmp_path: Path) -> None:
    session, progress = session_of(colour_reader(background=1)), Progress()
    warn_of_slips(session, opened(tmp_path, session, RIGHT), TOP1, 0, progress)
    [warning] = progress.warnings
    assert "with --label-offset 1" in warning


def test_a_guesser_that_nothing_repairs_is_said_to_be_one(tmp_path: Path) -> None:
    model = network(
        """g (float[N,3,4,4] x) => (float[N,6] y) {
             [flat] f = Flatten(x)
             [fc] y = Gemm<transB=1>(f, w, b) }""",
        w=np.zeros((6, 48), np.float32),
        b=f32(5, 4, 3, 2, 1, 0),
    )
    progress, session = Progress(), session_of(model)
    check_fp32(model, opened(tmp_path, session, RIGHT, wrong=1.0), TOP1, 0, progress)
    [warning] = progress.warnings
    assert "none of the usual slips" in warning


def test_without_labels_to_hold_it_against_nothing_is_run(tmp_path: Path) -> None:
    agreement = metric("agreement", labelled=True)
    assert checked(tmp_path, Preprocess(scale=(255,)), by=agreement) == []
