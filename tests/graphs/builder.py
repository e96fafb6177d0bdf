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
from onnx import helper, numpy_helper

from .steps import Array, Step
from .values import Input, NoFitError, Style, Value


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
    named: int = 0

    @property
    def opset(self) -> int:
        return self.style.opset

    # --- drawing ---

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def one_of(self, *choices: Any) -> Any:
        if not choices:
            raise NoFitError("nothing to choose from")
        return choices[self.random.randrange(len(choices))]

    def rng(self) -> np.random.Generator:
        return np.random.default_rng(self.random.getrandbits(32))

    def since(self, opset: int) -> None:
        if self.opset < opset:
            raise NoFitError

    def need(self, condition: object) -> None:
        if not condition:
            raise NoFitError

    def value_of(self, values: Sequence[Value]) -> Value:
        """One of these."""
        chosen: Value = self.one_of(*values)
        return chosen

    def pick(self, fits: Callable[[Value], bool] = lambda v: v.is_float, *, constants: bool = False) -> Value:
        """A value in scope, most often the latest that fits."""
        found = [value for value in self.scope if (constants or not value.constant) and fits(value)]
        self.need(found)
        return found[-1] if self.chance(0.6) else self.value_of(found)

    def floats(self, *ranks: int) -> Value:
        """A float activation of one of these ranks, made from another where there is none; of any by default."""

        def fits(v: Value) -> bool:
            return v.is_float and v.probes[0].size > 0

        if ranks and not any(fits(v) and v.rank in ranks and not v.constant for v in self.scope):
            return self._reshaped(self.pick(fits), self.one_of(*ranks))
        return self.pick(lambda v: fits(v) and (not ranks or v.rank in ranks))

    def integers(self, kinds: tuple[Any, ...] = (np.int64, np.int32)) -> Value:
        """Whole numbers in scope, or a new input of them."""
        found = [v for v in self.scope if v.dtype in kinds and v.rank in (1, 2) and v.probes[0].size and not v.constant]
        if found:
            return self.value_of(found)
        return self.add_input("ids", [self.style.batch, 6], self.one_of("ids64:16", "ids32:16"))

    def _reshaped(self, x: Value, rank: int) -> Value:
        """[N, C, H, W] → [N, CHW] or [N, C, HW]; ones at the end, or two axes of one, where the rank is larger."""
        self.need(x.rank >= 1 and rank >= 1)
        if rank < x.rank:
            sizes = [0] * (rank - 1) + [-1]
            self.need(rank > 1 or x.dims[0] is not None)
            if rank == 2 and None not in x.dims[1:]:
                sizes = [-1, math.prod(x.shape[1:])]
            return self.op("Reshape", x, self.ints(*sizes))
        ones = [1] * (rank - x.rank)
        known = x.dims[-1]
        if len(ones) == 2 and known and known % 4 == 0 and x.rank == 2 and self.chance(0.7):
            return self.op("Reshape", x, self.ints(0, known // 4, 2, 2))
        return self.op("Reshape", x, self.ints(*[0] * x.rank, *ones))

    def of_batch(self, constant: Value, x: Value) -> Value:
        """A constant [1, …] repeated for every row of x."""
        if x.dims[0] == 1:
            return constant
        self.since(8)
        size = self.op("Gather", self.op("Shape", x), self.ints(0), axis=0)
        ones = self.ints(*[1] * (constant.rank - 1)) if constant.rank > 1 else None
        return self.op("Expand", constant, size if ones is None else self.op("Concat", size, ones, axis=0))

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
            node = helper.make_node("Constant", [], [value.name], **self._held(array, tensor))
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
        domain: str = "",
        anything: bool = False,
        **attributes: Any,
    ) -> Value:
        """Append an operator of one output and run it on the probes; see ``ops``."""
        [value] = self.ops(kind, *inputs, outputs=1, domain=domain, anything=anything, **attributes)
        return value

    def ops(
        self,
        kind: str,
        *inputs: Value | str | None,
        outputs: int,
        domain: str = "",
        anything: bool = False,
        **attributes: Any,
    ) -> tuple[Value, ...]:
        """Append an operator and run it on the probes.

        Args:
            anything: whether its numbers may be large, tiny or not finite.

        Raises:
            NoFitError: ONNX Runtime does not run it.
        """
        names = [self.fresh(kind.lower()) for _ in range(outputs)]
        return self.run([self.node(kind, inputs, names, domain, **attributes)], names, anything=anything)

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

    def _held(self, array: Array, tensor: onnx.TensorProto) -> dict[str, Any]:
        """How a Constant node holds it: as a tensor, or by the short forms of opset 12."""
        if (
            self.opset >= 12
            and array.ndim <= 1
            and array.size
            and array.dtype in (np.float32, np.int64)
            and self.chance(0.4)
        ):
            kind = "float" if array.dtype == np.float32 else "int"
            return {f"value_{kind}s": array.tolist()} if array.ndim else {f"value_{kind}": array.item()}
        return {"value": tensor}

    def _name(self, node: onnx.NodeProto) -> None:
        count = self.named = self.named + 1
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
