"""Statistics of an IR → Q/DQ, as the CPU plugin of 2019 took them.

A layer of ``quantization_level="I8"`` that multiplies, adds, pools or moves numbers reads 8 bits: its inputs get one
scale for the whole tensor, from the smallest and largest of the producer's channels. Never negative: unsigned, scale =
max / 255. Else signed around zero, scale = max(|min|, |max|) / 127. Weights are signed, one scale for each output
channel; biases 32 bits, at the scale of the products. What only moves numbers (max pooling, reshaping) has the range of
what it moves, and what is joined has the range of the whole. Activations run inside the layer before them.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from fewbits.frontends.legacy_ir.build import Built, Source, preprocessing
from fewbits.frontends.legacy_ir.records import INTEGER, LEVEL, Net
from fewbits.graph import qdq, queries
from fewbits.graph.ops import BIAS_INPUT, WEIGHT_INPUT, Role, role
from fewbits.numerics import INT8, INT8_NARROW, UINT8, QParams, quantize, symmetric

Span = tuple[float, float]

_CARRIES = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Permute", "Crop", "Split", "Slice"})
_JOINS = frozenset({"Convolution", "Deconvolution", "FullyConnected", "InnerProduct", "Eltwise", "Pooling", "Concat"})
_LINEAR = ("Conv", "ConvTranspose", "Gemm")


def quantize_layers(model: ir.Model, net: Net, built: dict[int, Built]) -> list[str]:
    """Put Q/DQ where the IR says I8.

    Returns:
        Names of layers marked I8 that stay in float, because nobody says in which range their inputs lie.
    """
    work = _Work(model, net, built)
    without = []
    for made in built.values():
        if made.layer.data.get(LEVEL, "").upper() == INTEGER:
            reads = made.layer.type in _JOINS | _CARRIES
            if reads and not work.quantize(made):
                without.append(made.layer.name)
                continue
            for node in made.nodes:
                node.metadata_props[qdq.LEVEL_KEY] = INTEGER
        elif any(role(node.op_type) is Role.COMPUTE for node in made.nodes):
            for node in made.nodes:
                node.metadata_props[qdq.REASON_KEY] = "the IR keeps this layer in floating point"
    return without


class _Work:
    def __init__(self, model: ir.Model, net: Net, built: dict[int, Built]) -> None:
        self._model, self._net, self._built = model, net, built
        self._preprocess = preprocessing(net)
        self._done: dict[tuple[ir.Value, QParams], ir.Value] = {}

    def quantize(self, made: Built) -> bool:
        """Quantize what one layer reads; False, and nothing done, where a range is missing."""
        linear = next((node for node in made.nodes if node.op_type in _LINEAR), None)
        moving = [
            (feed, value)
            for feed, value in zip(made.feeds, made.inputs, strict=True)
            if not queries.is_constant(value) and queries.is_float(value)
        ]
        whole = self._own(made) if made.layer.type == "Concat" else None
        found = [_params(whole or self._span(feed)) for feed, _ in moving]
        known = [params for params in found if params is not None]
        if len(known) < len(found) or not known:
            for node in made.nodes:
                node.metadata_props[qdq.REASON_KEY] = "the IR has no statistics of what it reads"
            return False
        for (_, value), params in zip(moving, known, strict=True):
            self._feed(made, value, params, linear)
        if linear is not None:
            self._quantize_weights(linear, known[0])
        return True

    def _feed(self, made: Built, value: ir.Value, params: QParams, linear: ir.Node | None) -> None:
        """The quantizer stands next to the kernel: behind a Flatten that a FullyConnected brings along."""
        read = value if linear is None else linear.inputs[0]
        assert read is not None
        uses = [use for use in read.uses() if use.node in made.nodes]
        if (read, params) not in self._done:
            self._done[read, params] = qdq.append(self._model, read, params)
        for node, index in uses:
            node.replace_input_with(index, self._done[read, params])

    def _span(self, feed: Source) -> Span | None:
        """The smallest and largest number that a port ever gave."""
        made = source = self._built[feed[0]]
        while _carries(source) and source.feeds:
            source = self._built[source.feeds[0][0]]
        return self._own(source) or self._own(made)

    def _own(self, made: Built) -> Span | None:
        """What the statistics of one layer say."""
        extremes = self._net.statistics.get(made.layer.name)
        if extremes is None:
            return None
        low, high = (np.array(numbers, np.float64) for numbers in (extremes.minimum, extremes.maximum))
        steps = self._preprocess.get(made.layer.name)
        if steps is not None:  # the statistics of an input are of what it is fed, before mean and scale
            means, scales = (np.array([getattr(c, key) for c in steps.channels]) for key in ("mean", "scale"))
            if low.size not in (1, means.size):
                return None
            low, high = (low - means) / scales, (high - means) / scales
            low, high = np.minimum(low, high), np.maximum(low, high)
        return float(low.min()), float(high.max())

    def _quantize_weights(self, node: ir.Node, source: QParams) -> None:
        weights = queries.constant(node.inputs[WEIGHT_INPUT])
        if weights is None or not np.isfinite(weights).all():
            return
        axis = queries.weight_axis(node)
        others = tuple(i for i in range(weights.ndim) if i != axis)
        params = symmetric(np.abs(weights).max(axis=others), INT8_NARROW, axis)
        bias = queries.constant(node.inputs[BIAS_INPUT]) if len(node.inputs) > BIAS_INPUT else None
        if bias is not None:
            params = qdq.room_for_bias(params, source, bias)
            qdq.insert_bias(self._model, node, BIAS_INPUT, source, params)
        qdq.insert_constant(self._model, node, WEIGHT_INPUT, quantize(weights, params), params)


def _params(span: Span | None) -> QParams | None:
    if span is None:
        return None
    low, high = span
    return symmetric(high, UINT8) if low >= 0 else symmetric(max(-low, high), INT8)


def _carries(made: Built) -> bool:
    kind, data = made.layer.type, made.layer.data
    return kind in _CARRIES or (kind == "Pooling" and data.get("pool-method", "max").lower() == "max")
