"""Chains of scales and shifts by constants become one Mul and one Add, or one of both.

For y = s2 (s1 x + t1) + t2:

    s = s1 s2        t = s2 t1 + t2

s = 1 leaves the Add alone, t = 0 the Mul alone. It applies where fewer nodes come out than went in. It refuses where a
value between has a second reader or is a model output, where a constant broadcasts the activation or the joint constant
would be larger than its parts, where numbers stop being finite, where the chain ends a GELU or normalisation that
engines compute as one, and where a shift of 2^20 or more is involved, or one far above what is left of it: adding and
taking away such a number is how some graphs round on purpose.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from fewbits.graph import queries
from fewbits.graph.edits import add_initializer
from fewbits.passes.affine import engine_fused, moving_input, scale_and_shift
from fewbits.passes.layer import Float, sole_reader

_ROUNDS_ON_PURPOSE = 2.0**20
_CANCELS = 2.0**10
# Beyond, a number between could overflow or vanish where the merged one does not.
_MODERATE = 2.0**40


def merge_affine(model: ir.Model) -> bool:
    """Merge every chain; whether there was one."""
    changed, done = False, set[ir.Node]()
    for node in list(model.graph):
        if node in done or moving_input(node) is None or node.op_type == "BatchNormalization":
            continue
        chain = _chain(node)
        done.update(chain)
        changed |= len(chain) > 1 and _merge(model, chain)
    return changed


def _chain(first: ir.Node) -> list[ir.Node]:
    chain = [first]
    while (reader := sole_reader(chain[-1].outputs[0])) is not None:
        if moving_input(reader) is not chain[-1].outputs[0] or reader.op_type == "BatchNormalization":
            break
        chain.append(reader)
    return chain


def _merge(model: ir.Model, chain: list[ir.Node]) -> bool:
    x = moving_input(chain[0])
    shape = None if x is None else queries.dims(x)
    if x is None or shape is None or engine_fused(chain[0]):
        return False
    s: Float = np.ones(())
    t: Float = np.zeros(())
    largest, shifted = 1, 0.0
    for node in chain:
        found = scale_and_shift(node)
        if found is None or not _fits(found[0].shape, shape) or np.abs(found[1]).max(initial=0) >= _ROUNDS_ON_PURPOSE:
            return False
        largest = max(largest, found[0].size, found[1].size)
        s, t = s * found[0], t * found[0] + found[1]
        size = np.abs(s[s != 0])
        if not ((size >= 1 / _MODERATE) & (size <= _MODERATE)).all():
            return False
        shifted = max(shifted * np.abs(found[0]).max(initial=0), np.abs(t).max(initial=0))
    if shifted > _CANCELS * max(np.abs(t).max(initial=0), np.abs(s).max(initial=0)):
        return False
    dtype = ir.DataType.numpy(x.dtype or ir.DataType.FLOAT)
    with np.errstate(over="ignore", under="ignore"):
        stored = [("Mul", s.astype(dtype)), ("Add", t.astype(dtype))]
    # What is 1 or 0 as stored does nothing.
    made = [(op, c) for op, c in stored if (c != (op == "Mul")).any()]
    if any(c.size > largest or not np.isfinite(c).all() for _, c in made) or not 0 < len(made) < len(chain):
        return False
    _write(model, chain, x, made)
    return True


def _fits(constant: tuple[int, ...], shape: tuple[int | None, ...]) -> bool:
    """Whether the constant leaves the activation's shape as it is."""
    paired = zip(reversed(constant), reversed(shape), strict=False)
    return len(constant) <= len(shape) and all(size in (1, other) for size, other in paired)


def _write(model: ir.Model, chain: list[ir.Node], x: ir.Value, made: list[tuple[str, NDArray[Any]]]) -> None:
    last, value = chain[-1], x
    old = last.outputs[0]
    name = old.name
    for index, (op, constant) in enumerate(made):
        # The last node keeps the chain's last name, the other one its first.
        known = last.name if index == len(made) - 1 else chain[0].name
        vector = add_initializer(model, f"{known}.merged", constant)
        node = ir.node(op, [value, vector], name=known)
        value = node.outputs[0]
        value.name, value.type, value.shape = f"{name}.scaled", x.type, x.shape
        model.graph.insert_before(last, node)
    ir.convenience.replace_all_uses_with(old, value, replace_graph_outputs=True)
    value.shape = old.shape or value.shape
    for node in reversed(chain):
        model.graph.remove(node, safe=True)
    value.name = name
