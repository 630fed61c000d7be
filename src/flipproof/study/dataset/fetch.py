"""Data sets in the cache folder: downloaded once, checked every time.

Everything is in ``FLIPPROOF_CACHE`` or else ``~/.cache/flipproof``, in a folder ``data/NAME``. Pictures that come one
by one lie there. Those of an archive lie in ``pictures``, and ``manifest.json`` says what they were unpacked from and
what their SHA-256 are; the archive itself does not stay.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from flipproof.errors import DatasetError
from flipproof.study.dataset.catalogue import DataSet, Download
from flipproof.study.dataset.download import PAUSES, Progress, download, sha256_of
from flipproof.study.dataset.unpack import unpack
from flipproof.study.extras import needs_extra
from flipproof.weights.store import cache_folder

__all__ = ["fetch", "folder_of", "ready"]


def folder_of(dataset: DataSet) -> Path:
    """Returns the folder with the pictures of a data set; it need not exist."""
    folder = cache_folder() / "data" / dataset.name
    return folder / "pictures" if dataset.archive else folder


def ready(dataset: DataSet, pictures: Collection[str] = ()) -> bool:
    """Returns whether the files of a data set, or those of some of its pictures, are here and are the right ones."""
    try:
        return _unpacked(dataset) if dataset.archive else not _missing(dataset, pictures)
    except OSError:
        return False


def fetch(
    dataset: DataSet,
    pictures: Collection[str] = (),
    progress: Progress | None = None,
    pauses: Sequence[float] = PAUSES,
) -> Path:
    """Brings a data set here, if it is not; of two processes that want it, one does and the other waits.

    Arguments:
        dataset: What to bring.
        pictures: Names of those wanted; empty for all. An archive always comes whole.
        progress: Called as bytes arrive.
        pauses: Seconds before each further try, see :func:`~flipproof.study.dataset.download.download`.

    Returns:
        The folder with the pictures.

    Raises:
        DatasetError: It cannot be had or written, or is not what is pinned; says how to bring it by hand.
        MissingExtraError: filelock is not installed.
    """
    if not dataset.downloads:
        raise DatasetError(f"{dataset.name} has no address to download it from; {_with_folder(dataset)}")
    if ready(dataset, pictures):
        return folder_of(dataset)
    home = cache_folder() / "data" / dataset.name
    try:
        with _alone(home):
            if not ready(dataset, pictures):
                _bring(dataset, home, pictures, progress, pauses)
    except OSError as error:
        raise DatasetError(f"cannot write {home}: {error.strerror or error}; {_with_folder(dataset)}") from error
    return folder_of(dataset)


def _bring(
    dataset: DataSet, home: Path, pictures: Collection[str], progress: Progress | None, pauses: Sequence[float]
) -> None:
    if dataset.archive is None:
        for what in _missing(dataset, pictures):
            _download(dataset, what, home, progress, pauses)
        return
    archive = _download(dataset, dataset.archive, home, progress, pauses)
    _clear(home)
    made = unpack(archive, folder_of(dataset))
    manifest = {"archive": dataset.archive.sha256, "pictures": made}
    new = home / "manifest.json.new"
    new.write_text(json.dumps(manifest, indent=1, sort_keys=True), encoding="utf-8")
    new.replace(home / "manifest.json")
    archive.unlink()


def _download(dataset: DataSet, what: Download, home: Path, progress: Progress | None, pauses: Sequence[float]) -> Path:
    target = home / what.file
    try:
        download(what, target, progress, pauses)
    except DatasetError as error:
        by_hand = f"where that works, download {what.address} and put it at {target}"
        raise DatasetError(f"{dataset.name}: {error}; {by_hand}, or {_with_folder(dataset)}") from error
    return target


def _with_folder(dataset: DataSet) -> str:
    return f"give a folder that has it: --data {dataset.name}=FOLDER"


def _missing(dataset: DataSet, pictures: Collection[str]) -> list[Download]:
    """Returns what has to be downloaded for some pictures of a set that is published file by file."""
    wanted = [one.download for one in dataset.pinned if not pictures or one.name in pictures]
    home = folder_of(dataset)
    return [what for what in wanted if not _is(home / what.file, what.sha256)]


def _unpacked(dataset: DataSet) -> bool:
    """Returns whether every picture of an archive is as it was unpacked."""
    manifest = folder_of(dataset).parent / "manifest.json"
    try:
        stated = json.loads(manifest.read_text(encoding="utf-8"))
        pictures = stated["pictures"].items()
        right = dataset.archive is not None and stated["archive"] == dataset.archive.sha256
    except (ValueError, LookupError, TypeError, AttributeError):
        return False
    return right and all(_is(folder_of(dataset) / name, digest) for name, digest in pictures)


def _is(path: Path, sha256: str) -> bool:
    return path.is_file() and sha256_of(path) == sha256


def _clear(home: Path) -> None:
    """Removes what was unpacked before, or half unpacked by a process that was killed."""
    for stale in [home / "pictures", *home.glob(".new-*")]:
        if stale.exists():
            shutil.rmtree(stale)


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Waits until no other process changes a data set; the lock ends with the process, however that ends."""
    with needs_extra():
        from filelock import FileLock
    home.mkdir(parents=True, exist_ok=True)
    with FileLock(home / ".lock"):
        yield
