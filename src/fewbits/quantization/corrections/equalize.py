"""Cross-layer equalization and SmoothQuant: channels of one tensor are brought to one range before it gets one scale.

Where only positive-homogeneous operators, f(s x) = s f(x) for s > 0, stand between two layers, channel j can be divided
by s_j in the first and multiplied back in the second; the network computes the same (Nagel et al. 2019, "Data-Free
Quantization Through Weight Equalization and Bias Correction", section 4.1)::

    y = W2 f(W1 x + b1) = (W2 S) f(S^-1 W1 x + S^-1 b1)

The first may be a convolution, a linear layer or a layer norm. The factors are SmoothQuant's, which looks at the
activations themselves: weights have a scale per channel anyway (Xiao et al. 2023, "SmoothQuant", equation 4)::

    s_j = max|X_j|^alpha / max|W2_j|^(1 - alpha)              alpha = 1/2

They are rounded to powers of two, so that the FP32 result stays the same to the last bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from fewbits.graph import queries
from fewbits.graph.edits import add_initializer, replace_input
from fewbits.graph.ops import BIAS_INPUT, WEIGHT_INPUT
from fewbits.graph.queries import node_name
from fewbits.quantization.corrections.bundles import Bundle, bundles
from fewbits.quantization.linear import bias_of, by_channel, weights_of

_ALPHA = 0.5
# Factors stay within 2**-6 and 1 of the largest: a channel that hardly speaks is not blown up to the loudest's size.
_LIMIT = -6.0
# Ordinary networks spread by 3 to 6 dB, and gain nothing; outliers in a few channels, which do pay, by 10 and more.
_WORTH_TRYING_DB = 9.0

Magnitudes = Mapping[str, NDArray[np.floating]]
"""Of activations by name: the largest magnitude of each channel, f32[C]."""


def equalize(model: ir.Model, magnitudes: Magnitudes) -> ir.Model:
    """A copy of the FP32 model that computes the same with equalized channels; what was not measured stays as it is."""
    model = model.clone()
    for bundle in bundles(model):
        found = _Reach.of(bundle, magnitudes)
        factors = None if found is None else found.factors()
        if factors is None or np.all(factors == 1.0):
            continue
        for maker in bundle.makers:
            _divide_outputs(model, maker, factors)
        for reader, first in bundle.readers:
            _multiply_inputs(model, reader, first, factors)
    return model


def promising(model: ir.Model, magnitudes: Magnitudes) -> bool:
    """Whether some tensor's noise at its readers would fall so much that another calibration pass is worth its time."""
    found = (_Reach.of(bundle, magnitudes) for bundle in bundles(model))
    return any(reach is not None and reach.gain_db() > _WORTH_TRYING_DB for reach in found)


@dataclass(frozen=True)
class _Reach:
    """max|X_j| and max|W_j| of the channels of one bundle, f64[C]."""

    activations: NDArray[np.float64]
    weights: NDArray[np.float64]

    @classmethod
    def of(cls, bundle: Bundle, magnitudes: Magnitudes) -> _Reach | None:
        seen = [magnitudes[name][first : first + bundle.size] for name, first in bundle.carriers if name in magnitudes]
        if not seen or any(part.size != bundle.size for part in seen):
            return None
        weights = [_input_reach(node)[first : first + bundle.size] for node, first in bundle.readers]
        return cls(np.max(seen, axis=0).astype(np.float64), np.max(weights, axis=0).astype(np.float64))

    def factors(self) -> NDArray[np.float32]:
        """s_j, the largest of them 1; 1 for channels that are always zero or never read."""
        live = (self.activations > 0) & (self.weights > 0)
        if not live.any():
            return np.ones(live.size, np.float32)
        log = np.full(live.size, -np.inf)
        log[live] = _ALPHA * np.log2(self.activations[live]) - (1.0 - _ALPHA) * np.log2(self.weights[live])
        log = np.where(live, np.clip(log - log.max(initial=-np.inf, where=live), _LIMIT, 0.0), 0.0)
        return np.asarray(np.exp2(np.rint(log)), np.float32)

    def gain_db(self) -> float:
        """By how much the rounding noise R**2 sum W_j**2 that one scale for all channels brings would fall."""
        factors = self.factors().astype(np.float64)
        before = self.activations.max() ** 2 * np.sum(self.weights**2)
        after = np.max(self.activations / factors) ** 2 * np.sum((self.weights * factors) ** 2)
        return float(10 * np.log10(before / after)) if after > 0 else 0.0


def _input_reach(node: ir.Node) -> NDArray[np.float32]:
    """max|W| of each of the node's input channels."""
    channels = by_channel(node, weights_of(node))
    if channels is None:
        raise ValueError(f"{node_name(node)} has no input channels of its own")
    return np.asarray(np.abs(channels).max(axis=(1, 3)).reshape(-1))


def _multiply_inputs(model: ir.Model, node: ir.Node, first: int, factors: NDArray[np.float32]) -> None:
    weights = weights_of(node).copy()
    view = by_channel(node, weights)
    if view is None:
        raise ValueError(f"{node_name(node)} has no input channels of its own")
    full = np.ones(view.shape[0] * view.shape[2], np.float32)
    full[first : first + factors.size] = factors
    view *= full.reshape(view.shape[0], 1, view.shape[2], 1)
    replace_input(model, node, WEIGHT_INPUT, add_initializer(model, f"{node_name(node)}.equalized", weights))


def _divide_outputs(model: ir.Model, node: ir.Node, factors: NDArray[np.float32]) -> None:
    weights = weights_of(node)
    norm = node.op_type == "LayerNormalization"
    axis = weights.ndim - 1 if norm else queries.weight_axis(node)
    scaled = weights / factors.reshape([-1 if i == axis else 1 for i in range(weights.ndim)])
    replace_input(model, node, WEIGHT_INPUT, add_initializer(model, f"{node_name(node)}.equalized", scaled))
    holder, index = (node, BIAS_INPUT) if norm else bias_of(node) or (node, BIAS_INPUT)
    bias = queries.constant(holder.inputs[index]) if len(holder.inputs) > index else None
    if bias is not None:
        value = add_initializer(model, f"{node_name(node)}.equalized_bias", bias / factors)
        replace_input(model, holder, index, value)
