"""Corrections: what brings a quantized model closer to FP32 than rounding to the nearest. One file, one paper each.

    equalize        before calibration: channels of one tensor are brought to one range
    rounding        which way each weight is rounded is chosen by the layer's output
    bias            the mean error rounded weights leave is taken back in the bias, computed from the inputs' means
    bias-measured   the same, rounding of activations included, measured by running the model

They are made in this order. The first two give a new FP32 model; the plan of scales is the uncorrected one's.
"""

from typing import Final

EQUALIZE: Final = "equalize"
ROUNDING: Final = "rounding"
BIAS: Final = "bias"
BIAS_MEASURED: Final = "bias-measured"

CORRECTIONS: Final = (EQUALIZE, ROUNDING, BIAS, BIAS_MEASURED)

# For those that look at activations: thousands of positions in most layers.
CORRECTION_SAMPLES: Final = 64
