"""Writing files whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import tempfile
from collections.abc import Iterator
from pathlib import Path

from fewbits.errors import InputError, OutputError

# Scratch folders begin so; what a killed run left can be told by it.
SCRATCH = ".fewbits-"
_REASONS = {
    errno.ENOSPC: ("no space left on the disk", "free some space or write elsewhere with -o"),
    errno.EDQUOT: ("the disk quota is used up", "free some space or write elsewhere with -o"),
    errno.EFBIG: ("the file is larger than this system allows", "write elsewhere with -o"),
    errno.EACCES: ("no permission to write here", "choose another place with -o"),
    errno.EPERM: ("no permission to write here", "choose another place with -o"),
    errno.EROFS: ("the file system is read-only", "choose another place with -o"),
    errno.ENOTDIR: ("part of the path is a file, not a folder", "choose another place with -o"),
    errno.EISDIR: ("this is a folder", "name a file with -o"),
    errno.EEXIST: ("a file of this name is in the way", "choose another place with -o"),
}


def check_name(path: Path) -> None:
    """Raise ``InputError`` for a name that is no text: engines take names as UTF-8."""
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        shown = str(path).encode(errors="replace").decode()
        raise InputError("the name is not valid UTF-8", where=shown, fix="rename the file") from error


def output_error(error: OSError, where: Path) -> OutputError:
    """Turn what the system said about writing to ``where`` into a sentence with a remedy."""
    what, fix = _REASONS.get(error.errno or 0, (f"cannot write: {error.strerror or error}", "check the path"))
    return OutputError(what, where=str(where), fix=fix)


@contextlib.contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield a scratch folder beside ``path``; its files move to ``path``'s folder when the block ends well.

    Several files that belong together (an IR's ``.xml`` and ``.bin``) are written into the scratch
    folder under their final names. An error or a signal in the block leaves no trace.

    Raises:
        OutputError: the place cannot be written, or it is full.
    """
    check_name(path)
    target = path.absolute().parent
    try:
        target.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "is a directory", str(path))
        with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=target) as scratch:
            yield Path(scratch)
            for file in sorted(Path(scratch).iterdir()):
                file.replace(target / file.name)
    except OutputError as error:  # from a block of the same kind inside this one, which knows only the scratch
        raise OutputError(error.what, where=str(path), fix=error.fix) from error
    except OSError as error:
        if error.filename is not None or error.errno in _REASONS:
            raise output_error(error, path) from error
        raise


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a scratch path; what is written there becomes ``path`` when the block ends well."""
    with whole_folder(path) as scratch:
        yield scratch / path.name


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path``, whole or not at all."""
    with whole_file(path) as scratch:
        scratch.write_text(text, encoding="utf-8")


def check_place(path: Path) -> None:
    """Whether a file can be written there, before any work is done for it; makes its folder."""
    try:
        make_folder(path.absolute().parent)
    except OutputError as error:
        raise OutputError(error.what, where=str(path), fix=error.fix) from error


def make_folder(path: Path) -> Path:
    """Make a folder for results and prove that a file can be written in it."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise output_error(error, path) from error
    return path
