"""Which frontend a file is for: by what it holds, then by its name."""

from __future__ import annotations

from pathlib import Path

from fewbits.errors import ModelError
from fewbits.files import check_name
from fewbits.frontends.content import recognize
from fewbits.frontends.kinds import EXPLAINED_SUFFIXES, READ, RECOGNIZABLE, SUFFIXES, Explained, Kind

_SAVED_MODEL = "saved_model.pb"


def identify(path: Path) -> Kind:
    """The kind of model at this path; reads no more than the beginning of a file.

    Raises:
        ModelError: nothing is there, no frontend reads it, or its name says another kind than its content.
    """
    check_name(path)
    if not path.exists():
        raise ModelError("no such file", where=str(path), fix="check the path")
    if path.is_dir():
        return _folder(path)
    if not path.is_file():
        raise ModelError("this is no file", where=str(path), fix="give a model file")
    try:
        found = recognize(path)
    except OSError as error:
        raise ModelError(f"cannot be read: {error.strerror}", where=str(path)) from error
    suffix = path.suffix.lower()
    if isinstance(found, Explained):
        raise _explanation(found, path)
    if suffix in SUFFIXES:
        return _of_that_name(path, SUFFIXES[suffix], found)
    if found is not None:
        raise ModelError(_unread(path), where=str(path), fix=f"it looks like {found.label}: name it *{found.suffix}")
    if suffix in EXPLAINED_SUFFIXES:
        raise _explanation(EXPLAINED_SUFFIXES[suffix], path)
    raise ModelError(_unread(path), where=str(path), fix=f"give {READ}")


def _folder(path: Path) -> Kind:
    if (path / _SAVED_MODEL).is_file():
        return Kind.SAVED_MODEL
    raise ModelError(
        "this is a folder, not a model file",
        where=str(path),
        fix=f"name the .onnx or other file in it, or give a SavedModel folder, which holds {_SAVED_MODEL}",
    )


def _of_that_name(path: Path, named: tuple[Kind, ...], found: Kind | None) -> Kind:
    """The kind among those a file of this name may be; ``found`` is what the content shows."""
    if found in named:
        return found
    if found is not None:
        fix = f"name it *{found.suffix}, or give the file you meant"
        raise ModelError(f"it looks like {found.label}, not {named[0].label}", where=str(path), fix=fix)
    if named[0] in RECOGNIZABLE:
        raise ModelError(f"not {named[0].label}, or cut off", where=str(path), fix="export it again")
    return named[0]


def _explanation(what: Explained, path: Path) -> ModelError:
    fix = what.fix.replace("{stem}", path.stem).replace("{name}", path.name)
    return ModelError(what.what, where=str(path), fix=fix)


def _unread(path: Path) -> str:
    return f"no frontend reads '{path.suffix or path.name}' files"
