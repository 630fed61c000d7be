"""SHA-256 of weights files, read once as long as they do not change."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from flipproof.errors import WeightsError

__all__ = ["file_digest", "folder_digest"]


def file_digest(path: Path) -> str:
    """Returns the SHA-256 of a file, in hexadecimal digits.

    Raises:
        WeightsError: It cannot be read.
    """
    try:
        state = path.stat()
        return _digest(path.resolve(), state.st_mtime_ns, state.st_size)
    except OSError as error:
        raise WeightsError(f"cannot read the weights {path}: {error.strerror or error}") from error


def folder_digest(folder: Path, names: Sequence[str]) -> str:
    """Returns the SHA-256 of lines ``digest name``, one for each of some files of a folder, in the order of the names.

    Raises:
        WeightsError: One of them cannot be read.
    """
    lines = [f"{file_digest(folder / name)} {name}\n" for name in sorted(names)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


@lru_cache(maxsize=256)
def _digest(path: Path, modified: int, size: int) -> str:
    """Reads a file; when it was modified, and its size, are parts of the key."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
