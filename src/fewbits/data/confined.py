"""File names found inside data (CSV rows, COCO entries) lead nowhere but into their folder."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath, PureWindowsPath

from fewbits.errors import DataError


class ConfinedFolder:
    """A folder that untrusted relative names are looked up in.

    Args:
        root: the folder; raises DataError where it is none.
    """

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise DataError("is no folder", where=str(root))
        self.root = root
        self._real_root = os.path.realpath(root)
        # Resolving every part of every path is the slow half of opening 50,000 files; folders repeat.
        self._inside: dict[str, bool] = {}

    def find(self, name: str, *, where: str) -> Path:
        """The existing file ``name`` below the folder.

        Raises:
            DataError: absolute, with ``..``, through a symlink that leaves the folder, missing, or no
                plain file; names ``where`` it was listed.
        """
        relative = PurePosixPath(name)
        absolute = relative.is_absolute() or PureWindowsPath(name).anchor
        if not relative.parts or absolute or ".." in relative.parts or "\0" in name:
            raise DataError(f"{name!r} is not a path below {self.root}", where=where, fix="list files by relative path")
        path = self.root / relative
        try:
            inside, there = self._stays_inside(path), path.is_file()
        except OSError as error:  # a name longer than any file's
            raise DataError(f"{error.strerror}: {name[:80]!r}", where=where) from error
        if not inside:
            raise DataError(f"{name!r} leads out of {self.root} by a symlink", where=where, fix="copy the file there")
        if not there:
            raise DataError(
                f"the file {name!r} is listed but not there (in {self.root})",
                where=where,
                fix="add it or remove the line",
            )
        return path

    def _stays_inside(self, path: Path) -> bool:
        if path.is_symlink():
            return self._is_below(os.path.realpath(path))
        parent = str(path.parent)
        if parent not in self._inside:
            self._inside[parent] = self._is_below(os.path.realpath(parent))
        return self._inside[parent]

    def _is_below(self, real: str) -> bool:
        return real == self._real_root or real.startswith(self._real_root.rstrip(os.sep) + os.sep)
