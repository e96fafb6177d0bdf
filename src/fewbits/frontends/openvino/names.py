"""Names of nodes and values: the source file's where it has them, type and number where OpenVINO made one up."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any, Final

# What OpenVINO calls what had no name: a type and a number that is another in each run, or TensorFlow Lite's index.
_MADE_UP: Final = re.compile(r"[A-Z][A-Za-z0-9]*_\d+|\d+")


class Names:
    """Names given out, each once."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def unique(self, name: str) -> str:
        """The name, with a number behind it where it is taken."""
        found, count = name or "unnamed", 1
        while found in self._taken:
            count += 1
            found = f"{name}_{count}"
        self._taken.add(found)
        return found


class SourceNames:
    """What the nodes of a model are called.

    Args:
        written: whether friendly names stand in the file, as they do in an IR.
    """

    def __init__(self, *, written: bool) -> None:
        self._written = written
        self._counts: Counter[str] = Counter()

    def of_node(self, node: Any) -> str:
        """The name of a node, asked for once: what had none is counted."""
        name = self.of_constant(node)
        if not name:
            kind = str(node.get_type_name())
            self._counts[kind] += 1
            name = f"{kind}_{self._counts[kind]}"
        return name

    def of_constant(self, node: Any) -> str:
        """The name of a node, or nothing where OpenVINO made it up."""
        name = str(node.get_friendly_name())
        if self._written or not _MADE_UP.fullmatch(name):
            return name
        tensor = tensor_name(node.output(0))
        # TensorFlow's own "Add_1" is the name of its tensor, too; TensorFlow Lite joins the names of what it fused.
        return name if tensor.split(":")[0] == name else tensor.split(";")[0]


def tensor_name(port: Any) -> str:
    """What a person calls the tensor of a port; nothing where it has no name."""
    return str(port.get_any_name()) if port.get_names() else ""


def output_name(port: Any) -> str:
    """The name of a model's output: the tensor's; where that has none, the node's, and the port if it has several."""
    read = port.get_node().input_value(0)
    node = read.get_node()
    several = node.get_output_size() > 1
    plain = node.get_friendly_name() + (f".{read.get_index()}" if several else "")
    return tensor_name(port) or tensor_name(read) or str(plain)
