"""What an adapter sees of the graph around a node, and how it writes nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from fewbits.errors import ModelError

Node = onnx.NodeProto
# Takes a node as the version before wrote it and gives the nodes that say the same in the table's version.
Adapter = Callable[[Node, "Scope"], list[Node]]


class Names:
    """Names that no value of the model bears."""

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken = set(taken)

    def fresh(self, name: str) -> str:
        """``name``, with a counter behind it where it is taken."""
        made, counter = name, 0
        while made in self._taken:
            counter += 1
            made = f"{name}_{counter}"
        self._taken.add(made)
        return made


class Scope:
    """Types and constants that are visible at a node, those of the graphs around it included.

    Args:
        types: of values of this graph, as far as inference knows them.
        constants: small tensors of this graph.
        names: the model's, shared by all its graphs.
    """

    def __init__(
        self,
        types: Mapping[str, onnx.TypeProto],
        constants: MutableMapping[str, onnx.TensorProto],
        names: Names,
        outer: Scope | None = None,
    ) -> None:
        self.names = names
        self._types, self._constants, self._outer = types, constants, outer

    def shape(self, name: str) -> tuple[int | None, ...] | None:
        """The sizes of a value, None for a free one; None where the number of axes is not known."""
        found = self._type(name)
        if found is None or not found.tensor_type.HasField("shape"):
            return None
        return tuple(d.dim_value if d.HasField("dim_value") else None for d in found.tensor_type.shape.dim)

    def rank(self, name: str) -> int | None:
        """The number of axes of a value."""
        shape = self.shape(name)
        return None if shape is None else len(shape)

    def dtype(self, name: str) -> int:
        """The element type of a value; 0 where it is not known."""
        found = self._type(name)
        return 0 if found is None else int(found.tensor_type.elem_type)

    def constant(self, name: str) -> NDArray[Any] | None:
        """The numbers of a value that is known before the model runs."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope._constants:
                return numpy_helper.to_array(scope._constants[name])
            scope = scope._outer
        return None

    def node(self, op: str, inputs: Sequence[str], near: Node, **attributes: Any) -> Node:
        """A node with one output of its own, named after the node it is made for."""
        result = self.names.fresh(f"{next((o for o in near.output if o), near.op_type)}.{op.lower()}")
        return helper.make_node(op, list(inputs), [result], name=result, **attributes)

    def const(self, array: NDArray[Any] | Sequence[int], near: Node) -> Node:
        """A Constant node; whole numbers become int64."""
        tensor = numpy_helper.from_array(np.asarray(array) if isinstance(array, np.ndarray) else np.array(array, "i8"))
        made = self.node("Constant", [], near, value=tensor)
        self._constants[made.output[0]] = tensor
        return made

    def const_like(self, number: float, like: str, near: Node) -> list[Node]:
        """Nodes whose last one gives a scalar of the type of the value ``like``."""
        dtype = self.dtype(like)
        if dtype:
            array = np.array(number, helper.tensor_dtype_to_np_dtype(dtype))
            return [self.const(array, near)]
        scalar = self.const(np.array(number, np.float32), near)
        return [scalar, self.node("CastLike", [scalar.output[0], like], near)]

    def _type(self, name: str) -> onnx.TypeProto | None:
        scope: Scope | None = self
        while scope is not None:
            if name in scope._types:
                return scope._types[name]
            scope = scope._outer
        return None


def refuse(node: Node, what: str) -> ModelError:
    """The error for a node that has no equivalent in later versions."""
    name = node.name or next((o for o in node.output if o), "")
    return ModelError(f"{node.op_type} '{name}' {what}", fix="export the model again with opset 17 or later")


def drop(node: Node, *names: str) -> None:
    """Take attributes off a node."""
    kept = [attribute for attribute in node.attribute if attribute.name not in names]
    del node.attribute[:]
    node.attribute.extend(kept)


def get(node: Node, name: str, default: Any = None) -> Any:
    """The value of an attribute; text is decoded."""
    for attribute in node.attribute:
        if attribute.name == name:
            value = helper.get_attribute_value(attribute)
            return value.decode() if isinstance(value, bytes) else value
    return default


def take(node: Node, name: str, default: Any = None) -> Any:
    """The value of an attribute, which goes."""
    value = get(node, name, default)
    drop(node, name)
    return value


def put(node: Node, **attributes: Any) -> None:
    """Set attributes."""
    drop(node, *attributes)
    node.attribute.extend(helper.make_attribute(name, value) for name, value in attributes.items())


def set_inputs(node: Node, *inputs: str) -> None:
    """Set all inputs; empty ones at the end go."""
    del node.input[:]
    node.input.extend(inputs)
    while node.input and not node.input[-1]:
        node.input.pop()
