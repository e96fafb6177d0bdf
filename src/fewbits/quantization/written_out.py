"""Functions that exporters write out in elementary operators: GELU by its Erf, layer normalisation by its Sqrt.

Both engines put the pieces back together into one kernel in floating point, which a quantizer between two pieces
would prevent; a quantized sum or product inside would also be rounded at every step.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from fewbits.graph import queries

GELU_REASON = "part of a GELU written out with Erf, which the engines compute in floating point"
NORM_REASON = "part of a normalisation that divides by the square root of a variance; eight bits lose small variances"


def written_out(model: ir.Model) -> dict[ir.Node, str]:
    """The nodes of written-out functions, each with the sentence why it stays in floating point."""
    found: dict[ir.Node, str] = {}
    for node in model.graph:
        if node.op_type == "Erf":
            found.update(dict.fromkeys(_gelu(node), GELU_REASON))
        elif node.op_type == "Sqrt":
            found.update(dict.fromkeys(_normalisation(node), NORM_REASON))
    return found


def _gelu(erf: ir.Node) -> Iterator[ir.Node]:
    """x/2 (1 + erf(x/sqrt 2)), its factors in any order: the scaled x, Erf, one Add and the Muls behind it."""
    yield erf
    x, inner = erf.inputs[0], _scaled(erf.inputs[0])
    if inner is not None:
        yield inner
        x = _moving(inner)[0]
    for plus in filter(_has_constant, _chain(erf.outputs[0], "Add", 1)):
        yield plus
        for product in _chain(plus.outputs[0], "Mul", 2):
            halves = [node for node in map(_scaled, product.inputs) if node is not None and _moving(node) == [x]]
            if not halves and x not in product.inputs and not _has_constant(product):
                return
            yield from halves
            yield product


def _normalisation(root: ir.Node) -> Iterator[ir.Node]:
    """(x - mean x) / sqrt(mean (x - mean x)^2 + e) g + b, from its root both ways; nothing where no mean is above."""
    above: list[ir.Node] = []
    value = root.inputs[0]
    for wanted in (("Add",), ("ReduceMean",), ("Pow", "Mul"), ("Sub",), ("ReduceMean",)):
        producer = None if value is None else value.producer()
        if producer is None or producer.op_type not in wanted:
            break
        above.append(producer)
        value = next(reversed(_moving(producer)), None)  # of x - mean x the mean
    if not any(node.op_type == "ReduceMean" for node in above):
        return
    yield from above
    yield root
    for quotient in _chain(root.outputs[0], "Div", 1):
        yield quotient
        for gain in filter(_has_constant, _chain(quotient.outputs[0], "Mul", 1)):
            yield gain
            yield from filter(_has_constant, _chain(gain.outputs[0], "Add", 1))


def _chain(value: ir.Value, op_type: str, most: int) -> list[ir.Node]:
    """Up to ``most`` nodes of that type, each the only reader of the one before; the first reads ``value``."""
    found: list[ir.Node] = []
    while len(found) < most and not value.is_graph_output():
        readers = queries.users(value)
        if len(readers) != 1 or readers[0].op_type != op_type:
            break
        found.append(readers[0])
        value = readers[0].outputs[0]
    return found


def _scaled(value: ir.Value | None) -> ir.Node | None:
    """The node that made ``value`` by multiplying or dividing one activation by a constant."""
    node = None if value is None else value.producer()
    if node is None or node.op_type not in ("Mul", "Div") or len(_moving(node)) != 1:
        return None
    return node


def _has_constant(node: ir.Node) -> bool:
    return any(map(queries.is_constant, node.inputs))


def _moving(node: ir.Node) -> list[ir.Value]:
    return [v for v in node.inputs if v is not None and not queries.is_constant(v)]
