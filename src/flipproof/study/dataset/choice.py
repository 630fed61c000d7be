"""What ``--data`` of the command line names: data sets, folders, and where data sets are on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from flipproof.errors import ImageError, SpecError
from flipproof.study.dataset import catalogue
from flipproof.study.dataset.catalogue import DataSet
from flipproof.study.dataset.collection import files_of
from flipproof.study.dataset.folder import is_pattern, picture_files
from flipproof.study.dataset.picture import digest, read

__all__ = ["Choice", "choose"]

_TRIED = 5
"""Pictures of a folder that are read to know a data set by."""


@dataclass(frozen=True)
class Choice:
    """Data sets, and where some of them are.

    Attributes:
        names: For ``Plan.pictures``.
        folders: For :func:`flipproof.study.dataset.collection.open_collection`.
    """

    names: tuple[str, ...]
    folders: dict[str, Path] = field(default_factory=dict)


def choose(planned: Sequence[str], options: Sequence[str]) -> Choice:
    """Reads the values of ``--data``; they name all data sets of the study, whatever the plan names.

    ====================  ==============================================================================================
    ``NAME``              the data set of this name
    ``NAME=FOLDER``       the data set of this name, which is in this folder; any name will do for pictures of your own
    ``FOLDER`` or a glob  a data set of the plan, if the folder holds its pictures; else these pictures
    ====================  ==============================================================================================

    Arguments:
        planned: Data sets of the plan.
        options: Values of the option; empty keeps those of the plan.

    Raises:
        SpecError: A data set is named twice.
        UnknownNameError: A name is none of a data set.
        DatasetError: A folder cannot be read.
    """
    if not options:
        return Choice(tuple(planned))
    named = [_read(planned, option) for option in options]
    names = [name for name, _ in named]
    if len(set(names)) < len(names):
        raise SpecError(f"expected data sets that differ, got {', '.join(names)}")
    return Choice(tuple(names), {name: folder for name, folder in named if folder is not None})


def _read(planned: Sequence[str], option: str) -> tuple[str, Path | None]:
    name, equals, folder = option.partition("=")
    if equals and name and folder and not Path(option).exists():
        return name.strip(), Path(folder.strip()).expanduser()
    if option in catalogue.names():
        return option, None
    path = Path(option).expanduser()
    if is_pattern(option) or not path.is_dir():
        catalogue.check_name(option)
        return option, None
    held = next((name for name in planned if name in catalogue.names() and _holds(name, path)), None)
    return (held, path) if held else (option, None)


def _holds(name: str, folder: Path) -> bool:
    """Returns whether a folder holds a data set: one of its pinned pictures, or only files that are called like it."""
    dataset = catalogue.find(name)
    if not dataset.pictures or name == catalogue.BUNDLED:
        return False
    found = files_of(dataset, folder)
    if dataset.pinned:
        return any(_is_pinned(dataset, picture, path) for picture, path in list(found.items())[:_TRIED])
    return bool(found) and len(found) == len(picture_files(next(iter(found.values())).parent))


def _is_pinned(dataset: DataSet, picture: str, path: Path) -> bool:
    """Returns whether a file has the samples that a data set pins."""
    try:
        return digest(read(path)) == dataset.samples(picture)
    except ImageError:
        return False
