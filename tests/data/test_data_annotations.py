from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fewbits.data import Box, Category, CocoTarget, Dataset, Preprocess, open_dataset
from fewbits.errors import DataError, SampleError
from fewbits.numerics.tensors import TensorSpec

MakeImage = Callable[..., Path]
SPEC = TensorSpec("data", (None, 3, 8, 8), np.dtype(np.float32))
LETTERBOX = Preprocess(resize=8, fit="letterbox")


def document() -> dict[str, Any]:
    return {
        "info": {},
        "images": [
            {"id": 9, "file_name": "b.png", "width": 16, "height": 8},
            {"id": 4, "file_name": "a.png", "width": 8, "height": 8},
        ],
        "annotations": [
            {"id": 1, "image_id": 9, "category_id": 90, "bbox": [1, 2.5, 3, 4], "area": 12, "iscrowd": 0},
            {"id": 2, "image_id": 9, "category_id": 1, "bbox": [0, 0, 16, 8], "iscrowd": 1},
        ],
        "categories": [{"id": 1, "name": "person"}, {"id": 90, "name": "brush"}],
    }


@pytest.fixture
def coco(tmp_path: Path, make_image: MakeImage) -> Callable[[object], Dataset]:
    make_image("images/a.png", seed=1)
    make_image("images/b.png", size=(16, 8), seed=2)

    def opened(content: object) -> Dataset:
        path = tmp_path / "annotations.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return open_dataset(path, inputs=[SPEC], preprocess=LETTERBOX, images=tmp_path / "images")

    return opened


def test_coco(coco: Callable[[object], Dataset]) -> None:
    data = coco(document())
    assert data.labelled and data.sample_names() == ["b.png", "a.png"]
    assert data.categories == (Category(1, "person"), Category(90, "brush"))
    boxes = (Box(90, 1, 2.5, 3, 4, 12), Box(1, 0, 0, 16, 8, 128, crowd=True))
    assert data.read(0).target == CocoTarget(9, 16, 8, boxes)
    assert data.read(1).target == CocoTarget(4, 8, 8, ())
    assert data.label(0) is None
    changed = document()
    changed["annotations"][0]["bbox"][0] = 2
    assert coco(changed).fingerprint() != data.fingerprint()


def edited(edit: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    content = document()
    edit(content)
    return content


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "not a COCO instances file"),
        ({"images": []}, "not a COCO instances file"),
        (edited(lambda d: d.update(images=[], annotations=[])), "lists no images"),
        (edited(lambda d: d["images"].append(3)), r"images\[2\]: is not an object"),
        (edited(lambda d: d["images"][1].pop("id")), r"images\[1\]: id is missing"),
        (edited(lambda d: d["images"][1].update(id=9)), r"images\[1\]: the image id 9 is used twice"),
        (edited(lambda d: d["images"][0].update(width=0)), "0x8"),
        (edited(lambda d: d["images"][0].update(file_name=3)), "file_name"),
        (edited(lambda d: d["images"][0].update(file_name="../a.png")), "not a path below"),
        (edited(lambda d: d["images"][0].update(file_name="none.png")), "'none.png' is listed but not there"),
        (edited(lambda d: d["annotations"][1].update(image_id=5)), r"annotations\[1\]: image_id 5"),
        (edited(lambda d: d["annotations"][1].update(category_id=5)), "category_id 5 is no category"),
        (edited(lambda d: d["annotations"][1].update(bbox=[1, 2, 3])), "bbox is not"),
        (edited(lambda d: d["annotations"][1].update(bbox=[1, 2, 3, "4"])), "bbox is not"),
        (edited(lambda d: d["annotations"][1].update(bbox=[1, 2, 3, 10**400])), "bbox is not"),
        (edited(lambda d: d["annotations"][1].update(bbox=[1, 2, 3, float("inf")])), "bbox is not"),
        (edited(lambda d: d["annotations"][1].update(bbox=[1, 2, -3, 4])), "negative size"),
        (edited(lambda d: d["categories"][1].update(id=True)), r"categories\[1\]: id"),
    ],
)
def test_a_wrong_coco_file_is_explained(coco: Callable[[object], Dataset], content: object, words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        coco(content)
    assert "annotations.json" in caught.value.where


def test_coco_without_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps(document()))
    with pytest.raises(DataError, match="nowhere: is no folder"):
        open_dataset(path, inputs=[SPEC], images=tmp_path / "nowhere")


def write_mask(path: Path, mask: np.ndarray, mode: str | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(mask)
    if mode == "P":
        image.putpalette(list(range(256)) * 3)
    elif mode:
        image = image.convert(mode)
    image.save(path)


@pytest.mark.parametrize(("mode", "dtype"), [(None, np.uint8), ("P", np.uint8), ("1", np.uint8), ("deep", np.uint16)])
def test_masks_by_stem(tmp_path: Path, make_image: MakeImage, mode: str | None, dtype: type) -> None:
    make_image("images/a.jpg")
    make_image("images/without.jpg", seed=1)
    values = np.arange(64).reshape(8, 8) % (2 if mode == "1" else 64)
    stored = values * (1000 if mode == "deep" else 255 if mode == "1" else 1)
    write_mask(tmp_path / "masks/a.png", stored.astype(dtype), None if mode == "deep" else mode)
    data = open_dataset(tmp_path / "images", inputs=[SPEC], preprocess=Preprocess(), masks=tmp_path / "masks")
    assert data.labelled and data.sample_names() == ["a.jpg"] and data.label(0) is None
    assert data.notes == ("1 of 2 images have no mask and are left out",)
    target = data.read(0).target
    assert isinstance(target, np.ndarray) and target.dtype == dtype
    np.testing.assert_array_equal(target, values if mode == "1" else stored)


def test_masks_follow_the_preprocessing(tmp_path: Path, make_image: MakeImage) -> None:
    make_image("images/a.png", size=(16, 16))
    mask = np.arange(256, dtype=np.uint8).reshape(16, 16)
    write_mask(tmp_path / "masks/a.png", mask)
    data = open_dataset(tmp_path / "images", inputs=[SPEC], preprocess=Preprocess(crop=8), masks=tmp_path / "masks")
    before = data.fingerprint()
    np.testing.assert_array_equal(data.read(0).target, mask[4:12, 4:12])
    write_mask(tmp_path / "masks/a.png", mask + 1)
    again = open_dataset(tmp_path / "images", inputs=[SPEC], preprocess=Preprocess(crop=8), masks=tmp_path / "masks")
    assert again.fingerprint() != before


def test_wrong_masks_are_explained(tmp_path: Path, make_image: MakeImage) -> None:
    make_image("images/a.png")
    images, masks = tmp_path / "images", tmp_path / "masks"

    def opened() -> Dataset:
        return open_dataset(images, inputs=[SPEC], preprocess=Preprocess(), masks=masks)

    with pytest.raises(DataError, match="masks: is no folder of masks"):
        opened()
    make_image("masks/b.png", mode="L")
    with pytest.raises(DataError, match="no image has a mask"):
        opened()
    make_image("masks/a.png")
    with pytest.raises(SampleError, match=r"mask a.png: the mask has colours"):
        opened().read(0)
    make_image("masks/a.png", mode="L", size=(4, 8))
    with pytest.raises(SampleError, match=r"a.png: the mask is 4x8, the image 8x8"):
        opened().read(0)
    (masks / "a.png").write_bytes(b"")
    with pytest.raises(SampleError, match=r"mask a.png"):
        opened().read(0)
    make_image("masks/a.bmp", mode="L")
    with pytest.raises(DataError, match=r"a.bmp and a.png are masks of the same image"):
        opened()
