"""Learned rounding: each layer's weights are rounded so that its outputs change least, on the inputs it really sees.

Of every quantized layer the second moments of its inputs are taken, H = E[x x^T], x being what one output reads: a
patch of the image for a convolution, a row for a linear layer. ``numerics.rounding`` then chooses the levels
(Frantar et al. 2023, "GPTQ"; the objective is that of Nagel et al. 2020, "Up or Down? Adaptive Rounding for
Post-Training Quantization"). Nothing is trained; the cost is a pass over some samples and a factorization a layer.

Where bias correction follows, H is centred: what the rounded weights shift the mean by is taken back there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from fewbits.calibration.running import run_all
from fewbits.data import Sample
from fewbits.engines import Arrays, Engine, Options
from fewbits.graph import queries
from fewbits.graph.edits import add_initializer, replace_input
from fewbits.graph.ops import WEIGHT_INPUT
from fewbits.graph.queries import node_name
from fewbits.numerics import QParams, round_weights
from fewbits.quantization.corrections import CORRECTION_SAMPLES
from fewbits.quantization.corrections.patches import Patches
from fewbits.quantization.linear import by_channel, weights_of
from fewbits.quantization.plan import QuantPlan

# Bytes of moments held at a time; more layers than fit take another pass.
_MOMENT_BYTES = 192 << 20
# Outputs looked at in each sample: in all of them four times as many as the layer has inputs, within bounds.
_ROWS_PER_INPUT = 4
_LEAST_ROWS, _MOST_ROWS = 24, 128
# Outputs whose products are summed at once: adding to a layer's moments costs as much for a few.
_ROWS_TOGETHER = 256
_SEED = 0


def learn_rounding(
    model: ir.Model,
    plan: QuantPlan,
    samples: Sequence[Sample],
    engine: Engine,
    options: Options,
    *,
    centred: bool,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> ir.Model:
    """A copy of the model whose quantized weights lie on the levels chosen; the plan's scales stay right for it.

    Args:
        centred: leave the mean error to bias correction.
        progress: called with how many of all layer passes are done.

    Raises:
        EngineError: the engine cannot run the model with its inner values as outputs.
    """
    layers = [layer for node in model.graph if (layer := _Layer.of(node, plan)) is not None]
    corrected = model.clone()
    nodes = {node_name(node): node for node in corrected.graph}
    batches = list(_batches(layers))
    total = len(batches) * len(samples)
    for index, batch in enumerate(batches):
        _observe(model, batch, samples, engine, options, partial(_report, progress, index * len(samples), total))
        for layer in batch:
            name = node_name(layer.node)
            weights = layer.rounded(plan.weights[name], centred)
            replace_input(corrected, nodes[name], WEIGHT_INPUT, add_initializer(corrected, f"{name}.learned", weights))
            layer.moments = layer.sums = None
    return corrected


def _report(progress: Callable[[int, int], None], before: int, total: int, done: int) -> None:
    progress(before + done, total)


@dataclass(eq=False)
class _Layer:
    """A layer and what was seen of its inputs: [G, D, D] sums of products, [G, D] sums, how many.

    Inputs that wait to be summed are [G, D, n].
    """

    node: ir.Node
    source: str
    patches: Patches
    groups: int
    inputs: int
    moments: NDArray[np.float32] | None = None
    sums: NDArray[np.float64] | None = None
    count: int = 0
    waiting: list[NDArray[np.float32]] = field(default_factory=list)
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(_SEED))

    @classmethod
    def of(cls, node: ir.Node, plan: QuantPlan) -> _Layer | None:
        """None where there is nothing to learn: no plan for it, or a kind of layer whose inputs overlap otherwise."""
        if node_name(node) not in plan.weights or node.inputs[0] is None:
            return None
        view, patches = by_channel(node, weights_of(node)), Patches.of(node)
        if view is None or patches is None:
            return None
        groups, _, channels, kernel = view.shape
        return cls(node, node.inputs[0].name or "", patches, groups, channels * kernel)

    @property
    def nbytes(self) -> int:
        return 4 * self.groups * self.inputs**2

    def see(self, value: NDArray[np.float32]) -> None:
        wanted = min(max(_ROWS_PER_INPUT * self.inputs // CORRECTION_SAMPLES, _LEAST_ROWS), _MOST_ROWS)
        rows = self.patches.draw(value, wanted, self.rng)  # [C, K, n]
        self.waiting.append(rows.reshape(self.groups, self.inputs, -1))
        if sum(part.shape[2] for part in self.waiting) >= _ROWS_TOGETHER:
            self._add_up()

    def _add_up(self) -> None:
        if not self.waiting:
            return
        rows = np.concatenate(self.waiting, axis=2)
        self.waiting.clear()
        if self.moments is None or self.sums is None:
            self.moments = np.zeros((self.groups, self.inputs, self.inputs), np.float32)
            self.sums = np.zeros((self.groups, self.inputs))
        with np.errstate(over="ignore", invalid="ignore"):  # ``rounded`` looks whether they are finite
            self.moments += rows @ rows.transpose(0, 2, 1)
        self.sums += rows.sum(axis=2)
        self.count += rows.shape[2]

    def rounded(self, params: QParams, centred: bool) -> NDArray[np.float32]:
        """The weights on the chosen levels, in their own shape."""
        weights = weights_of(self.node)
        self._add_up()
        if self.moments is None or self.sums is None or not np.isfinite(self.moments).all():
            return weights  # nothing was seen, or numbers whose squares are beyond single precision
        moments = self.moments.astype(np.float64) / self.count
        if centred:
            means = self.sums / self.count
            moments -= means[:, :, None] * means[:, None, :]
        out = np.empty_like(weights)
        source, target = by_channel(self.node, weights), by_channel(self.node, out)
        if source is None or target is None:
            raise ValueError(f"{node_name(self.node)} has no input channels of its own")
        flat = source.reshape(*source.shape[:2], -1)
        scale = np.broadcast_to(params.scale, weights.shape[queries.weight_axis(self.node)]).reshape(flat.shape[:2])
        levels = round_weights(flat, moments, scale, params.format.qmin, params.format.qmax)
        target[...] = (levels.astype(np.float32) * scale[:, :, None]).reshape(target.shape)
        return out


def _batches(layers: Sequence[_Layer]) -> Iterator[list[_Layer]]:
    """Layers whose moments are held at one time; one that is too large alone is a batch of its own."""
    batch: list[_Layer] = []
    for layer in layers:
        if batch and sum(other.nbytes for other in batch) + layer.nbytes > _MOMENT_BYTES:
            yield batch
            batch = []
        batch.append(layer)
    if batch:
        yield batch


def _observe(
    model: ir.Model,
    layers: Sequence[_Layer],
    samples: Sequence[Sample],
    engine: Engine,
    options: Options,
    progress: Callable[[int], None],
) -> None:
    """Run the samples and let each layer see its input."""
    probe = model.clone()
    inputs = {value.name for value in probe.graph.inputs}
    values = {value.name: value for node in probe.graph for value in node.outputs}
    wanted = dict.fromkeys(layer.source for layer in layers if layer.source not in inputs)
    probe.graph.outputs[:] = [values[name] for name in wanted] or list(probe.graph.outputs)
    session = engine.compile(probe, replace(options, mode="latency"))

    def see(_: int, index: int, outputs: Arrays) -> None:
        for layer in layers:
            layer.see(outputs[layer.source] if layer.source in outputs else samples[index].inputs[layer.source])

    try:
        run_all(session, samples, see, progress)
    finally:
        session.close()
