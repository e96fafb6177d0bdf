from __future__ import annotations

import tempfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fewbits.data import Preprocess
from fewbits.errors import DataError, SampleError
from fewbits.numerics.tensors import TensorSpec

F4 = np.dtype(np.float32)
BGR_MEAN = (104.0, 117.0, 123.0)


def spec(*shape: int | None, dtype: np.dtype = F4) -> TensorSpec:
    return TensorSpec("data", shape, dtype)


def picture(width: int, height: int, mode: str = "RGB") -> Image.Image:
    shape = (height, width, 3) if mode == "RGB" else (height, width)
    return Image.fromarray(np.random.default_rng(7).integers(0, 256, shape, np.uint8))


def test_i227_is_exactly_the_plain_computation() -> None:
    # README code I227: resize 256, crop 227, BGR, mean 104,117,123 (blue, green, red), scale 1
    image = picture(500, 375)
    steps = Preprocess.from_options(resize="256", crop="227", mean="104,117,123", scale="1", channels="bgr")
    got = steps.apply(image, spec(None, 3, 227, 227))

    resized = np.asarray(image.resize((341, 256), Image.Resampling.BILINEAR))
    top, left = (256 - 227) // 2, (341 - 227) // 2
    rgb = resized[top : top + 227, left : left + 227].astype(np.float32)
    want = np.stack([rgb[:, :, 2] - 104, rgb[:, :, 1] - 117, rgb[:, :, 0] - 123])[None]
    assert got.dtype == np.float32 and got.shape == (1, 3, 227, 227) and got.flags["C_CONTIGUOUS"]
    np.testing.assert_array_equal(got, want)


def test_rgb_mean_and_scale_follow_the_channels_as_fed_in_nhwc() -> None:
    image = picture(40, 32)
    mean, scale = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
    steps = Preprocess(crop=(30, 36), mean=mean, scale=scale, layout="nhwc")
    got = steps.apply(image, spec(None, 30, 36, 3))
    pixels = np.asarray(image)[1:31, 2:38].astype(np.float32)
    np.testing.assert_array_equal(got, ((pixels - np.float32(mean)) / np.float32(scale))[None])


def test_a_doubled_scale_does_not_pass() -> None:
    image = picture(8, 8)
    one = Preprocess(scale=(1.0,)).apply(image, spec(1, 3, 8, 8))
    two = Preprocess(scale=(2.0,)).apply(image, spec(1, 3, 8, 8))
    np.testing.assert_array_equal(one, 2 * two)


def test_gray_is_luma_601() -> None:
    image = picture(6, 5)
    got = Preprocess(channels="gray").apply(image, spec(None, 1, 5, 6))
    np.testing.assert_array_equal(got[0, 0], np.asarray(image.convert("L"), np.float32))


@pytest.mark.parametrize(("width", "height"), [(640, 427), (427, 640), (416, 416), (100, 50)])
def test_letterbox_is_top_left_on_114(width: int, height: int) -> None:
    image = picture(width, height)
    steps = Preprocess(resize=416, fit="letterbox", channels="bgr")
    got = steps.apply(image, spec(1, 3, 416, 416))
    new = (416, height * 416 // width) if width >= height else (width * 416 // height, 416)
    want = np.full((416, 416, 3), 114, np.float32)
    want[: new[1], : new[0]] = np.asarray(image.resize(new, Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(got[0], want[:, :, ::-1].transpose(2, 0, 1))


def test_stretch_takes_height_and_width() -> None:
    image = picture(50, 80)
    got = Preprocess(resize=(24, 32), fit="stretch").apply(image, spec(1, 3, 24, 32))
    want = np.asarray(image.resize((32, 24), Image.Resampling.BILINEAR), np.float32)
    np.testing.assert_array_equal(got[0], want.transpose(2, 0, 1))


def test_boxes_travel_back_to_the_image() -> None:
    placement = Preprocess(resize=416, fit="letterbox").place(height=208, width=832)
    np.testing.assert_allclose(placement.to_image(np.array([[0.0, 0.0, 416.0, 104.0]])), [[0, 0, 832, 208]], rtol=1e-12)
    cropped = Preprocess(resize=100, crop=50).place(height=200, width=200)
    np.testing.assert_allclose(cropped.to_image(np.array([[0.0, 0.0, 50.0, 50.0]])), [[50, 50, 150, 150]], rtol=1e-12)


def test_masks_move_as_their_image() -> None:
    mask = np.random.default_rng(0).integers(0, 9, (20, 30), np.uint8)
    moved = Preprocess(resize=10, crop=(8, 12)).place(20, 30).render_mask(mask)
    # halving by nearest neighbour takes the pixel right below the centre of each 2x2 block
    np.testing.assert_array_equal(moved, mask[1::2, 1::2][1:9, 1:13])
    boxed = Preprocess(resize=32, fit="letterbox").place(20, 30).render_mask(mask)
    assert boxed.shape == (32, 32) and set(boxed[21:].ravel()) == {255} and boxed[:21].max() < 9


@pytest.mark.parametrize("name", ["float16", "float64", "bfloat16"])
def test_other_float_inputs_get_their_type(name: str) -> None:
    dtype = np.dtype(ml_dtypes.bfloat16) if name == "bfloat16" else np.dtype(name)
    image = picture(4, 4)
    got = Preprocess(mean=(127.5,), scale=(127.5,)).apply(image, spec(1, 3, 4, 4, dtype=dtype))
    want = ((np.asarray(image).astype(np.float32) - np.float32(127.5)) / np.float32(127.5)).astype(dtype)
    assert got.dtype == dtype
    np.testing.assert_array_equal(got[0], want.transpose(2, 0, 1))


def test_uint8_input_gets_pixels_as_they_are_and_nothing_else() -> None:
    image = picture(4, 4)
    wants = spec(1, 4, 4, 3, dtype=np.dtype(np.uint8))
    got = Preprocess(layout="nhwc").apply(image, wants)
    np.testing.assert_array_equal(got[0], np.asarray(image))
    with pytest.raises(DataError, match=r"uint8.*cannot hold.*leave --mean and --scale out"):
        Preprocess(layout="nhwc", mean=(127.5,), scale=(127.5,)).check(wants)
    shifted = spec(1, 4, 4, 3, dtype=np.dtype(np.int8))
    steps = Preprocess(layout="nhwc", mean=(128,))
    steps.check(shifted)
    np.testing.assert_array_equal(steps.apply(image, shifted)[0], np.asarray(image).astype(int) - 128)


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "CMYK", "LA"])
def test_every_common_mode_becomes_rgb(mode: str) -> None:
    image = picture(8, 8).convert("L").convert("LA") if mode == "LA" else picture(8, 8).convert(mode)
    if mode == "P":
        image.info["transparency"] = b"\0" * 256  # Pillow warns about these unless they are expanded first
    got = Preprocess().apply(image, spec(1, 3, 8, 8))
    want = image.convert("RGBA").convert("RGB") if mode == "P" else image.convert("RGB")
    np.testing.assert_array_equal(got[0].transpose(1, 2, 0), np.asarray(want, np.float32))


def test_16_bit_gray_is_scaled_not_clipped_and_32_bit_is_refused() -> None:
    deep = Image.fromarray(np.array([[0, 255, 256, 65535]], np.uint16))
    got = Preprocess(channels="gray").apply(deep, spec(1, 1, 1, 4))
    np.testing.assert_array_equal(got.ravel(), [0, 0, 1, 255])
    with pytest.raises(SampleError, match="32-bit"):
        Preprocess(channels="gray").apply(Image.new("F", (4, 1)), spec(1, 1, 1, 4))


def test_misfit_says_both_shapes_and_the_option() -> None:
    with pytest.raises(DataError) as caught:
        Preprocess().apply(picture(500, 375), spec(None, 3, 224, 224))
    assert "float32 [N,3,224,224]" in str(caught.value) and "[N,3,375,500]" in str(caught.value)
    assert "--resize" in caught.value.fix and "--crop" in caught.value.fix
    with pytest.raises(DataError, match=r"larger than the image.*--resize to 224"):
        Preprocess(crop=224).apply(picture(100, 300), spec(None, 3, 224, 224))


@pytest.mark.parametrize(
    ("steps", "shape", "words"),
    [
        (Preprocess(crop=224), (1, 3, 227, 227), "--crop"),
        (Preprocess(crop=224), (1, 224, 224, 3), "--layout"),
        (Preprocess(channels="gray"), (1, 3, 224, 224), "--channels"),
        (Preprocess(crop=320), (1, 3, 240, 320), "--resize 240,320"),
        (Preprocess(resize=320, fit="stretch"), (1, 3, 300, 300), r"\[N,3,320,320\]"),
        (Preprocess(), (1, 16000), "no image"),
    ],
)
def test_misfit_is_known_before_an_image_is_read(steps: Preprocess, shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(DataError, match=words):
        steps.check(spec(*shape))


def test_free_sizes_fit_everything() -> None:
    free = spec(None, 3, None, None)
    Preprocess(resize=20).check(free)
    assert Preprocess(resize=20).apply(picture(30, 40), free).shape == (1, 3, 26, 20)


def test_a_long_strip_does_not_fill_the_memory() -> None:
    with pytest.raises(SampleError, match="pixels"):
        Preprocess(resize=256, crop=1).place(height=1, width=1_000_000)
    with pytest.raises(DataError, match="size in pixels"):
        Preprocess(resize=100_000, fit="stretch")


@pytest.mark.parametrize(
    ("shape", "want"),
    [
        ((None, 3, 224, 224), Preprocess(resize=224, crop=224)),
        ((1, 1, 28, 28), Preprocess(resize=28, crop=28, channels="gray")),
        ((1, 96, 96, 3), Preprocess(resize=96, crop=96, layout="nhwc")),
        ((1, 49, 10, 1), Preprocess(resize=(49, 10), fit="stretch", layout="nhwc", channels="gray")),
        ((1, 3, 240, 320), Preprocess(resize=(240, 320), fit="stretch")),
        ((None, 3, None, None), Preprocess()),
        ((1, 16000), Preprocess()),
    ],
)
def test_the_default_is_read_from_the_shape_and_says_it_is_a_guess(
    shape: tuple[int | None, ...], want: Preprocess
) -> None:
    got = Preprocess.default_for(spec(*shape))
    assert got == want and got.guessed and not want.guessed


def test_options_change_the_base() -> None:
    base = Preprocess.default_for(spec(1, 224, 224, 3))
    got = Preprocess.from_options(resize="256", base=base)
    assert got == Preprocess(resize=256, crop=224, layout="nhwc") and got.guessed
    assert not Preprocess.from_options(mean="0", base=base).guessed
    assert Preprocess.from_options(resize="240,320").fit == "stretch"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mean": "104,117,"}, "--mean: '104,117,' is not a list of numbers"),
        ({"mean": "104;117"}, "--mean"),
        ({"mean": "1,2"}, "2 numbers for 3 colours"),
        ({"mean": "nan"}, "not finite"),
        ({"scale": "0"}, "scale is zero"),
        ({"scale": "1,0,1"}, "scale is zero"),
        ({"scale": "1e-300"}, "scale is zero"),
        ({"mean": "1e300"}, "0..255 units"),
        ({"resize": "big"}, "--resize: 'big'"),
        ({"resize": "0"}, "--resize"),
        ({"crop": "-3"}, "--crop"),
        ({"crop": "1,2,3"}, "--crop"),
        ({"crop": "9" * 5000}, "--crop"),
        ({"channels": "rbg"}, "channels 'rbg' is unknown"),
        ({"layout": "chw"}, "layout 'chw' is unknown"),
    ],
)
def test_wrong_options_are_named(options: dict[str, str], words: str) -> None:
    with pytest.raises(DataError, match=words):
        Preprocess.from_options(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("resise = 256", "unknown key 'resise'"),
        ("[resize]\nx = 1", "resize"),
        ('resize = "256"', "resize"),
        ("resize = true", "resize"),
        ("resize = [1, 2, 3]", "resize"),
        ("crop = 0", "crop"),
        ("mean = [1.0, nan, 2.0]", "mean"),
        ("mean = [1.0, 2.0]", "2 numbers for 3 colours"),
        ("mean = []", "0 numbers"),
        ("scale = 0", "scale is zero"),
        ('channels = "rbg"', "channels"),
        ('fit = "letterbox"', "needs a size"),
        ('fit = "letterbox"\nresize = 4\ncrop = 2', "cannot be cropped"),
        ("resize = [4, 4]", "two numbers"),
        ("pad = 256", "pad"),
        ("mean = ", "is not TOML"),
        ("a = " + "[" * 100_000, "is not TOML"),
        ("#" * (1 << 20) + "##", "1 MiB"),
    ],
)
def test_a_wrong_file_is_explained(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "steps.toml"
    path.write_text(text)
    with pytest.raises(DataError, match=words) as caught:
        Preprocess.from_toml(path)
    assert caught.value.where == str(path)


def test_a_missing_or_binary_file_is_explained(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        Preprocess.from_toml(tmp_path / "none.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="is not TOML"):
        Preprocess.from_toml(tmp_path / "bytes.toml")


def test_a_file_may_give_one_number(tmp_path: Path) -> None:
    path = tmp_path / "steps.toml"
    path.write_text("resize = 256\nmean = 127.5\nscale = [127.5]\n")
    assert Preprocess.from_toml(path) == Preprocess(resize=256, mean=(127.5,), scale=(127.5,))


@st.composite
def preprocesses(draw: st.DrawFn) -> Preprocess:
    channels = draw(st.sampled_from(["rgb", "bgr", "gray"]))
    count = draw(st.sampled_from([1, 1 if channels == "gray" else 3]))
    numbers = st.floats(-1e12, 1e12)
    divisors = numbers.filter(lambda x: abs(x) > 1e-11)
    fit = draw(st.sampled_from(["short-side", "stretch", "letterbox"]))
    pixels = st.integers(1, 4000)
    sizes = pixels | st.tuples(pixels, pixels)
    return Preprocess(
        resize=draw(st.none() | pixels if fit == "short-side" else sizes),
        crop=None if fit == "letterbox" else draw(st.none() | sizes),
        mean=tuple(draw(st.lists(numbers, min_size=count, max_size=count))),
        scale=tuple(draw(st.lists(divisors, min_size=count, max_size=count))),
        channels=channels,
        layout=draw(st.sampled_from(["nchw", "nhwc"])),
        fit=fit,
        pad=draw(st.integers(0, 255)),
    )


@given(preprocesses())
def test_toml_round_trip(steps: Preprocess) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "steps.toml"
        path.write_text(steps.to_toml())
        back = Preprocess.from_toml(path)
    assert back == steps and back.to_toml() == steps.to_toml()
