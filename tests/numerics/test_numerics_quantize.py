import numpy as np
import onnx.parser
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from onnx.reference import ReferenceEvaluator

from fewbits.numerics import (
    FP32,
    INT7,
    INT8,
    INT8_NARROW,
    INT32,
    UINT8,
    IntegerFormat,
    QParams,
    affine,
    dequantize,
    fake_quantize,
    quantize,
    symmetric,
)

FORMATS = [INT8, INT8_NARROW, INT7, UINT8]
INT16 = IntegerFormat("int16", 16, signed=True)

finite = st.floats(width=32, min_value=-(2.0**60), max_value=2.0**60)


def per_tensor(scale: float, zero_point: int, format=INT8) -> QParams:
    return QParams(np.float32(scale), np.array(zero_point), format)


def onnx_model(op: str, x_type: str, y_type: str, q_type: str, axis: int | None) -> ReferenceEvaluator:
    attribute = "" if axis is None else f"<axis={axis}>"
    text = f"""<ir_version: 8, opset_import: ["" : 19]>
    g ({x_type} x, float scale, {q_type} zero) => ({y_type} y) {{
        y = {op} {attribute} (x, scale, zero)
    }}"""
    return ReferenceEvaluator(onnx.parser.parse_model(text))


def reference_quantize(x, q: QParams):
    name = str(q.format.dtype)
    run = onnx_model("QuantizeLinear", "float", name, name, q.axis)
    return run.run(None, {"x": x, "scale": q.scale, "zero": q.zero_point})[0]


def reference_dequantize(x, q: QParams):
    name = str(q.format.dtype)
    run = onnx_model("DequantizeLinear", name, "float", name, q.axis)
    return run.run(None, {"x": x, "scale": q.scale, "zero": q.zero_point})[0]


@pytest.mark.parametrize("format", [INT8, UINT8])
def test_per_tensor_equals_onnx(format):
    rng = np.random.default_rng(1)
    for low, high in [(-3.0, 5.0), (0.0, 6.0), (-0.01, 0.0), (-1e-30, 1e-31), (-1e30, 2e30)]:
        q = affine(low, high, format)
        x = rng.uniform(2 * low - high, 2 * high - low, (3, 4, 50)).astype(np.float32)
        levels = quantize(x, q)
        expected = reference_quantize(x, q)
        assert levels.dtype == expected.dtype
        np.testing.assert_array_equal(levels, expected)
        assert dequantize(levels, q).tobytes() == reference_dequantize(levels, q).tobytes()


def test_ties_equal_onnx_round_half_to_even():
    q = per_tensor(0.5, 3)
    x = (np.arange(-300, 300) / 4).astype(np.float32)  # every half step
    np.testing.assert_array_equal(quantize(x, q), reference_quantize(x, q))
    np.testing.assert_array_equal(
        quantize(np.array([0.25, 0.75, -0.25, -0.75], np.float32), q), np.array([3, 5, 3, 1], np.int8)
    )


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
@pytest.mark.parametrize("format", [INT8, UINT8])
def test_per_channel_equals_onnx(format, axis):
    rng = np.random.default_rng(2)
    x = rng.normal(size=(5, 7, 3)).astype(np.float32) * 10
    others = tuple(i for i in range(3) if i != axis % 3)
    q = affine(x.min(axis=others) / 2, x.max(axis=others) / 2, format, axis=axis)
    levels = quantize(x, q)
    np.testing.assert_array_equal(levels, reference_quantize(x, q))
    assert dequantize(levels, q).tobytes() == reference_dequantize(levels, q).tobytes()
    for channel in range(x.shape[axis]):
        one = per_tensor(q.scale[channel], q.zero_point[channel], format)
        np.testing.assert_array_equal(np.take(levels, channel, axis), quantize(np.take(x, channel, axis), one))


@pytest.mark.parametrize("shape", [(3, 5, 7), (40, 3), (1, 64), (64, 1), (2, 3, 0), (5, 200)])
@pytest.mark.parametrize("axis", [None, 0, 1])
def test_blocks_do_not_show(monkeypatch, shape, axis):
    monkeypatch.setitem(quantize.__globals__, "_BLOCK_ELEMENTS", 16)
    x = np.random.default_rng(3).normal(size=shape).astype(np.float32)
    broadcast: tuple[int, ...] = ()
    q = affine(-2, 1, INT8)
    if axis is not None:
        channels = np.arange(shape[axis])
        q = affine(-1 - channels, 1 + channels, INT8, axis=axis)
        broadcast = tuple(-1 if i == axis else 1 for i in range(len(shape)))
    scale, zero_point = q.scale.reshape(broadcast), q.zero_point.reshape(broadcast)
    expected = np.clip(np.rint(x / scale) + zero_point, -128, 127).astype(np.int8)
    levels = quantize(x, q)
    np.testing.assert_array_equal(levels, expected)
    np.testing.assert_array_equal(dequantize(levels, q), (levels.astype(np.float32) - zero_point) * scale)


def test_not_contiguous_and_scalar_inputs():
    x = np.arange(-12, 12, dtype=np.float32).reshape(4, 6).T[::2]
    q = symmetric([1.0, 5.0, 9.0], INT8, axis=0)
    np.testing.assert_array_equal(quantize(x, q), quantize(np.ascontiguousarray(x), q))
    assert quantize(np.float32(1.0), symmetric(1.0, INT8)).shape == ()
    assert int(quantize(np.float32(1.0), symmetric(1.0, INT8))) == 127


@pytest.mark.parametrize("format", [*FORMATS, INT16, INT32])
def test_every_format_saturates_at_its_own_ends(format):
    q = per_tensor(1e-3, 0, format)
    x = np.array([-np.inf, -3e38, 3e38, np.inf], np.float32)
    assert quantize(x, q).tolist() == [format.qmin, format.qmin, format.qmax, format.qmax]


def test_int32_bias_is_exact_beyond_24_bits():
    scale = np.float32(2.0**-10)
    levels = np.array([2**24 * 3, -(2**30), 2**30 + 128, -(2**31)])
    x = (levels * float(scale)).astype(np.float32)
    assert quantize(x, per_tensor(scale, 0, INT32)).tolist() == levels.tolist()


def test_nan_and_wrong_channels_are_refused():
    with pytest.raises(ValueError, match="NaN"):
        quantize(np.array([1.0, np.nan], np.float32), symmetric(1.0, INT8))
    q = symmetric([1.0, 2.0], INT8, axis=1)
    for shape in [(2, 3), (2,)]:
        with pytest.raises(ValueError, match="do not fit"):
            quantize(np.zeros(shape, np.float32), q)


@pytest.mark.parametrize("format", [*FORMATS, INT16])
@given(st.data())
def test_every_level_survives_the_round_trip(format, data):
    low, high = sorted(data.draw(st.tuples(finite, finite)))
    q = affine(low, high, format)
    levels = np.arange(format.qmin, format.qmax + 1).astype(format.dtype)
    np.testing.assert_array_equal(quantize(dequantize(levels, q), q), levels)


@pytest.mark.parametrize("format", FORMATS)
@given(arrays(np.float32, array_shapes(max_dims=2, max_side=20), elements=finite))
def test_affine_is_within_half_a_step_and_keeps_zero(format, x):
    q = affine(x.min(), x.max(), format)
    step = float(q.scale)
    error = np.abs(fake_quantize(x, q).astype(np.float64) - x)
    assert (error <= step * (0.5 + 1e-4)).all()
    assert float(fake_quantize(np.float32(0.0), q)) == 0.0


@pytest.mark.parametrize("format", [INT8, INT8_NARROW, INT7])
@given(arrays(np.float32, st.integers(1, 40), elements=finite))
def test_symmetric_is_within_half_a_step(format, x):
    q = symmetric(np.abs(x).max(), format)
    assert int(q.zero_point) == 0
    error = np.abs(fake_quantize(x, q).astype(np.float64) - x)
    assert (error <= float(q.scale) * (0.5 + 1e-4)).all()


@pytest.mark.parametrize("format", FORMATS)
def test_a_doubled_or_halved_scale_breaks_the_bound(format):
    x = np.linspace(-1.0, 3.0, 1000).astype(np.float32)
    q = affine(-1.0, 3.0, format)
    step = 4.0 / (format.levels - 1)
    assert np.isclose(float(q.scale), step, rtol=1e-7)
    for factor in (0.5, 2.0):
        wrong = QParams(q.scale * np.float32(factor), q.zero_point, format)
        assert np.abs(fake_quantize(x, wrong) - x).max() > 0.9 * step
        levels = quantize(x, q)
        assert np.abs(dequantize(levels, wrong) - x).max() > 0.9 * step


def test_known_parameters():
    q = affine(-1.0, 2.0, UINT8)
    assert float(q.scale) == np.float32(3 / 255)
    assert int(q.zero_point) == 85
    assert affine(1.0, 6.0, UINT8) == affine(0.0, 6.0, UINT8)
    assert affine(-6.0, -1.0, UINT8) == affine(-6.0, 0.0, UINT8)
    assert int(affine(-6.0, 0.0, INT8).zero_point) == 127
    assert int(affine(0.0, 6.0, INT8).zero_point) == -128
    assert float(symmetric(127.0, INT8).scale) == 1.0
    assert float(symmetric(63.0, INT7).scale) == 1.0
    assert float(symmetric(255.0, UINT8).scale) == 1.0
    per_channel = symmetric([127.0, 254.0], INT8_NARROW, axis=0)
    assert per_channel.per_channel
    assert per_channel.scale.tolist() == [1.0, 2.0]
    assert per_channel.zero_point.dtype == np.int8


@pytest.mark.parametrize("tiny", [0.0, 5e-324, 1e-45, 1e-38, -0.0])
def test_a_degenerate_range_gets_a_harmless_scale(tiny):
    for q in (affine(-abs(tiny), abs(tiny), INT8), symmetric(abs(tiny), INT8), affine(0.0, abs(tiny), UINT8)):
        assert float(q.scale) == 1.0
        assert fake_quantize(np.zeros(2, np.float32), q).tolist() == [0.0, 0.0]
    mixed = symmetric([0.0, 127.0], INT8, axis=0)
    assert mixed.scale.tolist() == [1.0, 1.0]


@given(st.floats(0, 3.4e38), st.floats(0, 3.4e38))
def test_scales_are_always_normal(a, b):
    for q in (affine(-a, b, INT8), symmetric(a, INT8), affine(-a, b, INT32)):
        assert FP32.smallest_normal <= float(q.scale) <= FP32.max


@pytest.mark.parametrize(
    ("low", "high"),
    [(1.0, -1.0), (np.nan, 1.0), (-np.inf, 1.0), (0.0, np.inf), ([0.0], [1.0, 2.0]), (0.0, 1e300)],
)
def test_impossible_ranges_are_refused(low, high):
    with pytest.raises(ValueError, match=r"range|finite"):
        affine(low, high, INT8)


@pytest.mark.parametrize("magnitude", [-1.0, np.nan, np.inf, 1e300])
def test_impossible_magnitudes_are_refused(magnitude):
    with pytest.raises(ValueError, match="finite"):
        symmetric(magnitude, INT8)


@pytest.mark.parametrize(
    ("scale", "zero_point", "axis", "says"),
    [
        (0.0, 0, None, "positive"),
        (-1.0, 0, None, "positive"),
        (np.nan, 0, None, "positive"),
        (np.inf, 0, None, "positive"),
        (1e-40, 0, None, "subnormal"),
        (1e300, 0, None, "finite"),
        (1.0, 128, None, "outside int8"),
        (1.0, -129, None, "outside int8"),
        (1.0, 0.0, None, "integer"),
        ([1.0], [0], None, "per tensor"),
        (1.0, 0, 0, "per channel"),
        ([], [], 0, "per channel"),
        ([1.0, 1.0], [0], 0, "shape"),
    ],
)
def test_qparams_refuse(scale, zero_point, axis, says):
    with pytest.raises(ValueError, match=says):
        QParams(np.array(scale), np.array(zero_point), INT8, axis)


def test_narrow_and_seven_bits_bound_the_zero_point():
    for format in (INT8_NARROW, INT7):
        with pytest.raises(ValueError, match="outside"):
            per_tensor(1.0, -128, format)


def test_qparams_are_values():
    scale = np.array([1.0, 2.0], np.float32)
    q = QParams(scale, np.zeros(2, np.int64), INT8, 0)
    scale[0] = 9.0
    assert q.scale.tolist() == [1.0, 2.0]
    assert q.zero_point.dtype == np.int8
    with pytest.raises(ValueError, match="read-only"):
        q.scale[0] = 3.0
    same = QParams(np.array([1.0, 2.0]), np.zeros(2, np.int8), INT8, 0)
    assert q == same
    assert len({q, same}) == 1
    assert q != QParams(q.scale, q.zero_point, INT8, 1)
    assert q != QParams(q.scale * 2, q.zero_point, INT8, 0)
    assert q != "int8"
