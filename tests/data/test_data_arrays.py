from __future__ import annotations

import io
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fewbits.data import Preprocess, array_files, check_labels, open_dataset, overlap
from fewbits.errors import DataError, SampleError
from fewbits.numerics.tensors import TensorSpec

F4 = np.dtype(np.float32)
IMAGE = TensorSpec("data", (None, 3, 8, 8), F4)
rng = np.random.default_rng(0)
PIXELS = rng.integers(0, 256, (5, 8, 8, 3), np.uint8)
FLOATS = rng.standard_normal((5, 3, 8, 8)).astype(np.float32)


def spec(*shape: int | None, dtype: Any = np.float32, name: str = "data") -> TensorSpec:
    return TensorSpec(name, shape, np.dtype(dtype))


def npz(tmp_path: Path, *, compressed: bool = True, **arrays: np.ndarray) -> Path:
    path = tmp_path / "set.npz"
    (np.savez_compressed if compressed else np.savez)(path, **arrays)  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize("compressed", [True, False])
def test_npz_floats_are_fed_as_they_are(tmp_path: Path, compressed: bool) -> None:
    names = np.array(["cat", "dog"], object)  # would need pickle; it is never looked at
    path = npz(tmp_path, compressed=compressed, data=FLOATS, y=np.arange(5), classes=names)
    steps = Preprocess(mean=(9.0,), scale=(3.0,))
    data = open_dataset(path, inputs=[IMAGE], preprocess=steps, label_offset=1)
    assert len(data) == 5 and data.labelled and data.preprocess is None
    sample = data.read(3)
    assert (sample.name, sample.target, data.label(3)) == ("set.npz[3]", 4, 4)
    np.testing.assert_array_equal(sample.inputs["data"], FLOATS[3:4])
    assert sample.inputs["data"].flags["OWNDATA"] or sample.inputs["data"].base is not None
    assert isinstance(data.arrays["data"], np.memmap) is not compressed  # type: ignore[attr-defined]


def test_npy_is_mapped_and_has_no_labels(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.asfortranarray(FLOATS))
    data = open_dataset(tmp_path / "x.npy", inputs=[IMAGE])
    assert len(data) == 5 and not data.labelled and data.label(0) is None
    assert isinstance(data.arrays["data"], np.memmap)  # type: ignore[attr-defined]
    sample = data.read(2).inputs["data"]
    np.testing.assert_array_equal(sample, FLOATS[2:3])
    assert type(sample) is np.ndarray and sample.flags["C_CONTIGUOUS"]


def test_uint8_arrays_are_images(tmp_path: Path) -> None:
    path = npz(tmp_path, x=PIXELS, y=np.zeros((5, 1), np.uint8))
    data = open_dataset(path, inputs=[IMAGE], preprocess=Preprocess(channels="bgr", mean=(1.0, 2.0, 3.0)))
    want = PIXELS[4, :, :, ::-1].astype(np.float32) - np.float32([1, 2, 3])
    np.testing.assert_array_equal(data.read(4).inputs["data"], want.transpose(2, 0, 1)[None])
    assert data.label(4) == 0 and data.preprocess is not None and not data.preprocess.guessed
    guess = open_dataset(path, inputs=[IMAGE]).preprocess
    assert guess is not None and guess.guessed


def test_uint8_gray_and_other_sizes_are_images_too(tmp_path: Path) -> None:
    path = npz(tmp_path, x=PIXELS[:, :, :, :1])
    got = open_dataset(path, inputs=[spec(1, 4, 4, 1)]).read(0).inputs["data"]
    assert got.shape == (1, 4, 4, 1)
    same = open_dataset(path, inputs=[spec(1, 1, 8, 8)]).read(0).inputs["data"]
    np.testing.assert_array_equal(same[0, 0], PIXELS[0, :, :, 0])


def test_uint8_for_a_uint8_input_of_that_shape_is_fed_as_it_is(tmp_path: Path) -> None:
    wants = spec(1, 8, 8, 3, dtype=np.uint8)
    data = open_dataset(npz(tmp_path, x=PIXELS), inputs=[wants], preprocess=Preprocess(channels="bgr"))
    assert data.preprocess is None
    np.testing.assert_array_equal(data.read(1).inputs["data"], PIXELS[1:2])
    other = open_dataset(npz(tmp_path, x=PIXELS), inputs=[spec(1, 3, 8, 8, dtype=np.uint8)]).read(1)
    np.testing.assert_array_equal(other.inputs["data"], PIXELS[1:2].transpose(0, 3, 1, 2))
    assert other.inputs["data"].dtype == np.uint8


def test_int16_audio_honours_mean_and_scale_where_given(tmp_path: Path) -> None:
    sound = rng.integers(-32768, 32768, (3, 160), np.int16)
    path, wants = npz(tmp_path, x=sound), spec(1, 160)
    plain = open_dataset(path, inputs=[wants])
    np.testing.assert_array_equal(plain.read(0).inputs["data"], sound[:1].astype(np.float32))
    assert plain.preprocess is None
    scaled = open_dataset(path, inputs=[wants], preprocess=Preprocess(scale=(32768,)))
    np.testing.assert_array_equal(scaled.read(0).inputs["data"], sound[:1] / np.float32(32768))
    assert plain.fingerprint() != scaled.fingerprint()
    with pytest.raises(DataError, match="no such colour axis"):
        open_dataset(path, inputs=[wants], preprocess=Preprocess(mean=(1, 2, 3)))


def test_planar_uint8_is_scaled_per_colour(tmp_path: Path) -> None:
    planar = np.ascontiguousarray(PIXELS.transpose(0, 3, 1, 2))
    data = open_dataset(npz(tmp_path, x=planar), inputs=[IMAGE], preprocess=Preprocess(mean=(1, 2, 3)))
    want = planar[:1].astype(np.float32) - np.float32([1, 2, 3])[:, None, None]
    np.testing.assert_array_equal(data.read(0).inputs["data"], want)


def test_several_inputs_by_name_and_free_targets(tmp_path: Path) -> None:
    path = npz(tmp_path, ids=np.arange(6, dtype=np.int64).reshape(3, 2), z=np.ones((3, 4)), y=np.eye(3))
    inputs = [spec(1, 2, dtype=np.int32, name="ids"), spec(None, None, name="z")]
    data = open_dataset(path, inputs=inputs)
    sample = data.read(1)
    assert {name: value.dtype.name for name, value in sample.inputs.items()} == {
        "ids": "int32",
        "z": "float32",
    }
    np.testing.assert_array_equal(sample.inputs["ids"], [[2, 3]])
    np.testing.assert_array_equal(sample.target, [0, 1, 0])
    assert data.labelled and data.label(1) is None
    check_labels(data, 2)


def test_an_input_named_y_is_no_label(tmp_path: Path) -> None:
    data = open_dataset(npz(tmp_path, y=np.ones((3, 2), np.float32)), inputs=[spec(1, 2, name="y")])
    assert not data.labelled and data.read(0).target is None


def test_values_that_do_not_survive_the_type_are_refused(tmp_path: Path) -> None:
    path = npz(tmp_path, x=np.array([[1], [1 << 40]]))
    data = open_dataset(path, inputs=[spec(1, 1, dtype=np.int32)])
    assert data.read(0).inputs["data"].dtype == np.int32
    with pytest.raises(SampleError, match=r"set.npz\[1\]: holds a value that int32 cannot"):
        data.read(1)
    floats = open_dataset(
        npz(tmp_path, x=np.array([[np.inf], [np.nan], [1e300]])), inputs=[spec(1, 1, dtype=np.float16)]
    )
    assert np.isinf(floats.read(0).inputs["data"]) and np.isnan(floats.read(1).inputs["data"])
    with pytest.raises(SampleError, match="float16 cannot"):
        floats.read(2)


@pytest.mark.parametrize(
    ("arrays", "wants", "words"),
    [
        (
            {"x": np.zeros((5, 28, 28), np.float32)},
            spec(None, 3, 32, 32),
            r"model input data wants float32 \[N,3,32,32\], array x is float32 \[N,28,28\]",
        ),
        ({"x": PIXELS[:, :, :, 0]}, IMAGE, r"colour axis: save x\[..., None\]"),
        ({"z": FLOATS}, IMAGE, r"no array for model input data; the file holds z.*\(or x\)"),
        ({"x": FLOATS, "y": np.arange(4)}, IMAGE, "x has 5, y has 4 samples"),
        ({"x": FLOATS, "y": np.array(3)}, IMAGE, "x has 5, y has 0 samples"),
        ({"x": FLOATS, "y": np.arange(5) / 2}, IMAGE, "labels y are float64, not class numbers"),
        ({"x": FLOATS, "y": np.array(["a"] * 5)}, IMAGE, "array y: holds <U1"),
        ({"x": FLOATS[:0]}, IMAGE, "array x is empty"),
        ({"x": np.float32(3)}, IMAGE, "array x is empty"),
        ({"x": FLOATS}, spec(1, 3, 8, 8, dtype=np.uint8), "wants uint8 .* holds float32"),
        ({"x": FLOATS.astype(np.complex64)}, IMAGE, "holds complex64, not plain numbers"),
        ({"x": np.array([{}] * 5, object)}, IMAGE, "Python objects are never loaded"),
        ({"x": np.zeros(5, [("a", "f4")])}, IMAGE, "not plain numbers"),
        ({"x": PIXELS}, spec(1, 16000), r"\[N,16000\], array x is uint8 \[N,8,8,3\]"),
    ],
)
def test_arrays_that_do_not_fit_are_explained(
    tmp_path: Path, arrays: dict[str, Any], wants: TensorSpec, words: str
) -> None:
    with pytest.raises(DataError, match=words) as caught:
        open_dataset(npz(tmp_path, **arrays), inputs=[wants])
    assert "set.npz" in caught.value.where


def test_missing_inputs_are_listed(tmp_path: Path) -> None:
    inputs = [spec(1, 2, name="a"), spec(1, 2, name="b")]
    path = npz(tmp_path, a=np.ones((3, 2), np.float32), x=np.ones((3, 2), np.float32))
    with pytest.raises(DataError, match="no array for model input b; the file holds a, x"):
        open_dataset(path, inputs=inputs)
    np.save(tmp_path / "x.npy", np.ones((3, 2)))
    with pytest.raises(DataError, match="2 inputs: a, b"):
        open_dataset(tmp_path / "x.npy", inputs=inputs)


def member(shape: tuple[int, ...], data: bytes, dtype: str = "<f4") -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": dtype, "fortran_order": False, "shape": shape})
    return stream.getvalue() + data


def write_zip(path: Path, content: bytes, method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("x.npy", content)
    return path


def test_a_zip_bomb_is_refused_before_it_unfolds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(array_files, "MAX_ARRAY_BYTES", 1 << 20)
    rows = 200_000  # 38 MB of zeros in 38 kB
    path = write_zip(tmp_path / "bomb.npz", member((rows, 3, 4, 4), bytes(rows * 192)))
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=r"do not fit the bound of 1048576 bytes.*numpy.savez"):
            open_dataset(path, inputs=[spec(None, 3, 4, 4)])
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_a_bomb_in_the_header_is_refused_too(tmp_path: Path) -> None:
    claims = b"\x93NUMPY\x02\x00" + (1 << 31).to_bytes(4, "little")
    path = write_zip(tmp_path / "bomb.npz", claims + bytes(30_000_000))
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="not a NumPy array"):
            open_dataset(path, inputs=[IMAGE])
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_other_packing_methods_are_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.npz", member((1, 3, 8, 8), bytes(768)), zipfile.ZIP_BZIP2)
    with pytest.raises(DataError, match="packed by an unknown method"):
        open_dataset(path, inputs=[IMAGE])


def test_the_bound_does_not_hold_for_mapped_arrays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(array_files, "MAX_ARRAY_BYTES", 100)
    assert len(open_dataset(npz(tmp_path, compressed=False, x=FLOATS), inputs=[IMAGE])) == 5
    with pytest.raises(DataError, match="bound of 100 bytes"):
        open_dataset(npz(tmp_path, x=FLOATS), inputs=[IMAGE])


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED])
@pytest.mark.parametrize("shape", [(10**15, 3, 4, 4), (2, 3, 4, 4)])
def test_a_lying_header_is_refused(tmp_path: Path, method: int, shape: tuple[int, ...]) -> None:
    path = write_zip(tmp_path / "lie.npz", member(shape, bytes(192)), method)
    with pytest.raises(DataError, match=r"declares \d+ bytes .* stored"):
        open_dataset(path, inputs=[spec(None, 3, 4, 4)])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x93NUMPY\x01\x00",
        b"\x93NUMPY\x03\x00" + bytes(8),
        b"\x93NUMPY\x01\x00\x40\x1f" + b"(" * 8000,
        member((-1, 4), b""),
        b"plain text",
    ],
)
def test_broken_headers_are_explained(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(DataError, match=r"no NumPy array|not a NumPy array|impossible shape"):
        open_dataset(write_zip(tmp_path / "a.npz", content), inputs=[IMAGE])
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(DataError, match=r"no NumPy array|not a NumPy array|impossible shape"):
        open_dataset(tmp_path / "a.npy", inputs=[IMAGE])


def test_cut_off_and_damaged_files_are_explained(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", FLOATS)
    (tmp_path / "x.npy").write_bytes((tmp_path / "x.npy").read_bytes()[:-8])
    with pytest.raises(DataError, match=r"declares 3840 bytes .* but only 3832"):
        open_dataset(tmp_path / "x.npy", inputs=[IMAGE])
    path = npz(tmp_path, x=FLOATS)
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    with pytest.raises(DataError, match=r"not a readable .npz"):
        open_dataset(path, inputs=[IMAGE])
    path = npz(tmp_path, x=np.tile(FLOATS, (40, 1, 1, 1)))
    whole = path.read_bytes()
    half = len(whole) // 2
    path.write_bytes(whole[:half] + bytes([whole[half] ^ 255]) + whole[half + 1 :])
    with pytest.raises(DataError, match="is damaged"):
        open_dataset(path, inputs=[IMAGE])
    with zipfile.ZipFile(npz(tmp_path, x=np.tile(FLOATS, (40, 1, 1, 1)))) as archive:
        checksum = archive.getinfo("x.npy").CRC.to_bytes(4, "little")
    path.write_bytes(path.read_bytes().replace(checksum, bytes(4)))
    with pytest.raises(DataError, match=r"is damaged: Bad CRC"):
        open_dataset(path, inputs=[IMAGE])
    path.write_text("text")
    with pytest.raises(DataError, match=r"not a readable .npz"):
        open_dataset(path, inputs=[IMAGE])


def test_equal_rows_are_found_in_any_file_form(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", FLOATS[1:3])
    a = open_dataset(tmp_path / "a.npy", inputs=[IMAGE])
    b = open_dataset(npz(tmp_path, x=np.asfortranarray(FLOATS)), inputs=[IMAGE])
    assert overlap(a, b) == ["set.npz[1]", "set.npz[2]"]
    swapped = open_dataset(npz(tmp_path, x=FLOATS.astype(">f4")), inputs=[IMAGE])
    assert swapped.content_keys() == b.content_keys()
    np.testing.assert_array_equal(swapped.read(2).inputs["data"], FLOATS[2:3])
