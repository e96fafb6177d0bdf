"""Pure NumPy: number formats, scale and zero point, quantize once, histograms, ranges, noise."""

from fewbits.numerics.evidence import RangeEvidence
from fewbits.numerics.formats import (
    BF16,
    FP16,
    FP32,
    INT7,
    INT8,
    INT8_NARROW,
    INT32,
    UINT8,
    FloatFormat,
    IntegerFormat,
    round_to,
)
from fewbits.numerics.histogram import Histogram
from fewbits.numerics.losses import Loss, loss
from fewbits.numerics.noise import NoiseSum, cosine, max_abs, relative_error, sqnr_db
from fewbits.numerics.qparams import QParams, affine, symmetric
from fewbits.numerics.quantize import dequantize, fake_quantize, quantize
from fewbits.numerics.ranges import METHODS, RangeEstimator, entropy, estimate, minmax, mse, percentile
from fewbits.numerics.rounding import round_weights
from fewbits.numerics.tensors import TensorSpec
from fewbits.numerics.units import OutputNoise, Unit, Yardstick, decibels
from fewbits.numerics.weight_grid import grid_steps

__all__ = [
    "BF16",
    "FP16",
    "FP32",
    "INT7",
    "INT8",
    "INT8_NARROW",
    "INT32",
    "METHODS",
    "UINT8",
    "FloatFormat",
    "Histogram",
    "IntegerFormat",
    "Loss",
    "NoiseSum",
    "OutputNoise",
    "QParams",
    "RangeEstimator",
    "RangeEvidence",
    "TensorSpec",
    "Unit",
    "Yardstick",
    "affine",
    "cosine",
    "decibels",
    "dequantize",
    "entropy",
    "estimate",
    "fake_quantize",
    "grid_steps",
    "loss",
    "max_abs",
    "minmax",
    "mse",
    "percentile",
    "quantize",
    "relative_error",
    "round_to",
    "round_weights",
    "sqnr_db",
    "symmetric",
]
