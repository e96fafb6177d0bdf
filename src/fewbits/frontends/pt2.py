"""``.pt2`` archives of exported programs, made harmless before torch reads them.

``torch.export.load`` trusts its file: it unpickles sample inputs, marked weights and custom objects, evaluates size
expressions and guards as Python, looks operators up by any dotted name below ``torch``, writes names into source code
that it compiles, and loads shared libraries (torch 2.13). So it never sees the file given. It gets a copy of what is
needed and was checked here: numbers as bare bytes, and a graph in which every string is a plain name, every operator
one of ATen's, and every size expression plain arithmetic. Whatever else is needed refuses the file.
"""

from __future__ import annotations

import json
import math
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fewbits.errors import ModelError
from fewbits.frontends.content import members
from fewbits.frontends.size_text import is_arithmetic

_MODEL = "models/model.json"
_CONFIGS = ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json")
_MOST_JSON_BYTES = 1 << 26
_CHUNK = 1 << 20
_NAME = re.compile(r"[\w.]*", re.ASCII)
_IDENTIFIER = re.compile(r"\w*", re.ASCII)
_MODULES = re.compile(r"[\w.]*,[\w.]*,[\w.]*(;[\w.]*,[\w.]*,[\w.]*)*", re.ASCII)
_TENSOR_FILE = re.compile(r"(weight|tensor)_\d+", re.ASCII)
_OPERATOR = re.compile(
    r"torch\.ops\.aten\.(?!from_file)\w+(\.\w+)?"
    r"|_operator\.(add|sub|mul|floordiv|truediv|mod|neg|eq|ne|lt|le|gt|ge|and_|or_|not_|getitem)"
    r"|math\.(ceil|floor|trunc)|torch\.sym_(int|float|max|min|not|ite|sum)",
    re.ASCII,
)
_PLAIN_TREES = frozenset({None, "builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict"})
# Texts that are no names: checked on their own, never in source code, or only as a quoted literal.
_FREE_TEXT = ("as_string", "as_strings", "expr_str", "in_spec", "out_spec", "torch_version", "nn_module_stack")
_REFUSED = ("as_custom_obj", "as_operator", "as_graph")


def clean_copy(path: Path, target: Path) -> None:
    """Write the archive anew with nothing in it that torch would run.

    Raises:
        ModelError: not an archive of an exported program, damaged, or one that needs what is refused.
    """
    try:
        sizes = _sizes(path)
        with zipfile.ZipFile(path) as archive, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as made:
            root = next(name for name in sizes if name.endswith(_MODEL)).removesuffix(_MODEL)
            _copy(archive, made, root, sizes)
    except zipfile.BadZipFile as error:
        raise refusal(path, "it is cut off or damaged", "export it again") from error
    except (_UnsafeError, json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        what = str(error) if isinstance(error, _UnsafeError) else "its graph is damaged"
        raise refusal(path, what, "export it again with torch.export.save, from ATen operators alone") from error
    except (KeyError, TypeError, AttributeError, ValueError, StopIteration) as error:
        raise refusal(path, "it holds no program", "write it with torch.export.save of torch 2.8 or later") from error


class _UnsafeError(Exception):
    """Why the archive is not handed to torch."""


def refusal(path: Path, what: str, fix: str) -> ModelError:
    """The error about this file."""
    return ModelError(f"not a readable exported PyTorch program: {what}", where=str(path), fix=fix)


def _sizes(path: Path) -> dict[str, int]:
    """Member → bytes; nothing is packed, so together they are no larger than the file."""
    sizes: dict[str, int] = {}
    for info in members(path):
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
            raise _UnsafeError("its members are compressed, as torch never writes them")
        if info.filename in sizes:
            raise _UnsafeError(f"it holds {info.filename[:80]} twice")
        sizes[info.filename] = info.file_size
    if sum(sizes.values()) > path.stat().st_size:
        raise _UnsafeError("its members are larger than the file")
    return sizes


def _copy(archive: zipfile.ZipFile, made: zipfile.ZipFile, root: str, sizes: dict[str, int]) -> None:
    def read(name: str) -> Any:
        if sizes[root + name] > _MOST_JSON_BYTES:
            raise _UnsafeError(f"{name} has {sizes[root + name]} bytes")
        return json.loads(archive.read(root + name))

    def write(name: str, content: str) -> None:
        made.writestr(f"model/{name}", content)

    write("archive_format", "pt2")
    write("archive_version", "0")
    write(".data/version", "3\n")
    write("byteorder", "little")
    if archive.read(root + "byteorder") != b"little":
        raise _UnsafeError("its numbers are big-endian")
    write("data/sample_inputs/model.pt", "")
    write(_MODEL, json.dumps(_graph(read(_MODEL))))
    for config in _CONFIGS:
        content = _payload(read(config))
        write(config, json.dumps(content))
        folder = config.rpartition("/")[0]
        for entry in content["config"].values():
            _check_size(entry, sizes[f"{root}{folder}/{entry['path_name']}"])
        for name in {entry["path_name"] for entry in content["config"].values()}:
            with archive.open(f"{root}{folder}/{name}") as source, made.open(f"model/{folder}/{name}", "w") as sink:
                while chunk := source.read(_CHUNK):
                    sink.write(chunk)


def _payload(content: Any) -> Any:
    """The list of weights: name → file, type, sizes. Only bare numbers pass."""
    for entry in content["config"].values():
        if entry["use_pickle"] is not False or not _TENSOR_FILE.fullmatch(entry["path_name"]):
            raise _UnsafeError("it holds pickles, which could run any program")
    _check_strings(content)
    return content


def _check_size(entry: Any, size: int) -> None:
    """A tensor claims no more numbers than its file has bytes."""
    numbers = math.prod(int(extent["as_int"]) for extent in entry["tensor_meta"]["sizes"])
    if not 0 <= numbers <= size:
        raise _UnsafeError(f"{entry['path_name']} has {size} bytes and claims {numbers} numbers")


def _graph(content: Any) -> Any:
    """The program without what torch would evaluate; raises where something of that kind is part of the graph."""
    for found in _objects(content):
        for key, value in found.items():
            if key == "guards_code":
                found[key] = []
            elif key == "metadata":
                found[key] = _modules(value)
            elif key in ("in_spec", "out_spec") and value is not None:
                _check_tree(json.loads(value))
            elif key == "target" and not (isinstance(value, str) and _OPERATOR.fullmatch(value)):
                raise _UnsafeError(f"its operator {str(value)[:80]} is none of ATen's")
            elif key == "expr_str" and not (isinstance(value, str) and is_arithmetic(value)):
                raise _UnsafeError(f"its size expression {str(value)[:80]} is more than arithmetic")
            elif key in _REFUSED and value is not None:
                raise _UnsafeError(f"it holds {key.removeprefix('as_')} arguments")
    _check_strings(content)
    return content


def _modules(metadata: dict[str, str]) -> dict[str, str]:
    """Which modules a node belongs to, for its name; the rest goes."""
    stack = metadata.get("nn_module_stack", "")
    return {"nn_module_stack": stack} if _MODULES.fullmatch(stack) else {}


def _check_tree(content: Any) -> None:
    """How arguments are nested: in tuples, lists and dictionaries, and nothing that is looked up by name."""
    for found in _objects(content):
        if found.get("type") not in _PLAIN_TREES or not set(str(found.get("context"))).isdisjoint("{"):
            raise _UnsafeError("its arguments are of other kinds than tensors in tuples, lists and dictionaries")


def _check_strings(content: Any) -> None:
    """Names become Python source inside torch: nothing but names passes."""
    left: list[tuple[str, Any]] = [("", content)]
    while left:
        key, value = left.pop()
        if isinstance(value, dict):
            left.extend(value.items())
            left.extend(("", name) for name in value)
        elif isinstance(value, list):
            left.extend((key, part) for part in value)
        elif isinstance(value, str) and key not in _FREE_TEXT and not _allowed(key).fullmatch(value):
            raise _UnsafeError(f"'{value[:80]}' is no name")


def _allowed(key: str) -> re.Pattern[str]:
    """A value's name is assigned to: with a dot in it, that would change a module."""
    return _IDENTIFIER if key in ("name", "as_name") else _NAME


def _objects(content: Any) -> Iterator[dict[str, Any]]:
    """Every JSON object in the document, without recursion: its depth is the file's choice."""
    left = [content]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            yield value
            left.extend(value.values())
        elif isinstance(value, list):
            left.extend(value)
