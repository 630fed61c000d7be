"""Downloads that go on where they stopped, and count only with the right SHA-256."""

from __future__ import annotations

import hashlib
import re
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from flipproof._version import __version__
from flipproof.errors import DatasetError
from flipproof.study.dataset.catalogue import Download

__all__ = ["PAUSES", "Progress", "download", "sha256_of"]

Progress = Callable[[str, int, int], None]
"""Called with the name of a file, the bytes of it that are here, and those that there are."""

PAUSES = (1.0, 2.0, 4.0, 8.0)
"""Seconds to wait before each further try; a try that got further than all before starts the count anew."""

_SECONDS = 30
"""How long an address may stay silent."""
_CHUNK = 2**18
_BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
_NO_SUCH_RANGE = 416


class _BrokenError(Exception):
    """The connection ended, or the server wants to be asked again."""


def sha256_of(path: Path) -> str:
    """Returns the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def download(what: Download, target: Path, progress: Progress | None = None, pauses: Sequence[float] = PAUSES) -> None:
    """Brings a file here; does nothing where it is here already.

    What has come is kept beside it, with ``.part`` behind its name, until it is whole and right.

    Arguments:
        what: The file.
        target: Where to put it; its folder must exist.
        progress: Called as bytes arrive.
        pauses: Seconds before each further try where the connection breaks or the server is busy.

    Raises:
        DatasetError: It cannot be had, is not the pinned file, or cannot be written.
    """
    part = target.with_name(f"{target.name}.part")
    try:
        if target.is_file() and sha256_of(target) == what.sha256:
            return
        resumed = _size(part) > 0
        _bring(what, part, progress, pauses)
        if resumed and sha256_of(part) != what.sha256:  # the beginning may be of another file
            part.unlink()
            _bring(what, part, progress, pauses)
        _accept(what, part, target)
    except OSError as error:
        raise DatasetError(f"cannot write {target}: {error.strerror or error}") from error


def _accept(what: Download, part: Path, target: Path) -> None:
    got = sha256_of(part)
    if got != what.sha256:
        part.unlink()
        raise DatasetError(f"expected {what.address} with SHA-256 {what.sha256}, got {got}")
    part.replace(target)


def _bring(what: Download, part: Path, progress: Progress | None, pauses: Sequence[float]) -> None:
    """Fills the file up to its size, in as many tries as that takes."""
    if _size(part) > what.size:
        part.unlink()
    left, most = list(pauses), _size(part)
    while _size(part) < what.size:
        try:
            _go_on(what, part, progress)
        except _BrokenError as error:
            if _size(part) > most:
                left, most = list(pauses), _size(part)
            if not left:
                raise DatasetError(f"cannot download {what.address}: {error}") from error
            time.sleep(left.pop(0))


def _go_on(what: Download, part: Path, progress: Progress | None) -> None:
    """Asks for what is missing, or for everything, and appends what comes."""
    headers = {"User-Agent": f"flipproof/{__version__}"}
    if have := _size(part):
        headers["Range"] = f"bytes={have}-"
    try:
        with urlopen(Request(what.address, headers=headers), timeout=_SECONDS) as answer:
            _append(what, part, answer, _first_byte(answer), progress)
    except HTTPError as error:
        error.close()
        if error.code == _NO_SUCH_RANGE:
            part.unlink()
        if error.code in _BUSY or (have and error.code == _NO_SUCH_RANGE):
            raise _BrokenError(f"{error.code} {error.reason}") from error
        raise DatasetError(f"cannot download {what.address}: {error.code} {error.reason}") from error
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        if isinstance(reason, socket.gaierror | ssl.SSLCertVerificationError):
            raise DatasetError(f"cannot download {what.address}: {_text(reason)}") from error
        raise _BrokenError(_text(reason)) from error


def _text(reason: object) -> str:
    return str(getattr(reason, "strerror", None) or reason) or type(reason).__name__


def _first_byte(answer: HTTPResponse) -> int:
    """Returns where in the file an answer begins."""
    if answer.status != 206:
        return 0
    match = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
    return int(match[1]) if match else -1


def _append(what: Download, part: Path, answer: HTTPResponse, first: int, progress: Progress | None) -> None:
    """Writes an answer behind what is here, and no more than there should be."""
    if first not in (0, _size(part)):
        raise _BrokenError(f"the server began at byte {first} and not at {_size(part)}")
    have = first
    with _Writer(part, append=first > 0) as file:
        while have < what.size and (data := answer.read(min(_CHUNK, what.size - have))):
            file.write(data)
            have += len(data)
            if progress:
                progress(what.file, have, what.size)
    if have < what.size:
        raise _BrokenError(f"the connection ended after {have} of {what.size} bytes")


class _Writer:
    """A file whose errors are no errors of a connection."""

    def __init__(self, path: Path, *, append: bool) -> None:
        self.path = path
        try:
            self.file = path.open("ab" if append else "wb")
        except OSError as error:
            raise self._failed(error) from error

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.file.close()
        except OSError as error:
            raise self._failed(error) from error

    def write(self, data: bytes) -> None:
        try:
            self.file.write(data)
        except OSError as error:
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> DatasetError:
        return DatasetError(f"cannot write {self.path}: {error.strerror or error}")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
