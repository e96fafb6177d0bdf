"""What one output number of a layer reads: a patch under a convolution's kernel, a row before a matrix."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from fewbits.graph import queries
from fewbits.graph.ops import WEIGHT_INPUT


@dataclass(frozen=True)
class Patches:
    """The geometry of a convolution over any number of spatial axes; none at all for a matrix.

    Args:
        kernel, strides, dilations, pads: as in ONNX, pads before all axes and then after all axes.
    """

    kernel: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    dilations: tuple[int, ...] = ()
    pads: tuple[int, ...] = ()

    @classmethod
    def of(cls, node: ir.Node) -> Patches | None:
        """None for layers without patches of a fixed place: ConvTranspose, padding that follows the input's size."""
        if node.op_type in ("Gemm", "MatMul"):
            return cls()
        auto = node.attributes["auto_pad"].as_string() if "auto_pad" in node.attributes else "NOTSET"
        if node.op_type != "Conv" or auto not in ("NOTSET", "VALID"):
            return None
        kernel = tuple(size or 0 for size in queries.dims_or_raise(node.inputs[WEIGHT_INPUT])[2:])

        def ints(name: str, default: int, count: int) -> tuple[int, ...]:
            return tuple(node.attributes[name].as_ints()) if name in node.attributes else (default,) * count

        rank = len(kernel)
        return cls(kernel, ints("strides", 1, rank), ints("dilations", 1, rank), ints("pads", 0, 2 * rank))

    def draw(self, value: NDArray[np.float32], most: int, rng: np.random.Generator) -> NDArray[np.float32]:
        """Patches at random places: [1, C, ...] -> [C, K, n]; rows of [..., C] -> [C, 1, n]. n is ``most`` or fewer.

        They are copies; an engine may use the memory of ``value`` for its next run.
        """
        if not self.kernel:
            rows = value.reshape(-1, value.shape[-1])
            picked = rows.copy() if len(rows) <= most else rows[rng.choice(len(rows), most, replace=False)]
            return picked.T[:, None, :]
        rank = len(self.kernel)
        padded = value[0]
        if any(self.pads):
            padded = np.pad(padded, ((0, 0), *zip(self.pads[:rank], self.pads[rank:], strict=True)))
        space = padded.shape[1:]
        reach = [d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilations, strict=True)]
        places = [(size - r) // s + 1 for size, r, s in zip(space, reach, self.strides, strict=True)]
        total = math.prod(places)
        picked = rng.choice(total, min(most, total), replace=False)
        corners = np.stack(np.unravel_index(picked, places)) * np.array(self.strides)[:, None]  # [rank, n]
        steps = np.stack(np.unravel_index(np.arange(math.prod(self.kernel)), self.kernel))
        steps *= np.array(self.dilations)[:, None]  # [rank, K]
        index = np.ravel_multi_index(tuple(corners[:, None, :] + steps[:, :, None]), space)  # [K, n]
        return np.asarray(padded.reshape(padded.shape[0], -1)[:, index])
