"""Small networks with one planted hazard each, and their clean twins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from fewbits.data import Sample
from models import f32, i64, network

RNG = np.random.default_rng(5)


def numbers(*shape: int, scale: float = 1.0) -> NDArray[np.float32]:
    return (RNG.standard_normal(shape) * scale).astype(np.float32)


@dataclass(frozen=True)
class Planted:
    """The network, a sample on which it goes wrong in FP16, the check that must speak and the node it must name.

    ``dry`` is the level without data, None where only data show it.
    """

    check: str
    node: str
    build: Callable[[], ir.Model]
    feed: NDArray[Any]
    clean: Callable[[], ir.Model]
    clean_feed: NDArray[Any]
    dry: str | None
    wet: str = "certain"
    bf16: str | None = None

    @property
    def sample(self) -> Sample:
        return Sample("planted", {"x": self.feed})

    @property
    def clean_sample(self) -> Sample:
        return Sample("clean", {"x": self.clean_feed})


def normalised(epsilon: float = 1e-3) -> ir.Model:
    return network(
        """g (float[1,64] x) => (float[1,8] y) {
             [mean] m = ReduceMean<axes=[1]>(x)
             [centre] d = Sub(x, m)
             [square] s = Mul(d, d)
             [variance] v = ReduceMean<axes=[1]>(s)
             [guard] e = Add(v, eps)
             [root] r = Sqrt(e)
             [divide] n = Div(d, r)
             [head] y = MatMul(n, w) }""",
        w=(64, 8),
        eps=f32(epsilon),
    )


def fused_norm() -> ir.Model:
    return network(
        """g (float[1,64] x) => (float[1,8] y) {
             [norm] n = LayerNormalization<axis=1, epsilon=1e-3>(x, g)
             [head] y = MatMul(n, w) }""",
        w=(64, 8),
        g=np.ones(64, np.float32),
    )


def softplus() -> ir.Model:
    return network(
        """g (float[1,8] x) => (float[1,8] y) {
             [exp] e = Exp(x)  [plus] p = Add(e, one)  [log] l = Log(p)  [head] y = MatMul(l, w) }""",
        one=f32(1),
        w=(8, 8),
    )


def stable_softplus() -> ir.Model:
    return network(
        """g (float[1,8] x) => (float[1,8] y) {
             a = Abs(x)  n = Neg(a)  [exp] e = Exp(n)  p = Add(e, one)  l = Log(p)
             r = Relu(x)  s = Add(r, l)  [head] y = MatMul(s, w) }""",
        one=f32(1),
        w=(8, 8),
    )


def guarded(epsilon: float) -> ir.Model:
    return network(
        """g (float[3,8] x) => (float[3,8] y) {
             [size] a = Abs(x)  [mean] m = ReduceMean<axes=[1]>(a)
             [guard] e = Add(m, eps)  [divide] d = Div(x, e)  [head] y = MatMul(d, w) }""",
        eps=f32(epsilon),
        w=(8, 8),
    )


def weighted(factor: float, *, all_of_it: bool = False) -> Callable[[], ir.Model]:
    def build() -> ir.Model:
        weights = np.random.default_rng(1).standard_normal((8, 8)).astype(np.float32)
        if all_of_it:
            weights *= factor
        else:
            weights[2, 3] = factor
        return network(
            """g (float[1,8] x) => (float[1,8] y) {
                 [first] a = Relu(x)  [heavy] b = MatMul(a, w)  [last] y = Elu(b) }""",
            w=weights,
        )

    return build


def summed(count: int) -> Callable[[], ir.Model]:
    return lambda: network(
        f"""g (float[1,{count}] x) => (float[1,1] y) {{
             [first] a = Abs(x)  [sum] s = ReduceSum<keepdims=1>(a, axis)  [last] y = Log(s) }}""",
        axis=i64(1),
    )


def indexed(rows: int) -> Callable[[], ir.Model]:
    table = np.random.default_rng(2).standard_normal((rows, 4)).astype(np.float32)
    return lambda: network(
        """g (int64[4] x) => (float[4,4] y) {
             [float] a = Cast<to=1>(x)  [next] b = Add(a, one)  [index] c = Cast<to=7>(b)
             [look] d = Gather(table, c)  [last] y = Relu(d) }""",
        one=f32(1),
        table=table,
    )


def softmax(*, stable: bool) -> Callable[[], ir.Model]:
    lead = "m = ReduceMax<axes=[1]>(x)  z = Sub(x, m)" if stable else "z = Identity(x)"
    return lambda: network(
        f"""g (float[1,8] x) => (float[1,8] y) {{
             {lead}  [exp] e = Exp(z)  [sum] s = ReduceSum(e, axis)
             [divide] p = Div(e, s)  [head] y = MatMul(p, w) }}""",
        axis=i64(1),
        w=(8, 8),
    )


def amplified(factor: float) -> Callable[[], ir.Model]:
    return lambda: network(
        """g (float[1,8] x) => (float[1,8] y) {
             [one] a = Mul(x, k)  [two] b = Mul(a, k)  [back] c = Div(b, k)  [again] d = Div(c, k)
             [last] y = MatMul(d, w) }""",
        k=f32(factor),
        w=(8, 8),
    )


ROWS = numbers(3, 8)
ROWS[1] = 0
LOGITS = f32(1, 14, 3, -2, 15, 0, 13, 2).reshape(1, 8)

PLANTED: dict[str, Planted] = {
    "overflow in a variance": Planted(
        "variance", "square", normalised, numbers(1, 64, scale=900), fused_norm, numbers(1, 64), "possible"
    ),
    "softplus": Planted(
        "exponentials",
        "exp",
        softplus,
        LOGITS,
        stable_softplus,
        LOGITS,
        "possible",
        bf16="information",
    ),
    "tiny epsilon": Planted("epsilon", "guard", lambda: guarded(1e-12), ROWS, lambda: guarded(1e-3), ROWS, "possible"),
    "weight of 1e5": Planted(
        "constants", "heavy", weighted(1e5), numbers(1, 8, scale=1e-5), weighted(10), numbers(1, 8), "certain"
    ),
    "weights of 1e-9": Planted(
        "constants", "heavy", weighted(1e-9, all_of_it=True), numbers(1, 8), weighted(1), numbers(1, 8), "certain"
    ),
    "sum over 100,000": Planted(
        "sums", "sum", summed(100_000), numbers(1, 100_000) + 3, summed(1000), numbers(1, 1000) + 3, "possible"
    ),
    "index above 2048": Planted(
        "integers",
        "index",
        indexed(5000),
        i64(2050, 4091, 3, 4501),
        indexed(200),
        i64(1, 2, 3, 4),
        "possible",
        bf16="certain",
    ),
    "exponentials of large logits": Planted(
        "exponentials", "exp", softmax(stable=False), LOGITS, softmax(stable=True), LOGITS, "possible"
    ),
    "activations above 65504": Planted(
        "ranges", "two", amplified(300), numbers(1, 8) + 2, amplified(10), numbers(1, 8), None
    ),
}
