from __future__ import annotations

import shutil
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from fewbits.data import Category, Preprocess, check_labels, open_dataset, overlap
from fewbits.errors import DataError, SampleError
from fewbits.numerics.tensors import TensorSpec

MakeImage = Callable[..., Path]
SPEC = TensorSpec("data", (None, 3, 8, 8), np.dtype(np.float32))
STEPS = Preprocess()


def plain(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"), np.float32).transpose(2, 0, 1)[None]


def write_csv(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "val.csv"
    path.write_text(text)
    return path


def test_a_folder_has_sorted_images_and_no_labels(tmp_path: Path, make_image: MakeImage) -> None:
    for name in ("b.png", "a.JPEG", ".hidden.png"):
        make_image(f"images/{name}", seed=len(name))
    (tmp_path / "images/notes.txt").write_text("not an image")
    data = open_dataset(tmp_path / "images", inputs=[SPEC], preprocess=STEPS)
    assert (data.name, len(data), data.labelled) == ("images", 2, False)
    assert data.sample_names() == ["a.JPEG", "b.png"]
    sample = data.read(1)
    assert sample.name == "b.png" and sample.target is None and data.label(1) is None
    np.testing.assert_array_equal(sample.inputs["data"], plain(tmp_path / "images/b.png"))


def test_class_folders_are_numbered_by_name(tmp_path: Path, make_image: MakeImage) -> None:
    for number, name in enumerate(("dog/1.png", "cat/2.png", "cat/1.png")):
        make_image(f"train/{name}", seed=number)
    (tmp_path / "train/.cache").mkdir()
    data = open_dataset(tmp_path / "train", inputs=[SPEC], preprocess=STEPS, label_offset=1)
    assert data.labelled and data.sample_names() == ["cat/1.png", "cat/2.png", "dog/1.png"]
    assert [data.label(i) for i in range(3)] == [1, 1, 2] == [data.read(i).target for i in range(3)]
    assert data.categories == (Category(0, "cat"), Category(1, "dog"))


def test_an_empty_class_folder_or_mixed_folder_is_refused(tmp_path: Path, make_image: MakeImage) -> None:
    make_image("train/cat/1.png")
    (tmp_path / "train/ape").mkdir()
    with pytest.raises(DataError, match="'ape' has no images"):
        open_dataset(tmp_path / "train", inputs=[SPEC])
    make_image("train/1.png")
    with pytest.raises(DataError, match="labels are unclear"):
        open_dataset(tmp_path / "train", inputs=[SPEC])


def test_without_steps_the_guess_is_marked(tmp_path: Path, make_image: MakeImage) -> None:
    make_image("images/a.png", size=(16, 10))
    data = open_dataset(str(tmp_path / "images"), inputs=[SPEC])
    assert data.preprocess is not None and data.preprocess.guessed
    assert data.read(0).inputs["data"].shape == (1, 3, 8, 8)


def test_csv(tmp_path: Path, make_image: MakeImage) -> None:
    make_image("val/a.png", seed=1)
    make_image("val/b.png", seed=2)
    path = tmp_path / "val.csv"
    path.write_bytes(b"\xef\xbb\xbffile,label,note\r\nval/b.png, 7,x\r\n\r\nval/a.png,0,\r\n")
    data = open_dataset(path, inputs=[SPEC], preprocess=STEPS, label_offset=1)
    assert data.sample_names() == ["val/b.png", "val/a.png"] and data.labelled
    assert (data.label(0), data.read(0).target, data.label(1)) == (8, 8, 1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no column 'file'"),
        ("file\nval/a.png\n", "no column 'label'"),
        ("path,label\nval/a.png,1\n", "no column 'file'; the first line names path, label"),
        ("file,label\n", "lists no files"),
        ("file,label\nval/a.png,cat\n", "val.csv:2: the label 'cat' is not a whole number"),
        ("file,label\nval/a.png,1.0\n", "'1.0' is not a whole number"),
        ("file,label\nval/a.png\n", "'' is not a whole number"),
        (f"file,label\nval/a.png,{'1' * 5000}\n", "not a whole number"),
        ("file,label\nval/a.png,1\nval/none.png,1\n", "val.csv:3: the file 'val/none.png' is listed but not"),
        ("file,label\nval,1\n", "listed but not"),
        ("file,label\n,1\n", "not a path below"),
        (f"file,label\n{'a' * 5000},1\n", "val.csv:2: File name too long"),
        ("file,label\n/etc/passwd,1\n", "not a path below"),
        ("file,label\nC:\\a.png,1\n", "not a path below"),
        ("file,label\n../outside.png,1\n", "not a path below"),
        ("file,label\nval/../../outside.png,1\n", "not a path below"),
        ('file,label\n"' + "a" * 200_000 + '",1\n', "is not a readable CSV"),
    ],
)
def test_a_wrong_csv_is_explained(tmp_path: Path, make_image: MakeImage, text: str, words: str) -> None:
    make_image("data/val/a.png")
    make_image("outside.png")
    with pytest.raises(DataError, match=words):
        open_dataset(write_csv(tmp_path / "data", text), inputs=[SPEC], preprocess=STEPS)


def test_a_csv_of_other_bytes_is_explained(tmp_path: Path) -> None:
    (tmp_path / "val.csv").write_bytes(b"file,label\n\xff\xfe,1\n")
    with pytest.raises(DataError, match="not a readable CSV"):
        open_dataset(tmp_path / "val.csv", inputs=[SPEC])


def test_symlinks_must_not_leave_the_folder(tmp_path: Path, make_image: MakeImage) -> None:
    make_image("outside/secret.png")
    make_image("data/real.png")
    (tmp_path / "data/file.png").symlink_to(tmp_path / "outside/secret.png")
    (tmp_path / "data/folder").symlink_to(tmp_path / "outside")
    (tmp_path / "data/inside.png").symlink_to("real.png")
    for name in ("file.png", "folder/secret.png"):
        path = write_csv(tmp_path / "data", f"file,label\n{name},1\n")
        with pytest.raises(DataError, match="leads out of"):
            open_dataset(path, inputs=[SPEC], preprocess=STEPS)
    path = write_csv(tmp_path / "data", "file,label\ninside.png,1\n")
    assert len(open_dataset(path, inputs=[SPEC], preprocess=STEPS)) == 1


def test_what_is_no_data_set_is_explained(tmp_path: Path, make_image: MakeImage) -> None:
    (tmp_path / "empty").mkdir()
    image = make_image("a.png")
    (tmp_path / "broken.json").write_text("{}")
    for spec, options, words in (
        (tmp_path / "nowhere", {}, "does not exist"),
        (tmp_path / "empty", {}, "no images here"),
        ("a" * 5000, {}, "cannot be opened"),
        (image, {}, "no data set of a known form"),
        (tmp_path / "broken.json", {}, "--images DIR"),
        (tmp_path, {"images": tmp_path}, "--images belongs to"),
        (tmp_path / "broken.json", {"masks": tmp_path}, "--masks belongs to"),
        (tmp_path / "nowhere", {"masks": tmp_path}, "does not exist"),
    ):
        with pytest.raises(DataError, match=words) as caught:
            open_dataset(spec, inputs=[SPEC], **options)  # type: ignore[arg-type]
        assert caught.value.exit_code == 2 and caught.value.where


def test_images_need_one_image_input(tmp_path: Path, make_image: MakeImage) -> None:
    make_image("images/a.png")
    sound = TensorSpec("sound", (1, 16000), np.dtype(np.float32))
    with pytest.raises(DataError, match=r"2: data, sound.*\.npz"):
        open_dataset(tmp_path / "images", inputs=[SPEC, sound])
    with pytest.raises(DataError, match=r"sound wants float32 \[N,16000\], which is no image"):
        open_dataset(tmp_path / "images", inputs=[sound])


def test_an_image_that_does_not_fit_is_named(tmp_path: Path, make_image: MakeImage) -> None:
    make_image("images/wide.png", size=(9, 8))
    data = open_dataset(tmp_path / "images", inputs=[SPEC], preprocess=STEPS)
    with pytest.raises(DataError, match=r"wide.png: model input data wants .*\[N,3,8,9\]") as caught:
        data.read(0)
    assert not isinstance(caught.value, SampleError)


@pytest.mark.parametrize("loads_truncated", [False, True])
def test_a_truncated_jpeg_is_named_even_if_the_process_allows_them(
    tmp_path: Path, make_image: MakeImage, loads_truncated: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_image("images/cut.jpg", size=(64, 64))
    path.write_bytes(path.read_bytes()[:-900])
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", loads_truncated)
    data = open_dataset(tmp_path / "images", inputs=[SPEC])
    with pytest.raises(SampleError, match=r"^cut.jpg: cannot be read as an image: .*truncated"):
        data.read(0)


def test_broken_images_are_sample_errors(tmp_path: Path, make_image: MakeImage) -> None:
    whole = make_image("images/d.png", size=(64, 64)).read_bytes()
    (tmp_path / "images/a.png").write_bytes(b"")
    (tmp_path / "images/b.jpg").write_bytes(b"hello, this is text")
    (tmp_path / "images/c.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n")
    (tmp_path / "images/d.png").write_bytes(whole[:2000])
    (tmp_path / "images/e.png").write_bytes(whole)
    data = open_dataset(tmp_path / "images", inputs=[SPEC])
    (tmp_path / "images/e.png").unlink()
    for index in range(5):
        with pytest.raises(SampleError, match=f"^{data.sample_name(index)}: "):
            data.read(index)
    assert data.content_key(4) == "unreadable:e.png"
    assert len(data.fingerprint()) == 64


def png_of_zeros(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(10_000, 8_000), (10_000, 10_000), (50_000, 50_000)])
def test_decompression_bombs_are_refused_before_they_unfold(tmp_path: Path, size: tuple[int, int]) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images/bomb.png").write_bytes(png_of_zeros(*size))
    data = open_dataset(tmp_path / "images", inputs=[SPEC])
    for action in ("error", "ignore"):
        with warnings.catch_warnings(), pytest.raises(SampleError, match=r"bomb.png: .*pixels"):
            warnings.simplefilter(action)  # type: ignore[arg-type]
            data.read(0)


def test_labels_are_checked_against_the_model(tmp_path: Path, make_image: MakeImage) -> None:
    make_image("a.png")
    make_image("b.png", seed=1)
    path = write_csv(tmp_path, "file,label\na.png,0\nb.png,9\n")
    check_labels(open_dataset(path, inputs=[SPEC], preprocess=STEPS), 10)
    shifted = open_dataset(path, inputs=[SPEC], preprocess=STEPS, label_offset=1)
    check_labels(shifted, 11)
    with pytest.raises(DataError) as caught:
        check_labels(shifted, 10)
    message = str(caught.value)
    assert "b.png" in message and "9 with offset 1, so 10" in message
    assert "10 classes" in message and "--label-offset" in message
    below = open_dataset(path, inputs=[SPEC], preprocess=STEPS, label_offset=-1)
    with pytest.raises(DataError, match=r"a\.png.*-1"):
        check_labels(below, 10)


def test_the_fingerprint_is_of_content_not_of_paths(tmp_path: Path, make_image: MakeImage) -> None:
    make_image("one/a.png", seed=1)
    make_image("one/b.png", seed=2)
    one = write_csv(tmp_path / "one", "file,label\na.png,1\nb.png,2\n")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    (tmp_path / "two/a.png").rename(tmp_path / "two/c.png")
    two = write_csv(tmp_path / "two", "file,label\nc.png,1\nb.png,2\n")

    def fingerprint(path: Path, steps: Preprocess = STEPS, offset: int = 0) -> str:
        return open_dataset(path, inputs=[SPEC], preprocess=steps, label_offset=offset).fingerprint()

    first = fingerprint(one)
    assert first == fingerprint(one) == fingerprint(two)
    assert first != fingerprint(one, Preprocess(scale=(2.0,)))
    assert first != fingerprint(one, offset=1)
    swapped = write_csv(tmp_path / "two", "file,label\nc.png,2\nb.png,1\n")
    assert first != fingerprint(swapped)
    make_image("one/a.png", seed=3)
    assert first != fingerprint(one)


def test_overlap_is_by_content(tmp_path: Path, make_image: MakeImage) -> None:
    make_image("a/x.png", seed=1)
    make_image("a/broken.png").write_bytes(b"")
    make_image("b/renamed.png", seed=1)
    make_image("b/x.png", seed=2)
    a, b = (open_dataset(tmp_path / name, inputs=[SPEC]) for name in "ab")
    assert overlap(a, b) == ["renamed.png"] and overlap(b, a) == ["x.png"]
