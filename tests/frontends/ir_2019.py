"""IRs of 2019 written by hand for tests: independent of what fewbits itself writes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import quoteattr

import numpy as np

from models import Array

_PRECISIONS = {"float32": "FP32", "float16": "FP16", "int32": "I32", "int64": "I64", "uint8": "U8"}


@dataclass
class Ir:
    """Layers one after the other; a reference is (layer id, port id)."""

    version: int = 6
    precision: str = "FP32"
    layers: list[str] = field(default_factory=list)
    edges: list[str] = field(default_factory=list)
    tail: str = ""
    bin: bytes = b""

    def input(self, *dims: int, name: str = "x") -> tuple[int, int]:
        return self.add("Input", name, [], dims)

    def const(self, name: str, array: Array) -> tuple[int, int]:
        return self.add("Const", name, [], array.shape or (1,), custom=array)

    def add(
        self,
        kind: str,
        name: str,
        feeds: list[tuple[int, int]],
        *outs: tuple[int, ...],
        data: dict[str, object] | None = None,
        **blobs: Array,
    ) -> tuple[int, int]:
        number, count = len(self.layers), len(feeds)
        precision = next((_PRECISIONS[str(a.dtype)] for a in blobs.values()), self.precision)
        attributes = "".join(f" {key}={quoteattr(str(value))}" for key, value in (data or {}).items())
        inputs = "".join(f'<port id="{i}"/>' for i in range(count))
        ports = [(count + i, "".join(f"<dim>{d}</dim>" for d in dims)) for i, dims in enumerate(outs)]
        outputs = "".join(f'<port id="{i}">{dims}</port>' for i, dims in ports)
        parts = ""
        for what, array in blobs.items():
            parts += f'<{what} offset="{len(self.bin)}" size="{array.nbytes}"/>'
            self.bin += array.tobytes()
        self.layers.append(
            f'<layer id="{number}" name={quoteattr(name)} precision="{precision}" type="{kind}">'
            f"<data{attributes}/><input>{inputs}</input><output>{outputs}</output><blobs>{parts}</blobs></layer>"
        )
        for i, (layer, port) in enumerate(feeds):
            self.edges.append(f'<edge from-layer="{layer}" from-port="{port}" to-layer="{number}" to-port="{i}"/>')
        return number, count

    @property
    def text(self) -> str:
        layers, edges = "\n".join(self.layers), "\n".join(self.edges)
        head = f'<?xml version="1.0"?>\n<net name="net" version="{self.version}" batch="1">'
        return f"{head}\n<layers>\n{layers}\n</layers>\n<edges>\n{edges}\n</edges>\n{self.tail}</net>\n"

    def write(self, folder: Path) -> Path:
        path = folder / "net.xml"
        path.write_text(self.text, encoding="utf-8")
        path.with_suffix(".bin").write_bytes(self.bin)
        return path


def drawn(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)
