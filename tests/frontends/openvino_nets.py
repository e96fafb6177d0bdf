"""Small OpenVINO models, and what OpenVINO computes of a file: the oracle of the OpenVINO door."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from fewbits.frontends.openvino import load
from fewbits.libraries import openvino
from models import check, on_onnxruntime

Array = NDArray[Any]


class Net:
    """Collects the inputs of a model under construction, and numbers to feed them."""

    def __init__(self, seed: int = 0) -> None:
        self.parameters: list[Any] = []
        self.feeds: dict[str, Array] = {}
        self._rng = np.random.default_rng(seed)

    def x(self, *shape: int, dtype: Any = np.float32, low: float = -2, high: float = 2, of: Any = None) -> Any:
        """An input; ``-1`` is a free size, fed with 3. ``of`` are the numbers, else they are drawn."""
        from openvino import opset13

        name = f"x{len(self.parameters)}"
        parameter = opset13.parameter(shape, dtype, name=name)
        parameter.output(0).set_names({name})
        sizes = [3 if size < 0 else size for size in shape]
        if of is not None:
            array = np.asarray(of, dtype)
        elif np.dtype(dtype) == np.bool_:
            array = self._rng.random(sizes) < 0.5
        elif np.issubdtype(dtype, np.integer):
            array = self._rng.integers(int(low), int(high), sizes)
        else:
            array = self._rng.uniform(low, high, sizes)
        self.parameters.append(parameter)
        self.feeds[name] = np.asarray(array, dtype)
        return parameter

    def w(self, *shape: int, low: float = -1, high: float = 1) -> Array:
        """Weights."""
        return self._rng.uniform(low, high, shape).astype(np.float32)

    def save(self, outputs: Any, path: Path) -> Path:
        """The model of a node or outputs, as an IR."""
        library = openvino()
        several = outputs if isinstance(outputs, list) else [outputs]
        ports = [node if isinstance(node, library.Output) else node.output(0) for node in several]
        for index, port in enumerate(ports):
            if not port.get_names():
                port.set_names({f"y{index}"})
        model = library.Model([library.opset13.result(port) for port in ports], self.parameters, "net")
        library.serialize(model, str(path))
        return path


def by_openvino(path: Path, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """What OpenVINO computes of a file in FP32."""
    library = openvino()
    core = library.Core()
    model = core.read_model(str(path))
    model.reshape({port: list(feeds[port.get_any_name()].shape) for port in model.inputs})
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = compiled(dict(feeds))
    return {port.get_any_name(): np.array(found[index]) for index, port in enumerate(compiled.outputs)}


def assert_same(ours: Mapping[str, Array], theirs: Mapping[str, Array], tolerance: float = 1e-5) -> None:
    """Same names in the same order, shapes and types; integers equal, floats within the share of the largest."""
    assert list(ours) == list(theirs)
    for name, expected in theirs.items():
        found = ours[name]
        assert found.shape == expected.shape, name
        assert found.dtype == expected.dtype, name
        if not np.issubdtype(expected.dtype, np.floating):
            np.testing.assert_array_equal(found, expected)
            continue
        size = float(np.abs(expected[np.isfinite(expected)]).max(initial=1e-6))
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * size)


def both(net: Net, outputs: Any, folder: Path) -> tuple[ir.Model, dict[str, Array], dict[str, Array]]:
    """(our ONNX, what ONNX Runtime computes of it, what OpenVINO computes of the original)."""
    path = net.save(outputs, folder / "net.xml")
    model = load(path)
    check(model)
    return model, on_onnxruntime(model, net.feeds), by_openvino(path, net.feeds)


def kinds(model: ir.Model) -> Sequence[str]:
    """The operators, in order."""
    return [node.op_type for node in model.graph]
