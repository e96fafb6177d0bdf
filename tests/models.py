"""Small networks as ONNX text, and the oracle's answer to them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from fewbits.data import Sample
from fewbits.frontends.onnx import normalise

Array = NDArray[Any]
Arrays = dict[str, Array]


def proto(text: str, opset: int = 17, seed: int = 0, **weights: Array | tuple[int, ...]) -> onnx.ModelProto:
    """ONNX text (the graph alone) and its weights; a weight given as a shape is drawn with unit gain."""
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}]>\n{text}')
    rng = np.random.default_rng(seed)
    for name, what in weights.items():
        if isinstance(what, tuple):
            fan_in = math.prod(what[1:]) or 1
            array = rng.normal(0, 1 / math.sqrt(fan_in), what).astype(np.float32)
        else:
            array = np.asarray(what)
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    return model


def network(text: str, opset: int = 17, seed: int = 0, **weights: Array | tuple[int, ...]) -> ir.Model:
    """The same as fewbits hands it on: named nodes, inferred shapes."""
    return normalise(ir.from_proto(proto(text, opset, seed, **weights)))


def f32(*numbers: float) -> Array:
    return np.array(numbers, np.float32)


def i64(*numbers: int) -> Array:
    return np.array(numbers, np.int64)


def conv_relu_conv(opset: int = 17) -> ir.Model:
    return network(
        """g (float[1,3,8,8] x) => (float[1,5,6,6] y) {
             [conv1] c1 = Conv<pads=[1,1,1,1]>(x, w1, b1)
             [relu] r1 = Relu(c1)
             [conv2] c2 = Conv(r1, w2, b2)
             [out] y = Sigmoid(c2) }""",
        opset,
        w1=(8, 3, 3, 3),
        b1=(8,),
        w2=(5, 8, 3, 3),
        b2=(5,),
    )


def conv_pool(opset: int = 17) -> ir.Model:
    return network(
        """g (float[1,3,8,8] x) => (float[1,4,2,2] y) {
             [conv] c = Conv<pads=[1,1,1,1]>(x, w1, b1)
             [relu] r = Relu(c)
             [pool] p = MaxPool<kernel_shape=[2,2], strides=[2,2]>(r)
             [conv2] q = Conv<pads=[1,1,1,1]>(p, w2)
             [average] y = AveragePool<kernel_shape=[2,2], strides=[2,2]>(q) }""",
        opset,
        w1=(6, 3, 3, 3),
        b1=(6,),
        w2=(4, 6, 3, 3),
    )


def residual(opset: int = 17) -> ir.Model:
    return network(
        """g (float[1,3,8,8] x) => (float[1,10] y) {
             [stem] c0 = Conv<pads=[1,1,1,1]>(x, w0, b0)
             [relu0] r0 = Relu(c0)
             [conv1] c1 = Conv<pads=[1,1,1,1]>(r0, w1, b1)
             [relu1] r1 = Relu(c1)
             [conv2] c2 = Conv<pads=[1,1,1,1]>(r1, w2, b2)
             [add] a = Add(c2, r0)
             [relu2] r2 = Relu(a)
             [conv3] c3 = Conv<pads=[1,1,1,1]>(r2, w3, b3)
             [relu3] r3 = Relu(c3)
             [gap] p = GlobalAveragePool(r3)
             [flat] f = Flatten(p)
             [fc] y = Gemm<transB=1>(f, wf, bf) }""",
        opset,
        w0=(8, 3, 3, 3),
        b0=(8,),
        w1=(8, 8, 3, 3),
        b1=(8,),
        w2=(8, 8, 3, 3),
        b2=(8,),
        w3=(16, 8, 3, 3),
        b3=(16,),
        wf=(10, 16),
        bf=(10,),
    )


def inverted_residual(opset: int = 17) -> ir.Model:
    return network(
        """g (float[1,8,8,8] x) => (float[1,4,8,8] y) {
             [stem] s = Conv(x, w0, b0)
             [expand] e = Conv(s, w1, b1)
             [clip1] k1 = Clip(e, low, high)
             [depthwise] d = Conv<pads=[1,1,1,1], group=16>(k1, w2, b2)
             [clip2] k2 = Clip(d, low, high)
             [project] p = Conv(k2, w3, b3)
             [add] a = Add(p, s)
             [head] h = Conv(a, w4, b4)
             [out] y = Sigmoid(h) }""",
        opset,
        w0=(8, 8, 1, 1),
        b0=(8,),
        w1=(16, 8, 1, 1),
        b1=(16,),
        w2=(16, 1, 3, 3),
        b2=(16,),
        w3=(8, 16, 1, 1),
        b3=(8,),
        w4=(4, 8, 1, 1),
        b4=(4,),
        low=np.array(0, np.float32),
        high=np.array(6, np.float32),
    )


def branches(opset: int = 17) -> ir.Model:
    return network(
        """g (float[1,3,8,8] x) => (float[1,4,8,8] y) {
             [left] l = Conv<pads=[1,1,1,1]>(x, w1, b1)
             [relu_l] rl = Relu(l)
             [right] r = Conv(x, w2, b2)
             [relu_r] rr = Relu(r)
             [concat] j = Concat<axis=1>(rl, rr)
             [pool] p = MaxPool<kernel_shape=[3,3], pads=[1,1,1,1]>(j)
             [last] o = Conv(p, w3, b3)
             [out] y = Sigmoid(o) }""",
        opset,
        w1=(4, 3, 3, 3),
        b1=(4,),
        w2=np.random.default_rng(9).normal(0, 3, (4, 3, 1, 1)).astype(np.float32),
        b2=(4,),
        w3=(4, 8, 1, 1),
        b3=(4,),
    )


def swish(opset: int = 17) -> ir.Model:
    return network(
        """g (float[1,3,8,8] x) => (float[1,4,8,8] y) {
             [conv1] c = Conv<pads=[1,1,1,1]>(x, w1, b1)
             [gate] g = Sigmoid(c)
             [product] m = Mul(c, g)
             [conv2] o = Conv(m, w2, b2)
             [out] y = Sigmoid(o) }""",
        opset,
        w1=(8, 3, 3, 3),
        b1=(8,),
        w2=(4, 8, 1, 1),
        b2=(4,),
    )


def perceptron(opset: int = 17) -> ir.Model:
    return network(
        """g (float[1,3,4,4] x) => (float[1,7] y) {
             [flat] f = Flatten(x)
             [fc1] h = Gemm<transB=1>(f, w1, b1)
             [relu] r = Relu(h)
             [fc2] m = MatMul(r, w2)
             [bias] l = Add(m, b2)
             [softmax] y = Softmax(l) }""",
        opset,
        w1=(16, 48),
        b1=(16,),
        w2=(16, 7),
        b2=(7,),
    )


def two_outputs(opset: int = 17) -> ir.Model:
    return network(
        """g (float[1,3,8,8] x) => (float[1,4,8,8] scores, float[1,2,4,4] boxes) {
             [trunk] c = Conv<pads=[1,1,1,1]>(x, w1, b1)
             [relu] r = Relu(c)
             [classes] s = Conv(r, w2, b2)
             [probabilities] scores = Sigmoid(s)
             [corners] boxes = Conv<strides=[2,2]>(r, w3, b3) }""",
        opset,
        w1=(6, 3, 3, 3),
        b1=(6,),
        w2=(4, 6, 1, 1),
        b2=(4,),
        w3=(2, 6, 1, 1),
        b3=(2,),
    )


def dynamic_batch(opset: int = 17) -> ir.Model:
    return network(
        """g (float[N,3,8,8] x) => (float[N,10] y) {
             [conv] c = Conv<pads=[1,1,1,1]>(x, w1, b1)
             [relu] r = Relu(c)
             [gap] p = GlobalAveragePool(r)
             [flat] f = Flatten(p)
             [fc] y = Gemm<transB=1>(f, w2, b2) }""",
        opset,
        w1=(8, 3, 3, 3),
        b1=(8,),
        w2=(10, 8),
        b2=(10,),
    )


def detector(opset: int = 17) -> ir.Model:
    return network(
        """g (float[1,3,8,8] x) => (float[1,64,6] y) {
             [trunk] c = Conv<pads=[1,1,1,1]>(x, w1, b1)
             [relu] r = Relu(c)
             [boxes] b = Conv(r, w2, b2)
             [box_rows] br = Reshape(b, box_shape)
             [scores] s = Conv(r, w3, b3)
             [score_rows] sr = Reshape(s, score_shape)
             [probabilities] p = Sigmoid(sr)
             [head] h = Concat<axis=1>(br, p)
             [rows] y = Transpose<perm=[0,2,1]>(h) }""",
        opset,
        w1=(8, 3, 3, 3),
        b1=(8,),
        w2=(4, 8, 1, 1),
        b2=(4,),
        w3=(2, 8, 1, 1),
        b3=(2,),
        box_shape=i64(1, 4, 64),
        score_shape=i64(1, 2, 64),
    )


NETWORKS: dict[str, Callable[..., ir.Model]] = {
    build.__name__: build
    for build in (
        conv_relu_conv,
        conv_pool,
        residual,
        inverted_residual,
        branches,
        swish,
        perceptron,
        two_outputs,
        dynamic_batch,
        detector,
    )
}


def feed(model: ir.Model, seed: int = 0) -> Arrays:
    """One sample of standard normal numbers for every input."""
    rng = np.random.default_rng(seed)
    made = {}
    for value in model.graph.inputs:
        assert value.shape is not None
        shape = [size if isinstance(size, int) else 1 for size in value.shape]
        made[value.name or ""] = rng.normal(size=shape).astype(np.float32)
    return made


def samples(model: ir.Model, count: int, seed: int = 100) -> list[Sample]:
    return [Sample(f"sample {i}", feed(model, seed + i)) for i in range(count)]


def oracle(model: ir.Model | onnx.ModelProto, inputs: Arrays) -> Arrays:
    """What the ONNX reference evaluator computes (called directly, not through fewbits)."""
    message = ir.to_proto(model) if isinstance(model, ir.Model) else model
    names = [output.name for output in message.graph.output]
    with np.errstate(all="ignore"):  # FP16 sigmoids overflow on their way to a right answer
        results = ReferenceEvaluator(message).run(names, inputs)
    return dict(zip(names, map(np.asarray, results), strict=True))


def on_onnxruntime(model: ir.Model | onnx.ModelProto, inputs: Arrays) -> Arrays:
    """What ONNX Runtime computes (called directly, not through fewbits)."""
    import onnxruntime

    message = ir.to_proto(model) if isinstance(model, ir.Model) else model
    config = onnxruntime.SessionOptions()
    config.log_severity_level = 4
    session = onnxruntime.InferenceSession(message.SerializeToString(), config, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


def inner_values(model: ir.Model, inputs: Arrays) -> Arrays:
    """Every value the nodes produce, and the inputs."""
    message = ir.to_proto(model)
    del message.graph.output[:]
    for node in message.graph.node:
        message.graph.output.extend(onnx.ValueInfoProto(name=name) for name in node.output if name)
    return oracle(message, inputs) | inputs


def node(model: ir.Model, name: str) -> ir.Node:
    return next(n for n in model.graph if n.name == name)


def value(model: ir.Model, name: str) -> ir.Value:
    return next(v for v in (*model.graph.inputs, *_produced(model)) if v.name == name)


def _produced(model: ir.Model) -> Iterator[ir.Value]:
    for n in model.graph:
        yield from n.outputs


def check(model: ir.Model) -> None:
    """Valid by ONNX's own checker, types and shapes included."""
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
