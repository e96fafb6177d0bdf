"""Train the example network of fewbits and write the files of src/fewbits/example.

A network of inverted residual blocks (Sandler et al., "MobileNetV2", 2018, arXiv:1801.04381) learns the
handwritten digits of scikit-learn. The ONNX file is written node by node from the trained modules, so the
batch norms stay in it as nodes of their own and nothing of this machine gets into it.

    pip install torch scikit-learn onnx onnxruntime pillow
    python scripts/train_example.py            # about five minutes on two free cores

On cores shared with other work set OMP_WAIT_POLICY=PASSIVE, or the threads spin while they wait.
"""

from __future__ import annotations

import argparse
import math
import re
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn import functional

EXAMPLE = Path(__file__).resolve().parents[1] / "src" / "fewbits" / "example"
SEED = 2018
SIDE, MEAN, SCALE = 128, 78.0, 90.0  # pixels; mean and scale on 0..255: (x - MEAN) / SCALE
CALIBRATION_IMAGES, TEST_IMAGES = 160, 800
STEM, HEAD, EXPANSION = 24, 256, 4
STAGES = [(32, 1, 2), (80, 5, 1), (112, 2, 2)]  # channels, blocks, stride of the first block
EPOCHS, BATCH, PEAK_LEARNING_RATE = 11, 16, 3e-3
OPSET, IR_VERSION = 18, 10

PREPROCESS = f"""\
# What digits.onnx was trained on: 8x8 grey images, uint8, resized by Pillow's bilinear filter.
resize = {SIDE}
mean = [{MEAN}]
scale = [{SCALE}]
channels = "gray"
layout = "nchw"
"""

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]


def conv_norm(
    inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1, relu: bool = True
) -> nn.Sequential:
    """Convolution without bias, batch norm and, but for linear bottlenecks, ReLU6."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out")
    layers: dict[str, nn.Module] = {"conv": conv, "norm": nn.BatchNorm2d(outputs)}
    return nn.Sequential(OrderedDict(layers | ({"relu6": nn.ReLU6()} if relu else {})))


class InvertedResidual(nn.Sequential):
    """[N, C, H, W] -> expand [N, 4C, H, W] -> depthwise [N, 4C, H/s, W/s] -> project [N, D, H/s, W/s]."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        hidden = inputs * EXPANSION
        layers = {
            "expand": conv_norm(inputs, hidden),
            "depthwise": conv_norm(hidden, hidden, 3, stride, groups=hidden),
            "project": conv_norm(hidden, outputs, relu=False),
        }
        super().__init__(OrderedDict(layers))
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = super().forward(x)
        return x + y if self.residual else y


def build_network() -> nn.Sequential:
    layers: dict[str, nn.Module] = {"stem": conv_norm(1, STEM, 3, 2)}
    channels = STEM
    for outputs, count, first_stride in STAGES:
        for i in range(count):
            layers[f"block{len(layers)}"] = InvertedResidual(channels, outputs, 1 if i else first_stride)
            channels = outputs
    layers["head"] = conv_norm(channels, HEAD)
    layers["pool"] = nn.AdaptiveAvgPool2d(1)
    layers["flatten"] = nn.Flatten()
    layers["classifier"] = nn.Linear(HEAD, 10)
    return nn.Sequential(OrderedDict(layers))


def split() -> dict[str, tuple[Images, Labels]]:
    """Three disjoint sets with equal shares of each digit; x is [N, 8, 8, 1] in 0..255, y is [N]."""
    digits = load_digits()
    x = np.rint(digits.images * 255 / 16).astype(np.uint8)[..., None]  # 0..16 in the source
    y = digits.target.astype(np.int64)
    sets = {}
    for name, size in (("test", TEST_IMAGES), ("calibration", CALIBRATION_IMAGES)):
        x, part_x, y, part_y = train_test_split(x, y, test_size=size, stratify=y, random_state=SEED)
        sets[name] = part_x, part_y
    return sets | {"train": (x, y)}


def preprocess(x: Images) -> NDArray[np.float32]:
    """[N, 8, 8, 1] uint8 -> [N, 1, SIDE, SIDE] float32, as preprocess.toml says."""
    pictures = (Image.fromarray(image[..., 0]) for image in x)
    resized = [np.asarray(p.resize((SIDE, SIDE), Image.Resampling.BILINEAR)) for p in pictures]
    return ((np.stack(resized)[:, None].astype(np.float32) - MEAN) / SCALE).astype(np.float32)


def augment(x: Tensor) -> Tensor:
    """Turn each image by up to 12 degrees, scale it by 0.9..1.1, shift it by up to 8 % and add noise."""
    uniform = torch.rand(4, len(x)) * 2 - 1
    angle, zoom = uniform[0] * math.radians(12), 1 + 0.1 * uniform[1]
    theta = torch.zeros(len(x), 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = torch.cos(angle) / zoom
    theta[:, 1, 0] = torch.sin(angle) / zoom
    theta[:, 0, 1] = -theta[:, 1, 0]
    theta[:, :, 2] = uniform[2:].T * 0.16  # the grid runs from -1 to 1
    grid = functional.affine_grid(theta, list(x.shape), align_corners=False)
    black = -MEAN / SCALE  # what lies outside the image
    moved = functional.grid_sample(x - black, grid, align_corners=False) + black
    return moved + 0.1 * torch.randn_like(moved)


def train(network: nn.Module, x: Tensor, y: Tensor, epochs: int) -> None:
    steps = epochs * (len(x) // BATCH)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_LEARNING_RATE, steps, pct_start=0.2)
    network.train()
    for epoch in range(epochs):
        losses = []
        for batch in torch.randperm(len(x))[: len(x) // BATCH * BATCH].split(BATCH):
            images = augment(x[batch]).contiguous(memory_format=torch.channels_last)
            loss = functional.cross_entropy(network(images), y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        print(f"epoch {epoch + 1:2} of {epochs}  loss {np.mean(losses):.4f}", flush=True)


def to_onnx(network: nn.Sequential) -> onnx.ModelProto:
    """The modules as ONNX nodes under the modules' names, batch norms unfolded."""
    nodes: list[onnx.NodeProto] = []
    initializers = [numpy_helper.from_array(np.array(v, np.float32), n) for n, v in (("zero", 0), ("six", 6))]

    def add(op: str, name: str, inputs: list[str], **attributes: Any) -> str:
        output = "logits" if name == "classifier" else f"{name}.out"
        nodes.append(helper.make_node(op, inputs, [output], name, **attributes))
        return output

    def write(module: nn.Module, name: str, x: str) -> str:
        """Write a module that reads tensor `x`; returns the name of its output."""
        tensors = {} if isinstance(module, nn.Sequential) else module.state_dict(prefix=f"{name}.")
        tensors.pop(f"{name}.num_batches_tracked", None)
        initializers.extend(numpy_helper.from_array(t.contiguous().numpy(), n) for n, t in tensors.items())
        match module:
            case nn.Sequential():
                y = x
                for child, layer in module.named_children():
                    y = write(layer, f"{name}.{child}".lstrip("."), y)
                residual = isinstance(module, InvertedResidual) and module.residual
                return add("Add", f"{name}.add", [x, y]) if residual else y
            case nn.Conv2d(kernel_size=kernel, stride=stride, padding=(pad, _), groups=group):
                shape = {"kernel_shape": kernel, "strides": stride, "pads": [pad] * 4}
                return add("Conv", name, [x, *tensors], **shape, group=group)
            case nn.BatchNorm2d(eps=epsilon):  # weight, bias, running mean, running variance
                return add("BatchNormalization", name, [x, *tensors], epsilon=epsilon)
            case nn.ReLU6():
                return add("Clip", name, [x, "zero", "six"])
            case nn.AdaptiveAvgPool2d():
                return add("GlobalAveragePool", name, [x])
            case nn.Flatten():
                return add("Flatten", name, [x])
            case nn.Linear():
                return add("Gemm", name, [x, *tensors], transB=1)
        raise TypeError(f"{name}: no ONNX node is known for {type(module).__name__}")

    write(network, "", "image")
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 1, SIDE, SIDE])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 10])
    model = helper.make_model(
        helper.make_graph(nodes, "digits", [image], [logits], initializers),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="fewbits scripts/train_example.py",
        producer_version="0.1.0",
        doc_string="Handwritten digits, the example of fewbits. Licence: Apache-2.0.",
    )
    helper.set_model_props(model, {"license": "Apache-2.0"})
    onnx.checker.check_model(model, full_check=True)
    return model


def count_macs(model: onnx.ModelProto) -> int:
    """Multiply-accumulates of Conv and Gemm for one image."""
    inferred = onnx.shape_inference.infer_shapes(model).graph
    values = [*inferred.value_info, *inferred.output]
    shapes = {v.name: [d.dim_value or 1 for d in v.type.tensor_type.shape.dim] for v in values}
    weights = {i.name: i.dims for i in model.graph.initializer}
    # Each output element takes one product per weight of its output channel.
    nodes = [node for node in model.graph.node if node.op_type in ("Conv", "Gemm")]
    return sum(math.prod(shapes[n.output[0]]) * math.prod(weights[n.input[1]][1:]) for n in nodes)


def write_figures(readme: Path, figures: dict[str, str]) -> None:
    """Put the measured figures into the table rows `| name | … |` of the README."""
    text = readme.read_text(encoding="utf-8")
    for name, value in figures.items():
        text, found = re.subn(rf"^\| {name} \|.*$", f"| {name} | {value} |", text, flags=re.MULTILINE)
        if found != 1:
            raise ValueError(f"{readme} has {found} rows named {name!r}, expected one")
    readme.write_text(text, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the example network of fewbits.")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--out", type=Path, default=EXAMPLE)
    arguments = parser.parse_args()
    out: Path = arguments.out

    torch.manual_seed(SEED)
    torch.set_num_threads(2)
    torch.use_deterministic_algorithms(True)
    data = split()
    x, y = data["train"]
    network = build_network().to(memory_format=torch.channels_last)
    train(network, torch.from_numpy(preprocess(x)), torch.from_numpy(y), arguments.epochs)

    model = to_onnx(network.eval())
    onnx.save(model, out / "digits.onnx")
    for name in ("calibration", "test"):
        np.savez_compressed(out / f"digits_{name}.npz", x=data[name][0], y=data[name][1])
    (out / "preprocess.toml").write_text(PREPROCESS, encoding="utf-8")

    test_x, test_y = preprocess(data["test"][0]), data["test"][1]
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    logits = np.concatenate([session.run(None, {"image": part})[0] for part in np.split(test_x, 8)])
    with torch.no_grad():
        np.testing.assert_allclose(logits[:16], network(torch.from_numpy(test_x[:16])), rtol=1e-3, atol=1e-3)
    right = int((logits.argmax(1) == test_y).sum())
    figures = {
        "FP32 test accuracy": f"{right / len(test_y):.2%} ({right} of {len(test_y)})",
        "parameters": f"{sum(p.numel() for p in network.parameters()):,}",
        "multiply-accumulates": f"{count_macs(model):,} per image",
        "file size": f"{(out / 'digits.onnx').stat().st_size:,} bytes",
    }
    print(*(f"{name}: {value}" for name, value in figures.items()), sep="\n")
    if (out / "README.md").exists():
        write_figures(out / "README.md", figures)


if __name__ == "__main__":
    main()
