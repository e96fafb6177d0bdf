"""A graph under construction: every value is known on probes, so that recipes need no shape arithmetic of their own."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from .steps import Array, Step

F32 = np.dtype(np.float32)
I64 = np.dtype(np.int64)


class NoFitError(Exception):
    """A recipe finds nothing in scope that it could read, or drew what does not run."""


@dataclass(frozen=True)
class Value:
    """A value of the graph, and what it is on every probe (an assignment of sizes to the free dimensions)."""

    name: str
    probes: tuple[Array, ...]
    constant: bool = False

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.probes[0].dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """On the first probe."""
        return self.probes[0].shape

    @property
    def rank(self) -> int:
        return self.probes[0].ndim

    @property
    def dims(self) -> tuple[int | None, ...]:
        """Sizes, None where the probes differ."""
        return tuple(
            sizes[0] if len(set(sizes)) == 1 else None for sizes in zip(*(p.shape for p in self.probes), strict=True)
        )

    @property
    def is_float(self) -> bool:
        return self.dtype == F32


@dataclass(frozen=True)
class Input:
    """An input of the graph: free dimensions by name, and how its numbers are drawn."""

    name: str
    dims: tuple[int | str, ...]
    kind: str

    @property
    def batched(self) -> bool:
        return bool(self.dims) and self.dims[0] in ("N", 1)

    def draw(self, rng: np.random.Generator, sizes: dict[str, int]) -> Array:
        """Numbers a person would feed: bounded normal ones, positions, masks, grey values, lengths."""
        shape = tuple(sizes[dim] if isinstance(dim, str) else dim for dim in self.dims)
        if self.kind == "mask":  # at least one place of every row is open
            mask = rng.random(shape) < 0.7
            if mask.ndim:
                mask[..., 0] = True
            return mask.astype(np.float32)
        if self.kind == "bool":
            return np.asarray(rng.random(shape) < 0.6)
        if self.kind == "uint8":
            return rng.integers(0, 256, shape).astype(np.uint8)
        if self.kind.startswith("ids"):  # ids32:11 are int32 positions below 11
            dtype, below = self.kind[3:].split(":")
            return np.asarray(rng.integers(0, int(below), shape)).astype("int32" if dtype == "32" else "int64")
        numbers = np.clip(rng.standard_normal(shape), -2.5, 2.5)
        return np.asarray(numbers).astype({"f16": np.float16, "f64": np.float64}.get(self.kind, np.float32))


@dataclass
class Style:
    """What a whole graph has in common."""

    opset: int
    batch: int | str = "N"
    constants: str = "initializer"  # or "node", "mixed", "ir3"
    names: str = "plain"  # or "hostile", "paths", "unnamed"
    probes: tuple[dict[str, int], ...] = ({},)


@dataclass
class Builder:
    """Nodes, constants and values so far; recipes add to it through ``op`` and ``const``."""

    random: Random
    style: Style
    inputs: list[Input] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    initializers: list[onnx.TensorProto] = field(default_factory=list)
    functions: list[onnx.FunctionProto] = field(default_factory=list)
    scope: list[Value] = field(default_factory=list)
    known: dict[str, Value] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)

    @property
    def opset(self) -> int:
        return self.style.opset

    # --- drawing ---

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def one_of(self, *choices: Any) -> Any:
        return choices[self.random.randrange(len(choices))]

    def rng(self) -> np.random.Generator:
        return np.random.default_rng(self.random.getrandbits(32))

    def since(self, opset: int) -> None:
        if self.opset < opset:
            raise NoFitError

    def need(self, condition: object) -> None:
        if not condition:
            raise NoFitError

    def pick(self, fits: Callable[[Value], bool] = lambda v: v.is_float, *, constants: bool = False) -> Value:
        """A value in scope, most often the latest that fits."""
        found = [value for value in self.scope if (constants or not value.constant) and fits(value)]
        self.need(found)
        return found[-1] if self.chance(0.6) else self.one_of(*found)

    def floats(self, *ranks: int) -> Value:
        """A float activation of one of these ranks; of any where none is named."""
        return self.pick(lambda v: v.is_float and v.probes[0].size > 0 and (not ranks or v.rank in ranks))

    # --- adding ---

    def fresh(self, hint: str) -> str:
        base = hint
        if self.style.names == "paths":
            base = f"/block.{len(self.steps)}/{hint}_output_0"
        elif self.style.names == "hostile" and self.scope:
            suffix = self.one_of(
                "_scale", "_zero_point", "_quantized", "_dequantized", "_scale_1", "_fp16", "_cast", ""
            )
            base = f"{self.one_of(*self.scope[-3:]).name}{suffix}" if suffix else hint
        name, count = base, 0
        while name in self.taken:
            count += 1
            name = f"{base}_{count}"
        self.taken.add(name)
        return name

    def const(self, numbers: Any, dtype: Any = np.float32, hint: str = "w") -> Value:
        """A constant, as an initializer or a Constant node."""
        array = np.asarray(numbers, dtype)
        value = Value(self.fresh(hint), (array,) * len(self.style.probes), constant=True)
        tensor = numpy_helper.from_array(array, value.name)
        if self.style.constants == "node" or (self.style.constants == "mixed" and self.chance(0.5)):
            node = helper.make_node("Constant", [], [value.name], value=tensor)
            self._name(node)
            self.steps.append(Step([node], [value.name]))
        else:
            self.initializers.append(tensor)
        self.known[value.name] = value
        return value

    def weight(self, *shape: int, fan_in: int | None = None, hint: str = "w") -> Value:
        """Normal numbers of unit gain."""
        gain = 1 / math.sqrt(max(fan_in if fan_in is not None else math.prod(shape[1:]), 1))
        return self.const(self.rng().normal(0, gain, shape), hint=hint)

    def vector(self, size: int, low: float = -0.5, high: float = 0.5, hint: str = "b") -> Value:
        return self.const(self.rng().uniform(low, high, (size,)), hint=hint)

    def ints(self, *numbers: int) -> Value:
        return self.const(numbers, np.int64, "axes")

    def node(
        self,
        kind: str,
        inputs: Sequence[Value | str | None],
        outputs: Sequence[str],
        domain: str = "",
        **attributes: Any,
    ) -> onnx.NodeProto:
        names = [v.name if isinstance(v, Value) else v or "" for v in inputs]
        while names and not names[-1]:
            names.pop()
        attributes = {key: value for key, value in attributes.items() if value is not None}
        node = helper.make_node(kind, names, list(outputs), domain=domain, **attributes)
        self._name(node)
        return node

    def op(
        self,
        kind: str,
        *inputs: Value | str | None,
        outputs: int = 1,
        domain: str = "",
        anything: bool = False,
        **attributes: Any,
    ) -> Any:
        """Append an operator and run it on the probes; its values, one alone or a tuple.

        Args:
            anything: whether its numbers may be large, tiny or not finite.

        Raises:
            NoFitError: ONNX Runtime does not run it.
        """
        names = [self.fresh(kind.lower()) for _ in range(outputs)]
        found = self.run([self.node(kind, inputs, names, domain, **attributes)], names, anything=anything)
        return found[0] if outputs == 1 else found

    def run(
        self,
        nodes: Sequence[onnx.NodeProto],
        outputs: Sequence[str],
        functions: Sequence[onnx.FunctionProto] = (),
        *,
        anything: bool = False,
    ) -> tuple[Value, ...]:
        """Append nodes that run as one step."""
        step = Step(nodes, outputs, functions)
        results = []
        for index in range(len(self.style.probes)):
            try:
                results.append(step.run(self.opset, {name: self.known[name].probes[index] for name in step.inputs}))
            except Exception as error:  # pybind raises several types of its own
                raise NoFitError(str(error)) from error
        self.steps.append(step)
        self.functions += functions
        constant = all(self.known[name].constant for name in step.inputs)
        values = tuple(Value(n, tuple(r[i] for r in results), constant) for i, n in enumerate(outputs))
        for value in values:
            self._check(value, anything)
            self.known[value.name] = value
        return values

    def add_input(self, hint: str, dims: Sequence[int | str], kind: str) -> Value:
        made = Input(self.fresh(hint), tuple(dims), kind)
        rng = self.rng()
        value = Value(made.name, tuple(made.draw(rng, sizes) for sizes in self.style.probes))
        self.inputs.append(made)
        self.known[value.name] = value
        self.scope.append(value)
        return value

    @contextlib.contextmanager
    def attempt(self) -> Iterator[None]:
        """Everything a recipe adds, or nothing of it where it raises NoFitError."""
        marks = [(part, len(part)) for part in (self.inputs, self.steps, self.initializers, self.functions, self.scope)]
        known, taken = dict(self.known), set(self.taken)
        try:
            yield
        except NoFitError:
            for part, length in marks:
                del part[length:]
            self.known, self.taken = known, taken
            raise

    def _name(self, node: onnx.NodeProto) -> None:
        count = len(self.steps)
        node.name = {"unnamed": "", "paths": f"/block.{count}/{node.op_type}"}.get(self.style.names, f"n{count}")
        if self.style.names == "hostile" and node.input and node.input[0]:
            node.name = (
                f"{node.input[0]}_{self.one_of('QuantizeLinear', 'DequantizeLinear', 'quantized', 'Cast')}{count}"
            )

    def _check(self, value: Value, anything: bool) -> None:
        """Numbers stay moderate: what explodes, vanishes or is not a number is no test of anything."""
        for array in value.probes:
            self.need(array.size <= 40_000)
            self.need(array.dtype.kind in "fiub")
            if array.dtype.kind == "f" and array.size and not anything:
                self.need(np.isfinite(array).all())
                largest = float(np.abs(array).max())
                self.need(largest < 1e3 or value.constant)
                self.need(largest > 1e-3 or value.constant)


def element_type(value: Value) -> int:
    return int(helper.np_dtype_to_tensor_dtype(value.dtype)) or int(TensorProto.FLOAT)
