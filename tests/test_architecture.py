"""The direction of imports, read from the source; every rule is shown to catch what it forbids."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import fewbits

SOURCE = Path(fewbits.__file__).parent
# Left to right: a room imports only rooms of earlier steps.
STEPS = (
    ("errors", "example"),
    ("files", "garbage", "progress", "libraries", "numerics"),
    ("graph", "data", "devices"),
    ("frontends", "passes", "engines"),
    ("calibration",),
    ("quantization", "measurement"),
    ("hazards",),
    ("selection", "inspection"),
    ("report", "zoo"),
    ("verbs",),
    ("cli",),
    ("__main__",),
)
STEP_OF = {room: step for step, rooms in enumerate(STEPS) for room in rooms}
# Frameworks, and the only files that may import them (a folder stands for all its files).
FRAMEWORKS = {
    "openvino": ("libraries.py",),
    "onnxruntime": ("engines/onnxruntime.py",),
    "torch": ("frontends/",),
    "tensorflow": ("frontends/",),
    "paddle": ("frontends/",),
    "vl_convert": ("report/charts.py",),
}


class Imports(ast.NodeVisitor):
    """(imported module, inside a function, only for type checkers) of one file, relative ones resolved."""

    def __init__(self, file: str) -> None:
        self.package = ["fewbits", *Path(file).with_suffix("").parts][:-1]
        self.found: list[tuple[str, bool, bool]] = []
        self._functions = 0
        self._typing = 0

    def _note(self, module: str) -> None:
        self.found.append((module, self._functions > 0, self._typing > 0))

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._note(alias.name)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        package = self.package[: len(self.package) - node.level + 1] if node.level else []
        base = ".".join([*package, *(node.module or "").split(".")]).strip(".")
        if base == "fewbits":
            for alias in node.names:
                self._note(f"fewbits.{alias.name}" if alias.name in STEP_OF else "fewbits")
        else:
            self._note(base)

    def visit_Call(self, node: ast.Call) -> None:
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        if name in ("import_module", "__import__") and node.args and isinstance(node.args[0], ast.Constant):
            self._note(str(node.args[0].value))
        self.generic_visit(node)

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> None:
        self._functions += 1
        self.generic_visit(node)
        self._functions -= 1

    visit_FunctionDef = visit_AsyncFunctionDef = visit_Lambda = _function  # noqa: N815

    def visit_If(self, node: ast.If) -> None:
        typing = isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        self._typing += typing
        for child in node.body:
            self.visit(child)
        self._typing -= typing
        for child in node.orelse:
            self.visit(child)


def violations(file: str, source: str) -> list[str]:
    """What a file (its path below ``src/fewbits``) imports against the rules."""
    imports = Imports(file)
    imports.visit(ast.parse(source))
    room = Path(file).parts[0].removesuffix(".py")
    found = []
    for module, lazy, typing in imports.found:
        top, _, rest = module.partition(".")
        if top in FRAMEWORKS and not typing:
            if not any(file == home or (home.endswith("/") and file.startswith(home)) for home in FRAMEWORKS[top]):
                found.append(f"{file} imports {top}")
            elif not lazy:
                found.append(f"{file} imports {top} outside a function")
        if top != "fewbits" or not rest:
            continue
        other = rest.split(".")[0]
        if room == "__init__":
            if not typing:
                found.append(f"{file} imports {other} before anything of it is used")
        elif room not in STEP_OF or other not in STEP_OF:
            found.append(f"{file}: {room} or {other} stands on no step")
        elif other != room and STEP_OF[other] >= STEP_OF[room]:
            found.append(f"{file}: {room} imports {other}")
    return found


def test_the_source_keeps_the_direction() -> None:
    files = sorted(SOURCE.rglob("*.py"))
    assert len(files) > 90
    found = [v for f in files for v in violations(f.relative_to(SOURCE).as_posix(), f.read_text(encoding="utf-8"))]
    assert found == []


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("numerics/a.py", "from fewbits.graph import queries"),
        ("numerics/a.py", "def f():\n    from fewbits.engines.openvino import OpenVino"),
        ("numerics/a.py", "from fewbits.files import whole_file"),
        ("graph/a.py", "import fewbits.data.sample"),
        ("graph/a.py", "from ..engines import ENGINES"),
        ("passes/a.py", "from fewbits.engines import Capability"),
        ("quantization/a.py", "from fewbits.measurement.records import Subject"),
        ("measurement/metrics/a.py", "from ...quantization import plan"),
        ("report/a.py", "from fewbits.verbs.choose import choose"),
        ("errors.py", "from fewbits import cli"),
        ("data/a.py", "from fewbits.attic import x"),
        ("attic/a.py", "from fewbits.errors import x"),
        ("__init__.py", "from fewbits.frontends import load"),
        ("quantization/a.py", "import openvino as ov"),
        ("engines/base.py", "def f():\n    from onnxruntime import InferenceSession"),
        ("engines/base.py", "def f():\n    import_module('openvino.runtime')"),
        ("libraries.py", "import openvino"),
        ("engines/openvino.py", "def f():\n    import openvino"),
        ("engines/openvino.py", "import onnxruntime"),
        ("engines/onnxruntime.py", "class A:\n    import onnxruntime"),
        ("frontends/pytorch.py", "import torch"),
        ("passes/a.py", "def f():\n    import torch.nn"),
        ("report/page.py", "def f():\n    import vl_convert"),
    ],
)
def test_each_rule_catches_what_it_forbids(file: str, source: str) -> None:
    assert len(violations(file, source)) == 1


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("quantization/a.py", "from fewbits.engines.openvino import OpenVino\nfrom fewbits.quantization import b"),
        ("engines/a.py", "from fewbits.libraries import openvino\nfrom fewbits.devices.host import detect"),
        ("libraries.py", "def f():\n    import openvino.properties"),
        ("measurement/metrics/a.py", "from .top import Top\nfrom ..records import Subject\nfrom ...errors import E"),
        ("cli/a.py", "from fewbits import __version__\nfrom fewbits.verbs.choose import choose"),
        ("__init__.py", "if TYPE_CHECKING:\n    from fewbits.frontends import load"),
        ("frontends/pytorch.py", "def f():\n    import torch"),
    ],
)
def test_what_is_allowed_passes(file: str, source: str) -> None:
    assert violations(file, source) == []


@pytest.mark.parametrize(
    "work",
    [
        "import fewbits",
        "sys.argv = ['fewbits', '--help']; from fewbits.cli import main; main()",
    ],
)
def test_the_front_door_loads_no_framework(work: str) -> None:
    code = f"import atexit, json, sys\natexit.register(lambda: print(json.dumps(sorted(sys.modules))))\n{work}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert "fewbits" in loaded
    assert not loaded & {"openvino", "onnxruntime", "onnx", "onnx_ir", "onnxscript", "torch"}
