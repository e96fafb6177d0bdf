"""Size expressions in exported programs: text that torch evaluates as Python, so only arithmetic on sizes passes."""

from __future__ import annotations

import ast
import re

_MOST_TEXT = 2000
_SYMBOL = re.compile(r"[su]\d{1,9}", re.ASCII)
# fmt: off
_FUNCTIONS = frozenset((
    "Add", "Mul", "Integer", "Float", "Rational", "Symbol",
    "Max", "Min",
    "Mod", "PythonMod", "FloorDiv", "CleanDiv", "CeilDiv",
    "CeilToInt", "FloorToInt", "IntTrueDiv", "FloatTrueDiv", "ToFloat", "TruncToInt",
    "Equality", "Unequality", "StrictLessThan", "LessThan", "StrictGreaterThan", "GreaterThan",
    "Eq", "Ne", "Lt", "Le", "Gt", "Ge",
    "Not", "And", "Or",
))
# fmt: on
_MOST_NUMBER = 1 << 62


def is_arithmetic(text: str) -> bool:
    """Whether the text is a size as torch writes it: ``Mul(Integer(36), Symbol('s40', positive=True))``."""
    if len(text) > _MOST_TEXT:
        return False
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return _passes(tree.body)


def _passes(node: ast.expr) -> bool:
    match node:
        case ast.Name(id=name):
            return _SYMBOL.fullmatch(name) is not None
        case ast.Constant(value=bool()):
            return True
        case ast.Constant(value=int() | float() as number):
            return abs(number) <= _MOST_NUMBER
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return _passes(operand)
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub() | ast.Mult() | ast.Div() | ast.FloorDiv(), right=right):
            return _passes(left) and _passes(right)
        case ast.Call(func=ast.Name(id="Symbol"), args=[ast.Constant(value=str() as name)], keywords=keywords):
            return _SYMBOL.fullmatch(name) is not None and all(_is_switch(keyword) for keyword in keywords)
        case ast.Call(func=ast.Name(id="Float"), args=[ast.Constant(value=str() as number)]):
            return re.fullmatch(r"-?\d{1,40}(\.\d{1,40})?(e-?\d{1,2})?", number, re.ASCII) is not None
        case ast.Call(func=ast.Name(id="Pow"), args=[base, exponent], keywords=[]):
            return _passes_power(base, exponent)
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=keywords):
            switches = all(_is_switch(keyword) for keyword in keywords)
            return name in _FUNCTIONS and switches and all(map(_passes, arguments))
    return False


def _is_switch(keyword: ast.keyword) -> bool:
    return keyword.arg is not None and isinstance(keyword.value, ast.Constant) and isinstance(keyword.value.value, bool)


def _passes_power(base: ast.expr, exponent: ast.expr) -> bool:
    """Symbols to a power of one digit: a tower of numbers would be worked out to its last digit."""
    symbol = isinstance(base, ast.Name) or (
        isinstance(base, ast.Call) and isinstance(base.func, ast.Name) and base.func.id == "Symbol"
    )
    digit = re.fullmatch(r"(Integer\()?-?\d\)?", ast.unparse(exponent), re.ASCII) is not None
    return symbol and digit and _passes(base)
