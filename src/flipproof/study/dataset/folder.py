"""Picture files of a folder or a glob, in order, with a name for each."""

from __future__ import annotations

import glob
import os
from collections import Counter
from pathlib import Path

from flipproof.errors import DatasetError

__all__ = ["SUFFIXES", "is_pattern", "names_of", "picture_files", "printable"]

SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})
"""What a file in a folder must end in to count as a picture, in small letters."""

MOST_FILES = 2**20


def is_pattern(text: str) -> bool:
    """Returns whether a text is a glob and not the name of a folder that is there.

    Example:
        >>> is_pattern("photos/*.png"), is_pattern("photos")
        (True, False)
    """
    return glob.has_magic(text) and not Path(text).expanduser().is_dir()


def picture_files(text: str | Path) -> list[Path]:
    """Lists the pictures directly inside a folder, or all files that match a glob, sorted by path.

    Folders are left out, and in a folder whatever does not end in one of :data:`SUFFIXES`.

    Arguments:
        text: A folder, or a glob such as ``photos/**/*.png``; ``~`` is the home folder.

    Raises:
        DatasetError: There is no such folder, it cannot be read, or nothing is in it or matches.
    """
    try:
        found = _matches(str(text)) if is_pattern(str(text)) else _inside(Path(text).expanduser())
    except (OSError, ValueError, RuntimeError) as error:
        raise DatasetError(f"cannot list {text}: {getattr(error, 'strerror', None) or error}") from error
    if not found:
        raise DatasetError(f"expected pictures ({', '.join(sorted(SUFFIXES))}) in {text}, got none")
    if len(found) > MOST_FILES:
        raise DatasetError(f"expected at most {MOST_FILES} pictures in {text}, got {len(found)}")
    return sorted(found)


def names_of(paths: list[Path]) -> list[str]:
    """Names files: by their stems, with the suffix where stems are equal, with folders where that is equal too.

    Example:
        >>> names_of([Path("x/a.png"), Path("x/b.png"), Path("x/b.jpg"), Path("y/a.png")])
        ['x/a.png', 'b.png', 'b.jpg', 'y/a.png']
    """
    base = Path(os.path.commonpath([path.parent for path in paths])) if paths else Path()
    ways = [(path.stem, path.name, path.relative_to(base).as_posix()) for path in paths]
    names = [tuple(map(printable, way)) for way in ways]
    seen = Counter(name for way in names for name in set(way))
    return [next((name for name in way if seen[name] == 1), way[-1]) for way in names]


def printable(name: str) -> str:
    """Returns a file name as text that any file can hold: what is no UTF-8 is replaced."""
    return os.fsencode(name).decode("utf-8", "replace")


def _inside(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise DatasetError(f"expected a folder of pictures, got {folder}, which is {_kind(folder)}")
    return [path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.is_dir()]


def _matches(pattern: str) -> list[Path]:
    found = glob.glob(str(Path(pattern).expanduser()), recursive=True)  # noqa: PTH207 (Path.glob takes no absolute pattern)
    return [path for path in map(Path, found) if not path.is_dir()]


def _kind(path: Path) -> str:
    return "a file" if path.exists() else "not there"
