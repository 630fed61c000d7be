"""The pictures of a study, opened: which there are, which cannot be read, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

from flipproof.errors import DatasetError, ImageError, SpecError, UnknownNameError
from flipproof.study.dataset import bundled, catalogue
from flipproof.study.dataset.catalogue import DataSet
from flipproof.study.dataset.download import Progress
from flipproof.study.dataset.fetch import fetch
from flipproof.study.dataset.folder import names_of, picture_files, printable
from flipproof.study.dataset.frame import Frame, parse
from flipproof.study.dataset.picture import Picture, digest, read
from flipproof.study.record import Unreadable

__all__ = ["Collection", "files_of", "open_collection"]

_MOST_LISTED = 30


@dataclass(frozen=True)
class Collection:
    """Pictures in order, and the files that give none.

    Attributes:
        pictures: Those that can be coded, with unique names; at least one.
        unreadable: Those that cannot be read, are missing, or are not what their data set pins.
    """

    pictures: tuple[Picture, ...]
    unreadable: tuple[Unreadable, ...] = ()


@dataclass(frozen=True)
class _Candidate:
    """What may be a picture.

    Attributes:
        dataset: Where it comes from.
        name: Of the picture, unique in the data set.
        path: Its file; None where there is none.
        samples: Digest that its samples must have; None for any.
        reason: Why there is no picture, where that is known already.
    """

    dataset: str
    name: str
    path: Path | None
    samples: str | None = None
    reason: str = ""


def open_collection(
    names: Sequence[str],
    *,
    folders: Mapping[str, Path] | None = None,
    only: Sequence[str] = (),
    frame: str | Frame = "full",
    progress: Progress | None = None,
) -> Collection:
    """Finds the pictures of a study, and reads each once.

    Arguments:
        names: Data sets by name, folders, or globs. A data set is downloaded if it is not here.
        folders: Where data sets are on this machine, by name; then nothing is downloaded. Names that no data set has
            are allowed: they are names for folders.
        only: Names of the pictures to take, such as ``01`` or, where data sets share names, ``kodak24/01``; empty for
            all.
        frame: What part of a picture is coded, see :mod:`flipproof.study.dataset.frame`.
        progress: Called as bytes of downloads arrive.

    Raises:
        UnknownNameError: There is no such data set or picture.
        SpecError: There is no such frame, or a folder stands in for the bundled photographs.
        DatasetError: A data set cannot be had, is empty, or gives no picture that can be read.
    """
    part = parse(frame) if isinstance(frame, str) else frame
    found = [one for name in names for one in _candidates(name, folders or {}, only, progress)]
    opened = [_open(one, part) for one in _chosen(_unique(found), only)]
    pictures = tuple(one for one in opened if isinstance(one, Picture))
    unreadable = tuple(one for one in opened if isinstance(one, Unreadable))
    if not pictures:
        first = f", such as {unreadable[0].name}: {unreadable[0].reason}" if unreadable else ""
        raise DatasetError(f"expected pictures in {', '.join(names)}, got {len(unreadable)} that cannot be read{first}")
    return Collection(pictures, unreadable)


def _candidates(
    name: str, folders: Mapping[str, Path], only: Sequence[str], progress: Progress | None
) -> list[_Candidate]:
    if name not in catalogue.names():
        if name not in folders:
            catalogue.check_name(name)
        return _of_files(name, folders.get(name, name))
    dataset = catalogue.find(name)
    if name == catalogue.BUNDLED and name in folders:
        raise SpecError(f"{name}: expected another name for {folders[name]}, these photographs come with scikit-image")
    if name == catalogue.BUNDLED:
        return [_bundled(picture) for picture in dataset.pictures]
    if name in folders:
        return _of_set(dataset, folders[name])
    wanted = [picture for picture in dataset.pictures if {picture, f"{name}/{picture}"} & set(only)]
    if only and dataset.pictures and not wanted:
        return [_Candidate(name, picture, None, reason="not asked for") for picture in dataset.pictures]
    return _of_set(dataset, fetch(dataset, wanted, progress))


def _bundled(name: str) -> _Candidate:
    try:
        return _Candidate(catalogue.BUNDLED, name, bundled.path_of(name))
    except ImageError as error:
        return _Candidate(catalogue.BUNDLED, name, None, reason=str(error))


def _of_files(dataset: str, where: str | Path) -> list[_Candidate]:
    paths = picture_files(where)
    return [_Candidate(dataset, name, path) for name, path in zip(names_of(paths), paths, strict=True)]


def _of_set(dataset: DataSet, folder: Path) -> list[_Candidate]:
    """Finds the pictures of a known data set in a folder, or one level below it."""
    if not dataset.pictures:
        return _of_files(dataset.name, next((where for where in _levels(folder) if _files(dataset, where)), folder))
    found = files_of(dataset, folder)
    if not found:
        raise DatasetError(
            f"expected pictures of {dataset.name}, such as {dataset.pictures[0]}.png, in {folder}, got none"
        )
    return [
        _Candidate(
            dataset.name, name, found.get(name), dataset.samples(name), "" if name in found else f"not in {folder}"
        )
        for name in dataset.pictures
    ]


def files_of(dataset: DataSet, folder: Path) -> dict[str, Path]:
    """Returns the files in a folder, or in the first folder in it that has any, by the names of a set's pictures.

    Raises:
        DatasetError: There is no such folder, or it cannot be read.
    """
    return next(filter(None, (_files(dataset, where) for where in _levels(folder))), {})


def _levels(folder: Path) -> list[Path]:
    """Returns a folder and those in it."""
    try:
        return [folder, *sorted(path for path in folder.iterdir() if path.is_dir())]
    except OSError as error:
        raise DatasetError(f"cannot list {folder}: {error.strerror or error}") from error


def _files(dataset: DataSet, folder: Path) -> dict[str, Path]:
    try:
        named = [(dataset.picture(printable(path.name)), path) for path in picture_files(folder)]
    except DatasetError:
        return {}
    return {name: path for name, path in reversed(named) if name is not None}


def _unique(found: Sequence[_Candidate]) -> list[_Candidate]:
    """Puts the data set before the names that several have."""
    counts = Counter(one.name for one in found)
    named = [replace(one, name=f"{one.dataset}/{one.name}") if counts[one.name] > 1 else one for one in found]
    twice = [name for name, count in Counter(one.name for one in named).items() if count > 1]
    if twice:
        raise DatasetError(f"expected data sets that differ, got {twice[0]} twice")
    return named


def _chosen(found: Sequence[_Candidate], only: Sequence[str]) -> list[_Candidate]:
    """Returns the candidates asked for."""
    calls = [{one.name, bare, f"{one.dataset}/{bare}"} for one in found for bare in [_bare(one)]]
    known = set().union(*calls)
    for name in only:
        if name not in known:
            close = get_close_matches(name, [one.name for one in found], n=_MOST_LISTED, cutoff=0)
            raise UnknownNameError("picture", name, sorted(close))
    return [one for one, names in zip(found, calls, strict=True) if not only or not names.isdisjoint(only)]


def _bare(candidate: _Candidate) -> str:
    return candidate.name.removeprefix(f"{candidate.dataset}/")


def _open(candidate: _Candidate, frame: Frame) -> Picture | Unreadable:
    """Reads a picture, or says why not."""
    dataset, name, path = candidate.dataset, candidate.name, candidate.path
    if path is None:
        return Unreadable(dataset=dataset, name=name, reason=candidate.reason)
    if printable(path.name) != path.name:
        return Unreadable(dataset=dataset, name=name, reason="expected a file name in UTF-8, got another")
    try:
        image = read(path)
    except ImageError as error:
        return Unreadable(dataset=dataset, name=name, reason=str(error))
    if candidate.samples not in (None, got := digest(image)):
        reason = (
            f"expected the samples of {dataset}'s {_bare(candidate)} (SHA-256 {candidate.samples}), got {got} in {path}"
        )
        return Unreadable(dataset=dataset, name=name, reason=reason)
    return Picture.framed(dataset, name, path, frame, image)
