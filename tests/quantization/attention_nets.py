"""Small transformers as ONNX text: two encoder blocks, two heads, a classifier; weights of unit gain, seeded."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from models import Array, f32, i64, network

TOKENS, WIDTH, HEADS, HIDDEN, CLASSES = 48, 64, 2, 128, 7
HEAD = WIDTH // HEADS
BLOCKS = 2


def post_norm() -> ir.Model:
    """Gemm on rows of tokens, GELU written out with Erf; LayerNormalization, in the second block written out."""
    text = "".join(
        f"""[rows{i}] t{i} = Reshape(x{i}, rows)
            {"".join(_gemm(f"{part}{i}", f"t{i}") + _heads(part, i, f"{part}{i}_out") for part in "qkv")}
            {_attention(i, "rows")}
            {_gemm(f"proj{i}", f"merged{i}")}
            [residual{i}] s{i} = Add(proj{i}_out, t{i})
            {_norm(f"norm{i}", f"s{i}", written_out=i == 1)}
            {_gemm(f"up{i}", f"norm{i}_out")}
            {_erf_gelu(i)}
            {_gemm(f"down{i}", f"g{i}")}
            [residual_mlp{i}] r{i} = Add(down{i}_out, norm{i}_out)
            {_norm(f"norm_mlp{i}", f"r{i}", written_out=i == 1)}
            [tokens{i}] x{i + 1} = Reshape(norm_mlp{i}_out, tokens)"""
        for i in range(BLOCKS)
    )
    return _net(text, 17)


def pre_norm() -> ir.Model:
    """As PyTorch exports it: Linear is MatMul and Add, queries, keys and values come of one projection, Gelu is one."""
    text = "".join(
        f"""{_norm(f"norm{i}", f"x{i}")}
            {_linear(f"qkv{i}", f"norm{i}_out")}
            [split{i}] q{i}, k{i}, v{i} = Split<axis=2>(qkv{i}_out, thirds)
            {"".join(_heads(part, i, f"{part}{i}") for part in "qkv")}
            {_attention(i, "tokens")}
            {_linear(f"proj{i}", f"merged{i}")}
            [residual{i}] s{i} = Add(x{i}, proj{i}_out)
            {_norm(f"norm_mlp{i}", f"s{i}")}
            {_linear(f"up{i}", f"norm_mlp{i}_out")}
            [gelu{i}] g{i} = Gelu(up{i}_out)
            {_linear(f"down{i}", f"g{i}")}
            [residual_mlp{i}] x{i + 1} = Add(s{i}, down{i}_out)"""
        for i in range(BLOCKS)
    )
    return _net(text, 20)


def _net(body: str, opset: int) -> ir.Model:
    text = f"""g (float[1,{TOKENS},{WIDTH}] x0) => (float[1,{CLASSES}] y) {{
        {body}
        {_norm("norm_head", f"x{BLOCKS}")}
        [pool] p = ReduceMean<axes=[1], keepdims=0>(norm_head_out)
        [head] y = Gemm<transB=1>(p, w_head, b_head) }}"""
    if opset >= 18:
        text = text.replace(
            "ReduceMean<axes=[1], keepdims=0>(norm_head_out)", "ReduceMean<keepdims=0>(norm_head_out, one)"
        )
    return network(text, opset, 0, **{k: v for k, v in _weights().items() if f" {k}" in text or f"({k}" in text})


def _weights() -> dict[str, Array]:
    rng = np.random.default_rng(3)

    def draw(*shape: int) -> Array:
        return rng.normal(0, 1 / np.sqrt(shape[0]), shape).astype(np.float32)

    made: dict[str, Array] = {
        "rows": i64(TOKENS, WIDTH),
        "tokens": i64(1, TOKENS, WIDTH),
        "heads": i64(1, TOKENS, HEADS, HEAD),
        "thirds": i64(WIDTH, WIDTH, WIDTH),
        "one": i64(1),
        "root": f32(np.sqrt(HEAD))[0],
        "root2": f32(np.sqrt(2))[0],
        "unit": f32(1)[0],
        "half": f32(0.5)[0],
        "two": f32(2)[0],
        "epsilon": f32(1e-5)[0],
        "w_head": draw(WIDTH, CLASSES).T.copy(),
        "b_head": 0.1 * draw(CLASSES),
    }
    sizes = {"q": (WIDTH, WIDTH), "k": (WIDTH, WIDTH), "v": (WIDTH, WIDTH), "qkv": (WIDTH, 3 * WIDTH)}
    sizes |= {"proj": (WIDTH, WIDTH), "up": (WIDTH, HIDDEN), "down": (HIDDEN, WIDTH)}
    for i in range(BLOCKS):
        for name, (inputs, outputs) in sizes.items():
            made[f"w_{name}{i}"] = draw(inputs, outputs)
            made[f"b_{name}{i}"] = (0.1 * rng.normal(size=outputs)).astype(np.float32)
    for name in [*(f"{n}{i}" for n in ("norm", "norm_mlp") for i in range(BLOCKS)), "norm_head"]:
        made[f"gain_{name}"] = (1 + 0.1 * rng.normal(size=WIDTH)).astype(np.float32)
        made[f"shift_{name}"] = (0.1 * rng.normal(size=WIDTH)).astype(np.float32)
    return made


def _gemm(name: str, source: str) -> str:
    return f" [{name}] {name}_out = Gemm({source}, w_{name}, b_{name})"


def _linear(name: str, source: str) -> str:
    product = f" [{name}] {name}_product = MatMul({source}, w_{name})"
    return f"{product} [{name}_bias] {name}_out = Add(b_{name}, {name}_product)"


def _heads(part: str, i: int, source: str) -> str:
    """[1, T, H d] → [1, H, T, d], keys → [1, H, d, T]."""
    order = "0,2,3,1" if part == "k" else "0,2,1,3"
    return (
        f" [{part}_heads{i}] {part}h{i} = Reshape({source}, heads)"
        f" [{part}_turn{i}] {part}t{i} = Transpose<perm=[{order}]>({part}h{i})"
    )


def _attention(i: int, shape: str) -> str:
    return f"""[scores{i}] a{i} = MatMul(qt{i}, kt{i})
        [scale{i}] c{i} = Div(a{i}, root)
        [softmax{i}] p{i} = Softmax<axis=-1>(c{i})
        [mix{i}] m{i} = MatMul(p{i}, vt{i})
        [back{i}] mt{i} = Transpose<perm=[0,2,1,3]>(m{i})
        [merge{i}] merged{i} = Reshape(mt{i}, {shape})"""


def _norm(name: str, source: str, *, written_out: bool = False) -> str:
    if not written_out:
        return f" [{name}] {name}_out = LayerNormalization<axis=-1>({source}, gain_{name}, shift_{name})"
    return f"""[{name}_mean] {name}_m = ReduceMean<axes=[-1]>({source})
        [{name}_less] {name}_l = Sub({source}, {name}_m)
        [{name}_square] {name}_q = Pow({name}_l, two)
        [{name}_variance] {name}_v = ReduceMean<axes=[-1]>({name}_q)
        [{name}_positive] {name}_p = Add({name}_v, epsilon)
        [{name}_root] {name}_r = Sqrt({name}_p)
        [{name}_divide] {name}_d = Div({name}_l, {name}_r)
        [{name}_gain] {name}_g = Mul({name}_d, gain_{name})
        [{name}_shift] {name}_out = Add({name}_g, shift_{name})"""


def _erf_gelu(i: int) -> str:
    """The first block as PyTorch exports it, the second with x halved first: two activations are multiplied last."""
    start = f"[inner{i}] e{i} = Div(up{i}_out, root2) [erf{i}] f{i} = Erf(e{i}) [plus{i}] u{i} = Add(f{i}, unit)"
    if i == 0:
        return f"{start} [times{i}] h{i} = Mul(up{i}_out, u{i}) [halve{i}] g{i} = Mul(h{i}, half)"
    return f"{start} [halve{i}] h{i} = Mul(up{i}_out, half) [times{i}] g{i} = Mul(h{i}, u{i})"
