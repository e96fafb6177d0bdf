"""What can be told of a file before a native reader sees it."""
from __future__ import annotations
from pathlib import Path
CHECKS = {"x": (lambda p: None, "OpenVINO")}
def kind_of(path: Path) -> str:
    return "x"
