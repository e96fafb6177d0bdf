"""PyTorch comes in as torch computes it, and a hostile archive runs nothing."""

from __future__ import annotations

import io
import json
import os
import pickle
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

import fewbits
from fewbits.cli import main
from fewbits.errors import InputError, ModelError
from fewbits.frontends.size_text import is_arithmetic
from fewbits.passes import simplify
from models import check, on_onnxruntime

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'fewbits[torch]'")
ASSETS = Path(os.environ.get("FEWBITS_ASSETS", Path(__file__).parents[3] / "shared" / "assets"))
CHECKPOINTS = ASSETS / "models" / "pytorch"
needs_assets = pytest.mark.skipif(not CHECKPOINTS.is_dir(), reason=f"no models in {CHECKPOINTS}: set FEWBITS_ASSETS")
F = torch.nn.functional


class Block(torch.nn.Module):
    """Of ResNet for CIFAR-10: where the channels double, the shortcut takes every second pixel and pads with zeros."""

    def __init__(self, before: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = torch.nn.Conv2d(before, planes, 3, stride, 1, bias=False)
        self.bn1 = torch.nn.BatchNorm2d(planes)
        self.conv2 = torch.nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = torch.nn.BatchNorm2d(planes)
        self.widened = planes // 4 if stride == 2 else 0

    def forward(self, x: Any) -> Any:
        made = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.widened:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.widened, self.widened))
        return F.relu(made + x)


class ResNet20(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = torch.nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = torch.nn.BatchNorm2d(16)
        self.layer1 = torch.nn.Sequential(*(Block(16, 16, 1) for _ in range(3)))
        self.layer2 = torch.nn.Sequential(Block(16, 32, 2), Block(32, 32, 1), Block(32, 32, 1))
        self.layer3 = torch.nn.Sequential(Block(32, 64, 2), Block(64, 64, 1), Block(64, 64, 1))
        self.linear = torch.nn.Linear(64, 10)

    def forward(self, image: Any) -> Any:
        x = self.layer3(self.layer2(self.layer1(F.relu(self.bn1(self.conv1(image))))))
        return self.linear(x.mean((2, 3)))


class SampleNet(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = torch.nn.Conv2d(3, 6, 5)
        self.conv2 = torch.nn.Conv2d(6, 16, 5)
        self.fc1 = torch.nn.Linear(400, 120)
        self.fc2 = torch.nn.Linear(120, 84)
        self.fc3 = torch.nn.Linear(84, 10)

    def forward(self, data: Any) -> Any:
        x = F.max_pool2d(F.relu(self.conv1(data)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2).flatten(1)
        return self.fc3(F.relu(self.fc2(F.relu(self.fc1(x)))))


class Transformer(torch.nn.Module):
    """One block, before-norm, with dropout that evaluation has to drop."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = torch.nn.LayerNorm(16), torch.nn.LayerNorm(16)
        self.attention = torch.nn.MultiheadAttention(16, 4, dropout=0.5, batch_first=True)
        self.mlp = torch.nn.Sequential(
            torch.nn.Linear(16, 32), torch.nn.GELU(), torch.nn.Dropout(), torch.nn.Linear(32, 16)
        )

    def forward(self, tokens: Any, weight: Any) -> Any:
        x = self.norm1(tokens)
        x = tokens + self.attention(x, x, x, need_weights=False)[0]
        return (x + self.mlp(self.norm2(x))) * weight


def tensor(*shape: int, seed: int = 0) -> Any:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def agrees(model: ir.Model, module: Any, *inputs: Any, limit: float = 1e-5) -> None:
    """Both as it came and simplified, ONNX Runtime computes what torch does."""
    names = [value.name or "" for value in model.graph.inputs]
    feeds = {name: array.numpy() for name, array in zip(names, inputs, strict=True)}
    with torch.no_grad():
        expected = module.eval()(*inputs).numpy()
    for version in (model, simplify(model)):
        check(version)
        (got,) = on_onnxruntime(version, feeds).values()
        np.testing.assert_allclose(got, expected, rtol=0, atol=limit * np.abs(expected).max())


@pytest.fixture(scope="module")
def small() -> Any:
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(144, 5)
    )
    module[1].running_mean[:], module[1].running_var[:] = tensor(4), tensor(4).abs() + 0.5
    return module.eval()


@pytest.fixture(scope="module")
def program(small: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Exported as a person does, with a free batch."""
    path = tmp_path_factory.mktemp("torch") / "small.pt2"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exported = torch.export.export(small, (tensor(2, 3, 8, 8),), dynamic_shapes=({0: torch.export.Dim("rows")},))
        torch.export.save(exported, path)
    return path


def test_a_module_is_traced_in_evaluation_mode_and_left_as_it_was() -> None:
    torch.manual_seed(1)
    module = Transformer().train()
    module.norm1.eval()
    model = fewbits.load(module, example_inputs=(tensor(1, 6, 16), tensor(16)))
    assert module.training
    assert module.mlp.training
    assert not module.norm1.training
    assert model.meta["frontend"] == "PyTorch module"
    assert [value.name for value in model.graph.inputs] == ["tokens", "weight"]
    agrees(model, module, tensor(3, 6, 16, seed=1), tensor(16, seed=2))


def test_the_batch_is_free_and_called_n(small: Any) -> None:
    model = fewbits.load(small, example_inputs=tensor(1, 3, 8, 8))
    assert [str(value.shape) for value in (*model.graph.inputs, *model.graph.outputs)] == ["[N,3,8,8]", "[N,5]"]
    agrees(model, small, tensor(7, 3, 8, 8))


def test_a_module_that_needs_its_batch_keeps_it_and_says_so() -> None:
    class Fixed(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return torch.nn.functional.linear(x.reshape(1, 6), tensor(4, 6))

    model = fewbits.load(Fixed(), example_inputs=(tensor(1, 6),))
    assert str(model.graph.inputs[0].shape) == "[1,6]"
    assert "batch" in model.meta["notes"][0]
    agrees(model, Fixed(), tensor(1, 6, seed=4))


def test_example_inputs_by_name() -> None:
    module = Transformer()
    model = fewbits.load(module, example_inputs={"weight": tensor(16), "tokens": tensor(2, 5, 16)})
    assert {value.name for value in model.graph.inputs} == {"tokens", "weight"}


def test_nodes_are_named_after_their_modules(small: Any, program: Path) -> None:
    for model in (fewbits.load(small, example_inputs=(tensor(1, 3, 8, 8),)), fewbits.load(program)):
        names = {node.op_type: node.name for node in model.graph}
        assert names["Conv"] == "0/conv2d"
        assert names["Relu"] == "2/relu"
        assert names["Gemm"] == "4/linear"
        assert names["BatchNormalization"].startswith("1/")
        assert [node.op_type for node in simplify(model).graph] == ["Conv", "Relu", "Reshape", "Gemm"]


@pytest.mark.parametrize("given", [None, (), {}, 3])
def test_a_module_without_example_inputs_is_refused(small: Any, given: Any) -> None:
    with pytest.raises(InputError, match="example inputs"):
        fewbits.load(small, example_inputs=given)


def test_a_module_that_cannot_be_traced_is_named() -> None:
    class Moody(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return x * 2 if x.sum() > 0 else x

    with pytest.raises(ModelError, match="Moody: cannot be traced") as caught:
        fewbits.load(Moody(), example_inputs=(tensor(1, 3),))
    assert "\n" not in str(caught.value)


def test_a_saved_program_comes_back(small: Any, program: Path) -> None:
    model = fewbits.load(program)
    assert model.meta["frontend"] == "PyTorch exported program"
    assert str(model.graph.inputs[0].shape) == "[N,3,8,8]"
    assert model.graph.inputs[0].name == "input"
    agrees(model, small, tensor(4, 3, 8, 8))


def test_a_program_with_shared_and_strided_weights(tmp_path: Path) -> None:
    class Tied(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = torch.nn.Parameter(tensor(6, 4).T)
            self.two = self.one
            self.register_buffer("rows", torch.arange(4, dtype=torch.float64)[1:])
            self.constant = tensor(6, seed=5)

        def forward(self, x: Any) -> Any:
            return x @ self.one @ self.two.T + self.rows.float().sum() + (x @ self.one) @ self.constant[:, None]

    module = Tied()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(torch.export.export(module, (tensor(3, 4),)), tmp_path / "tied.pt2")
    agrees(fewbits.load(tmp_path / "tied.pt2"), module, tensor(3, 4, seed=8))


def test_the_command_line_takes_it(program: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["inspect", str(program), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert ended.value.code == 0
    assert found["frontend"] == "PyTorch exported program"
    assert found["size_bytes"] == program.stat().st_size
    with pytest.raises(SystemExit) as ended:
        main(["convert", str(program), "-o", str(tmp_path / "out.onnx")])
    assert ended.value.code == 0


# --- hostile and damaged archives ---------------------------------------------------------------------------------


class Evil:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.marker),)


def rewritten(program: Path, target: Path, **changed: Callable[[bytes], bytes]) -> Path:
    """A copy in which members whose path ends so are changed; a new one is written where there is none."""
    with zipfile.ZipFile(program) as source, zipfile.ZipFile(target, "w") as made:
        root = source.namelist()[0].split("/")[0]
        for name in source.namelist():
            change = changed.pop(name.removeprefix(f"{root}/"), None)
            made.writestr(name, source.read(name) if change is None else change(source.read(name)))
        for name, change in changed.items():
            made.writestr(f"{root}/{name}", change(b""))
    return target


def edited(change: Callable[[Any], Any]) -> Callable[[bytes], bytes]:
    def apply(data: bytes) -> bytes:
        document = json.loads(data)
        change(document)
        return json.dumps(document).encode()

    return apply


def refused(path: Path, says: str) -> None:
    with pytest.raises(ModelError) as caught:
        fewbits.load(path)
    assert str(caught.value).startswith(str(path))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


MODEL, WEIGHTS = "models/model.json", "data/weights/model_weights_config.json"


def saved(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def _first_node(document: Any) -> Any:
    return document["graph_module"]["graph"]["nodes"][0]


def test_pickles_that_nobody_needs_are_never_read(small: Any, program: Path, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    path = rewritten(
        program, tmp_path / "evil.pt2", **{"data/sample_inputs/model.pt": lambda _: saved((Evil(marker), {}))}
    )
    agrees(fewbits.load(path), small, tensor(2, 3, 8, 8))
    assert not marker.exists()
    # torch's own loader, in a process of its own, does run it: the archive is a real attack.
    code = f"import torch; torch.export.load({str(path)!r})"
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, check=False)
    assert marker.exists()


def test_pickled_weights_are_refused(program: Path, tmp_path: Path) -> None:
    marker = tmp_path / "ran"

    def marked(document: Any) -> None:
        next(iter(document["config"].values()))["use_pickle"] = True

    changes = {WEIGHTS: edited(marked), "data/weights/weight_0": lambda _: saved(Evil(marker))}
    refused(rewritten(program, tmp_path / "evil.pt2", **changes), "pickles")
    changes = {"data/constants/model_constants_config.json": lambda _: json.dumps({"config": {"c": {
        "path_name": "opaque_obj_0", "is_param": False, "use_pickle": False, "tensor_meta": None}}}).encode(),
        "data/constants/opaque_obj_0": lambda _: pickle.dumps(Evil(marker))}  # fmt: skip
    refused(rewritten(program, tmp_path / "evil.pt2", **changes), "pickles")
    assert not marker.exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: _first_node(d).update(target="torch.os.system"), "torch.os.system"),
        (lambda d: _first_node(d).update(target="torch.ops.aten.from_file.default"), "from_file"),
        (lambda d: _first_node(d).update(target="torch.ops.mylib.run.default"), "none of ATen's"),
        (lambda d: _first_node(d).update(target=3), "none of ATen's"),
        (lambda d: _first_node(d).update(name="x\nimport os"), "is no name"),
        (lambda d: _first_node(d)["outputs"][0]["as_tensor"].update(name="x=open('y','w')"), "is no name"),
        (lambda d: _first_node(d)["outputs"][0]["as_tensor"].update(name="torch.load"), "is no name"),
        (lambda d: d.update(x={"y": [[["x; import os"]]]}), "is no name"),
        (lambda d: d["graph_module"]["graph"]["tensor_values"].update({"a b": {}}), "is no name"),
        (
            lambda d: d["graph_module"].update(module_call_graph={"in_spec": '[1, {"type": "os.system"}]'}),
            "other kinds",
        ),
        (
            lambda d: d.update(
                x={"in_spec": json.dumps([1, {"type": "builtins.dict", "context": '[{"__enum__": true}]'}])}
            ),
            "other kinds",
        ),
        (lambda d: d.update(x={"as_expr": {"expr_str": "__import__('os').mkdir('ran')"}}), "more than arithmetic"),
        (lambda d: d.update(x={"expr_str": ["s0"]}), "more than arithmetic"),
        (lambda d: d.update(x={"as_custom_obj": {"name": "a"}}), "custom_obj"),
        (lambda d: d.pop("graph_module"), ""),
        (lambda d: d["graph_module"].update(graph=None), ""),
        (lambda d: d["graph_module"]["graph"]["nodes"].reverse(), ""),
    ],
)
def test_a_graph_that_torch_would_execute_is_refused(
    program: Path, tmp_path: Path, change: Callable[[Any], Any], says: str
) -> None:
    refused(rewritten(program, tmp_path / "evil.pt2", **{MODEL: edited(change)}), says)


def test_guards_are_not_executed(small: Any, program: Path, tmp_path: Path) -> None:
    def guarded(document: Any) -> None:
        document["guards_code"] = [f"__import__('os').mkdir({str(tmp_path / 'ran')!r})"]

    agrees(fewbits.load(rewritten(program, tmp_path / "m.pt2", **{MODEL: edited(guarded)})), small, tensor(2, 3, 8, 8))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "text",
    [
        "Symbol('s77', positive=True, integer=True)",
        "Mul(Integer(36), Symbol('s40', positive=True, integer=True))",
        "Add(Pow(Symbol('s0', integer=True), Integer(2)), Integer(-1))",
        "FloorDiv(Symbol('u3'), Integer(2))",
        "s0*4 + 1",
        "Max(s0, -2)",
    ],
)
def test_sizes_are_arithmetic(text: str) -> None:
    assert is_arithmetic(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "exit()",
        "Symbol('__import__')",
        "Symbol('s0', cls=3)",
        "Integer.__class__",
        "Mul(Integer(2), open)",
        "Pow(Integer(9), Integer(9))",
        "Pow(Symbol('s0'), Pow(Integer(9), Integer(9)))",
        "9**9**9",
        "Pow(s0, 99)",
        "Add(*s0)",
        "Add(**s0)",
        "Float('__import__')",
        "lambda: s0",
        "[s0 for s0 in s0]",
        "f's0'",
        "(" * 500,
        "s0 + " * 5000 + "s0",
        str(1 << 70),
    ],
)
def test_what_is_no_size_does_not_pass(text: str) -> None:
    assert not is_arithmetic(text)


def test_a_file_cut_off_or_blown_up_is_refused(program: Path, tmp_path: Path) -> None:
    whole = program.read_bytes()
    path = tmp_path / "cut.pt2"
    for length in (0, 1, 30, 1000, len(whole) // 2, len(whole) - 30, len(whole) - 1):
        path.write_bytes(whole[:length])
        refused(path, "")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("m/models/model.json", bytes(200_000_000))
    refused(path, "compressed")
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w") as twice:
        warnings.simplefilter("ignore")
        for _ in range(2):
            twice.writestr("m/models/model.json", "{}")
    refused(path, "twice")
    with zipfile.ZipFile(path, "w") as empty:
        empty.writestr("m/models/model.json", "[" * 100_000)
        empty.writestr("m/byteorder", "little")
    refused(path, "damaged")


def test_a_tensor_that_claims_more_than_its_file_is_refused(program: Path, tmp_path: Path) -> None:
    def inflated(document: Any) -> None:
        next(iter(document["config"].values()))["tensor_meta"]["sizes"][0]["as_int"] = 10**12

    refused(rewritten(program, tmp_path / "big.pt2", **{WEIGHTS: edited(inflated)}), "claims")


def test_flipped_bytes_never_end_in_a_traceback(program: Path, tmp_path: Path) -> None:
    whole = bytearray(program.read_bytes())
    rng = np.random.default_rng(2)
    for _ in range(25):
        damaged = whole.copy()
        damaged[int(rng.integers(len(whole)))] ^= 1 << int(rng.integers(8))
        (tmp_path / "flipped.pt2").write_bytes(damaged)
        try:
            assert isinstance(fewbits.load(tmp_path / "flipped.pt2"), ir.Model)
        except ModelError as error:
            assert "\n" not in str(error)


def test_without_torch_the_remedy_is_named(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(InputError, match=r"pip install 'fewbits\[torch\]'"):
        fewbits.load(program)


# --- real checkpoints -----------------------------------------------------------------------------------------------


def _cifar(mean: tuple[float, ...], scale: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    with np.load(ASSETS / "cifar10" / "val.npz") as data:
        images = (data["x"].astype(np.float32) - np.float32(mean)) / np.float32(scale)
        return np.ascontiguousarray(images.transpose(0, 3, 1, 2)), data["y"]


@needs_assets
def test_resnet20_computes_what_its_onnx_file_does(tmp_path: Path) -> None:
    checkpoint = torch.load(CHECKPOINTS / "resnet20.th", map_location="cpu", weights_only=True)["state_dict"]
    module = ResNet20().eval()
    module.load_state_dict({name.removeprefix("module."): value for name, value in checkpoint.items()}, strict=False)
    images, labels = _cifar((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
    model = fewbits.load(module, example_inputs=(torch.from_numpy(images[:1]),))
    twin = fewbits.load(ASSETS / "models" / "onnx" / "resnet20_cifar10.onnx")
    got = on_onnxruntime(model, {"image": images})
    expected = on_onnxruntime(twin, {"image": images})["logits"]
    (logits,) = got.values()
    assert np.abs(logits - expected).max() <= 1e-4
    assert (logits.argmax(1) == labels).mean() == 0.8220
    assert sum(node.op_type == "BatchNormalization" for node in simplify(model).graph) == 0


@needs_assets
def test_samplenet_scores_what_is_stated() -> None:
    module = SampleNet()
    module.load_state_dict(torch.load(CHECKPOINTS / "samplenet.pth", map_location="cpu", weights_only=True))
    images, labels = _cifar((125.307, 122.961, 113.8575), (51.5865, 50.847, 51.255))
    model = fewbits.load(module, example_inputs=(torch.from_numpy(images[:1]),))
    agrees(model, module, torch.from_numpy(images[:64]))
    (logits,) = on_onnxruntime(model, {"data": images}).values()
    assert (logits.argmax(1) == labels).mean() == 0.6545


@needs_assets
@pytest.mark.parametrize("name", ["resnet20.th", "samplenet.pth"])
def test_a_checkpoint_alone_is_explained(name: str) -> None:
    refused(CHECKPOINTS / name, f"'{Path(name).stem}.pt2'")
