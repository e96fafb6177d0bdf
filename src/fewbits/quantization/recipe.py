"""A recipe: what to do to a model, frozen and hashable, as a file a person can read and edit."""

from __future__ import annotations

import fnmatch
import hashlib
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import onnx_ir as ir
from pydantic import BaseModel, ConfigDict, ValidationError

from fewbits.devices.host import Host
from fewbits.errors import InputError
from fewbits.graph.queries import node_name
from fewbits.quantization.corrections import BIAS, BIAS_MEASURED, CORRECTIONS, EQUALIZE, ROUNDING

Choice = Literal["int8", "float"]
AUTO = "auto"


@dataclass(frozen=True)
class Rule:
    """Sends nodes whose name or operator type matches a glob to ``int8`` or ``float``.

    An ``exact`` rule speaks of the one node of that name, whatever characters the name holds.
    """

    glob: str
    choice: Choice
    exact: bool = False

    def matches(self, name: str, op_type: str) -> bool:
        """Whether the rule speaks of this node."""
        if self.exact:
            return name == self.glob
        return fnmatch.fnmatchcase(name, self.glob) or fnmatch.fnmatchcase(op_type, self.glob)

    @property
    def reason(self) -> str:
        """The sentence that says what it did to a node."""
        return f"the recipe's rule '{self.glob}' keeps it in {self.choice}"

    def matches_node(self, node: ir.Node) -> bool:
        """The same for a node of a graph."""
        return self.matches(node_name(node), node.op_type)


@dataclass(frozen=True)
class Recipe:
    """How to quantize: the range method, the corrections and, node by node, INT8 or float. The last matching rule wins.

    ``auto`` leaves method or corrections to a measurement on the calibration samples.

    ``weight_bits`` is 7 where the host's instructions add pairs of u8*s8 products in 16 bits and would saturate.
    """

    name: str = "int8"
    method: str = AUTO
    rules: tuple[Rule, ...] = field(default=(Rule("*", "int8"),))
    corrections: tuple[str, ...] = (AUTO,)
    weight_bits: int = 8

    def choice(self, name: str, op_type: str) -> tuple[Choice, str]:
        """What this recipe wants for a node, and the sentence that says which rule decided."""
        rule = self.rule_for(name, op_type)
        if rule is None:
            return "float", "no rule of the recipe names it"
        return rule.choice, rule.reason

    def rule_for(self, name: str, op_type: str) -> Rule | None:
        """The rule that speaks of a node; None where none does."""
        return next((rule for rule in reversed(self.rules) if rule.matches(name, op_type)), None)

    @property
    def undecided(self) -> bool:
        """Whether something is left to a measurement."""
        return self.method == AUTO or AUTO in self.corrections

    @property
    def needs_samples(self) -> bool:
        """Whether samples are needed to settle or to carry out what the recipe asks for."""
        return self.undecided or bool({ROUNDING, BIAS_MEASURED} & set(self.corrections))

    def wants(self, correction: str) -> bool | None:
        """Whether a correction is to be made; None where that is left to a measurement.

        ``auto`` leaves open what costs next to nothing (bias) or little where it is promising (equalize).
        """
        if correction in self.corrections:
            return True
        if AUTO in self.corrections and correction in (EQUALIZE, BIAS):
            return None if BIAS_MEASURED not in self.corrections or correction != BIAS else False
        return False

    def sending(self, names: Iterable[str], choice: Choice) -> Recipe:
        """The same with the nodes of these names sent to INT8 or to float."""
        return replace(self, rules=(*self.rules, *(Rule(name, choice, exact=True) for name in names)))

    def fingerprint(self) -> str:
        """A short hash of everything that changes the result."""
        return hashlib.sha256(self.to_toml().encode()).hexdigest()[:16]

    def to_toml(self) -> str:
        """The recipe as TOML; ``from_toml`` reads it back equal."""
        lines = [
            f"name = {_quoted(self.name)}",
            f"method = {_quoted(self.method)}",
            f"corrections = [{', '.join(map(_quoted, self.corrections))}]",
            f"weight_bits = {self.weight_bits}",
        ]
        for rule in self.rules:
            lines += ["", "[[rules]]", f"glob = {_quoted(rule.glob)}", f"choice = {_quoted(rule.choice)}"]
            if rule.exact:
                lines.append("exact = true")
        return "\n".join(lines) + "\n"

    @classmethod
    def from_toml(cls, path: Path) -> Recipe:
        """Read a recipe.

        Raises:
            InputError: not TOML, an unknown key, or a value of the wrong kind.
        """
        try:
            read = _RecipeFile.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
        except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InputError(f"not a recipe: {error}", where=str(path)) from error
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise InputError(f"not a recipe: {place}: {first['msg']}", where=str(path)) from error
        if {BIAS, BIAS_MEASURED} <= set(read.corrections):
            raise InputError("not a recipe: corrections: bias and bias-measured correct the same", where=str(path))
        rules = tuple(Rule(rule.glob, rule.choice, rule.exact) for rule in read.rules)
        return cls(read.name, read.method, rules, tuple(read.corrections), read.weight_bits)


class _RuleFile(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    glob: str
    choice: Choice
    exact: bool = False


class _RecipeFile(BaseModel):
    """What a person may write into a recipe; anything else is an error that names the key."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str = "int8"
    method: Literal["auto", "minmax", "percentile", "mse", "entropy"] = "auto"
    corrections: list[Literal["auto", "equalize", "rounding", "bias", "bias-measured"]] = ["auto"]
    weight_bits: Literal[7, 8] = 8
    rules: list[_RuleFile] = []


def corrections(text: str) -> tuple[str, ...]:
    """``auto``, ``none``, or a list such as ``rounding,bias``, as the command line takes them.

    Raises:
        InputError: an unknown correction, or two ways of correcting the bias.
    """
    if text == "none":
        return ()
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    known = (AUTO, *CORRECTIONS)
    for name in names:
        if name not in known:
            raise InputError(f"unknown correction '{name}'", where="--correct", fix=f"none, or of {', '.join(known)}")
    if {BIAS, BIAS_MEASURED} <= set(names):
        raise InputError("bias and bias-measured correct the same thing", where="--correct", fix="name one of them")
    return names


def weight_bits(host: Host) -> int:
    """7 where this host's INT8 instructions would saturate at 8, so that the result is right there too."""
    return 7 if host.saturates_int8 else 8


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    escaped = "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in escaped)
    return f'"{escaped}"'
