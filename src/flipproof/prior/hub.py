"""Where the files of a model lie: in a local directory, or in a repository of the Hugging Face hub."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from flipproof.errors import WeightsError

__all__ = ["TIMEOUT", "local_files", "locate"]

TIMEOUT = 5.0
"""Seconds the hub may take to list a repository."""

_REPOSITORY = re.compile(r"([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")
_PROBE = "unet/config.json"

Select = Callable[[Collection[str]], list[str]]


def locate(location: str, select: Select) -> Path:
    """Returns the directory that holds the files of a model, after downloading them if need be.

    Files in the hub's cache are used without asking the network, so a cached model works offline and does not change;
    pin a revision to get the same one everywhere.

    Arguments:
        location: A directory, or a repository ``owner/name`` or ``owner/name@revision``.
        select: Picks the files to use from the names of all files there, with slashes; raises WeightsError if one is
            missing.

    Raises:
        WeightsError: There is no such directory or repository, the hub cannot be reached, or a file is missing.
    """
    folder = _found(location, select)
    if folder is not None:
        return folder
    repository, revision = _repository(location)
    with _unavailable(repository, revision):
        return _download(repository, revision, select)


def local_files(location: str, select: Select) -> tuple[Path, list[str]]:
    """Returns the directory that holds the files of a model on this machine, and their names; asks no network.

    Arguments:
        location: As for :func:`locate`.
        select: As for :func:`locate`.

    Raises:
        WeightsError: They are not here; says how to get them.
    """
    folder = _found(location, select)
    if folder is None:
        from huggingface_hub import constants

        repository, revision = _repository(location)
        raise WeightsError(
            f"{location} is not in the cache {constants.HF_HUB_CACHE}; run: hf download {repository} --revision "
            f"{revision} --include '*/*', or give a directory written by StableDiffusionPipeline.save_pretrained"
        )
    return folder, select(_names(folder))


def _found(location: str, select: Select) -> Path | None:
    """Returns the directory that holds the files of a model; None if only the hub may have them."""
    folder = _directory(location)
    if folder is not None:
        _select(select, _names(folder), str(folder))
        return folder
    repository, revision = _repository(location)
    with _unavailable(repository, revision):
        return _cached(repository, revision, select)


def _repository(location: str) -> tuple[str, str]:
    """Returns the repository and the revision of a location that is no directory."""
    match = _REPOSITORY.fullmatch(location)
    if match is None:
        raise WeightsError(f"no such directory: {location!r}, and no hub id owner/name[@revision] either")
    return match[1], match[2] or "main"


def _directory(location: str) -> Path | None:
    try:
        folder = Path(location).expanduser()
        return folder if folder.is_dir() else None
    except (OSError, RuntimeError, ValueError):  # no home, or no possible name of a file
        return None


def _cached(repository: str, revision: str, select: Select) -> Path | None:
    """Returns the hub's cache of the repository if it holds every file needed."""
    from huggingface_hub import try_to_load_from_cache

    probe = try_to_load_from_cache(repository, _PROBE, revision=revision)
    if not isinstance(probe, str):
        return None
    folder = Path(probe).parents[1]
    try:
        select(_names(folder))
    except WeightsError:
        return None
    return folder


def _download(repository: str, revision: str, select: Select) -> Path:
    from huggingface_hub import HfApi, snapshot_download

    listed = HfApi().model_info(repository, revision=revision, timeout=TIMEOUT).siblings or []
    files = _select(select, [file.rfilename for file in listed], f"{repository}@{revision}")
    return Path(snapshot_download(repository, revision=revision, allow_patterns=files))


@contextmanager
def _unavailable(repository: str, revision: str) -> Iterator[None]:
    """Turns whatever goes wrong with the hub into one typed error."""
    from huggingface_hub import constants

    try:
        yield
    except WeightsError:
        raise
    except Exception as error:  # the hub's client changed its HTTP library twice, and their errors share no base
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise WeightsError(
            f"cannot get {repository}@{revision}: not in the cache {constants.HF_HUB_CACHE}, and {constants.ENDPOINT} "
            f"failed ({reason}); give a directory written by StableDiffusionPipeline.save_pretrained, or download it "
            "on a machine with a network and set HF_HOME to a copy of its cache"
        ) from error


def _names(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in folder.glob("*/*") if path.is_file()]


def _select(select: Select, names: Collection[str], where: str) -> list[str]:
    try:
        return select(names)
    except WeightsError as error:
        raise WeightsError(f"{where}: {error}") from error
