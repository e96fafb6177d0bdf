"""Draw a graph: a few inputs, two to eight recipes, a layer with weights among them, and outputs: what is unread."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import numpy as np
import onnx
from onnx import helper

from .builder import Builder
from .recipes import COMPUTE, FAMILIES, Recipe
from .steps import Array, Step, as_element_type, opset_imports
from .values import Input, NoFitError, Style

OPSETS = (*range(7, 24), 7, 8, 9, 9, 11, 13, 13, 14, 17, 17, 17, 18, 20, 21, 23, 23)
TRIES = 12
Arrays = dict[str, Array]


@dataclass(frozen=True)
class Drawn:
    """A graph in parts, from which the model is put together.

    Attributes:
        outputs: names, in order.
        sizes: (first, other) sizes of the free dimensions; the batch of the first is 1.
        known: an array of every value that is an input or an output, for its type and rank.
    """

    style: Style
    inputs: tuple[Input, ...]
    steps: tuple[Step, ...]
    initializers: tuple[onnx.TensorProto, ...]
    functions: tuple[onnx.FunctionProto, ...]
    outputs: tuple[str, ...]
    known: dict[str, Array]

    @property
    def nodes(self) -> list[onnx.NodeProto]:
        return [node for step in self.steps for node in step.nodes]

    def model(self) -> onnx.ModelProto:
        """The ONNX model; free dimensions of outputs have no name."""
        opset = self.style.opset
        inputs = [
            helper.make_tensor_value_info(i.name, as_element_type(self.known[i.name]), list(i.dims))
            for i in self.inputs
        ]
        outputs = [
            helper.make_tensor_value_info(name, as_element_type(self.known[name]), [None] * self.known[name].ndim)
            for name in self.outputs
        ]
        if self.style.constants == "ir3":
            inputs += [helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)) for t in self.initializers]
        graph = helper.make_graph(self.nodes, "graph", inputs, outputs, list(self.initializers))
        inner = [node for function in self.functions for node in function.node]
        imports = opset_imports(opset, [*self.nodes, *inner])
        return helper.make_model(
            graph, opset_imports=imports, ir_version=self._ir_version, functions=list(self.functions)
        )

    @property
    def _ir_version(self) -> int:
        if self.functions:
            return 10 if self.style.opset >= 21 else 8
        if self.style.constants == "ir3":
            return 3
        oldest = next(
            ir
            for last, ir in ((8, 3), (9, 4), (10, 5), (11, 6), (14, 7), (18, 8), (20, 9), (22, 10), (99, 11))
            if self.style.opset <= last
        )
        return max(oldest, 4)

    @property
    def batched(self) -> bool:
        """Whether every input has a batch of one or any size first: samples are then rows of [1, …]."""
        return all(i.batched for i in self.inputs)

    def feed(self, rng: np.random.Generator, sizes: dict[str, int]) -> Arrays:
        return {i.name: i.draw(rng, sizes) for i in self.inputs}

    def rows(self, rng: np.random.Generator, count: int) -> list[Arrays]:
        """Samples as fewbits is given them: batch 1."""
        return [self.feed(rng, self.first_sizes) for _ in range(count)]

    @property
    def first_sizes(self) -> dict[str, int]:
        return {**self.style.probes[0], "N": 1}

    @property
    def other_sizes(self) -> dict[str, int]:
        return {**self.style.probes[-1], "N": 3}

    def save(self, path: Path) -> None:
        path.write_bytes(self.model().SerializeToString())


def draw(random: Random) -> Drawn:
    """A graph that ONNX Runtime runs.

    Raises:
        NoFitError: what was drawn came to nothing.
    """
    opset = random.choice(OPSETS)
    constants = random.choice(("initializer", "initializer", "node", "mixed", *(["ir3", "ir3"] if opset <= 9 else [])))
    names = random.choice(("plain", "plain", "hostile", "paths", "unnamed"))
    batch = random.choice(("N", "N", 1))
    free = random.random() < 0.15
    style = Style(opset, batch, constants, names)
    sizes = [{"N": 2}, {"N": 3}] if batch == "N" else [{}]
    if free:
        more = {"T": (5, 7), "H": (6, 8), "W": (8, 10)}
        sizes = [{**sizes[0], **{k: v[i] for k, v in more.items()}} for i, _ in enumerate("ab")]
        if batch == "N":
            sizes = [{**sizes[0], "N": 2}, {**sizes[1], "N": 3}]
    style.probes = tuple(sizes)
    b = Builder(random, style)
    _inputs(b, batch, free)
    layers = 0
    for place in range(random.randint(2, 7)):
        must = layers == 0 and place >= 1
        layers += _recipe(b, compute=must or random.random() < 0.2)
    if not layers and random.random() < 0.9 and not _recipe(b, compute=True):
        raise NoFitError("no layer with weights")
    return finish(b)


def _inputs(b: Builder, batch: int | str, free: bool) -> None:
    kind = b.one_of("image", "image", "image", "tokens", "tokens", "features", "ids", "signal", "volume", "bare")
    size = b.one_of(6, 7, 8, 9)
    dims: dict[str, list[int | str]] = {
        "image": [batch, b.one_of(1, 3, 3, 4), *(("H", "W") if free else (size, b.one_of(size, size, 8)))],
        "tokens": [batch, "T" if free else b.one_of(4, 5, 6), b.one_of(6, 8)],
        "features": [batch, b.one_of(8, 12, 16)],
        "ids": [batch, "T" if free else 6],
        "signal": [batch, b.one_of(2, 3), "W" if free else 12],
        "volume": [batch, 2, 4, 5, 4],
        "bare": b.one_of([3, 8, 8], [12], [5, 6], [2, 3, 4]),
    }
    first = dims[kind]
    b.add_input(
        {"ids": "ids", "image": b.one_of("x", "input", "images", "image.1")}.get(kind, "x"),
        first,
        "ids64:16" if kind == "ids" else "f32",
    )
    if kind == "image" and b.chance(0.06):
        for part in (b.inputs, b.scope, b.known):
            part.clear()
        b.add_input("x", first, b.one_of("uint8", "f16", "f64"))
        b.scope.append(b.op("Cast", b.scope[0], to=1, anything=True))
        if b.inputs[0].kind == "uint8":
            b.scope.append(b.op("Mul", b.scope.pop(), b.const(1 / 128, hint="c")))
    for _ in range(b.one_of(0, 0, 0, 0, 1, 1, 2)):
        extra = b.one_of("same", "mask", "ids", "ids", "bool", "features", "scalar")
        if extra == "same":
            b.add_input("x", first, b.inputs[0].kind)
        elif extra in ("mask", "bool"):
            b.add_input("mask", first[:2], extra)
        elif extra == "ids":
            b.add_input("ids", [batch, 6] if b.chance(0.7) else [batch], b.one_of("ids64:16", "ids32:16", "ids64:5"))
        elif extra == "features":
            b.add_input("z", [batch, 8], "f32")
        else:
            b.add_input("t", [] if b.chance(0.5) else [1], "f32")


def _recipe(b: Builder, *, compute: bool) -> bool:
    """Add one recipe; False where none of those drawn fit."""
    for _ in range(TRIES):
        table: Mapping[str, Recipe] = COMPUTE
        if not compute:
            families = list(FAMILIES.values())
            _, table = b.random.choices(families, [weight for weight, _ in families])[0]
        name = b.one_of(*table)
        try:
            with b.attempt():
                made = table[name](b)
                values = [made] if not isinstance(made, tuple) else list(made)
                b.need(all(v.probes[0].ndim <= 6 for v in values))
                if all(v.constant for v in values):
                    b.need(b.chance(0.2))
                b.scope += values
        except NoFitError:
            continue
        return (
            compute
            or table is COMPUTE
            or any(n.op_type in ("Conv", "Gemm", "MatMul") for s in b.steps[-4:] for n in s.nodes)
        )
    return False


def finish(b: Builder) -> Drawn:
    """What is built so far as a graph; its outputs are the values nothing reads, and now and then one that is read."""
    read = {name for step in b.steps for name in step.inputs}
    names = [v.name for v in b.scope if v.name not in read and not _is_input(b, v.name)]
    if not names:
        raise NoFitError("nothing is left unread")
    read_too = [v.name for v in b.scope if v.name in read and not v.constant and not _is_input(b, v.name)]
    if read_too and b.chance(0.15):
        names.append(b.one_of(*read_too))
    if b.chance(0.02):
        names.append(b.inputs[0].name)
    b.random.shuffle(names)
    used = [i for i in b.inputs if i.name in read or i.name in names or b.chance(0.1)]
    if not used:
        raise NoFitError("no input is read")
    known = {name: b.known[name].probes[0] for name in (*names, *(i.name for i in used))}
    style = replace(b.style)
    return Drawn(style, tuple(used), tuple(b.steps), tuple(b.initializers), tuple(b.functions), tuple(names), known)


def _is_input(b: Builder, name: str) -> bool:
    return any(i.name == name for i in b.inputs)


def graph(seed: int) -> Drawn:
    """The graph of a number."""
    random = Random(seed)
    while True:
        try:
            return draw(random)
        except NoFitError:
            continue
