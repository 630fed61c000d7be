"""Pictures out of a zip archive, and nothing else out of it."""

from __future__ import annotations

import hashlib
import stat
import struct
import tempfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from flipproof.errors import DatasetError
from flipproof.study.dataset.folder import SUFFIXES
from flipproof.study.dataset.picture import MOST_BYTES

__all__ = ["unpack"]

MOST_MEMBERS = 10_000
"""Most entries an archive may have."""
MOST_GROWTH = 4
"""Pictures may take so many times the archive's size; picture files hardly compress."""

_CHUNK = 2**20
_ENCRYPTED = 0x1
_BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    UnicodeDecodeError,
    ValueError,
)
"""What the zip module raises for archives it cannot read."""


def unpack(archive: Path, folder: Path) -> dict[str, str]:
    """Takes the pictures out of an archive, into one folder without folders in it, in one go.

    Only plain files that end like pictures are taken, under the last part of their names. Hidden files and those of
    macOS (``__MACOSX``) are left out.

    Arguments:
        archive: A zip file.
        folder: Where the pictures go; must not exist, its parent must.

    Returns:
        SHA-256 of every picture file, by its name.

    Raises:
        DatasetError: No zip file, damaged, encrypted, too large when unpacked, two pictures of one name, or no picture.
        OSError: Something cannot be written.
    """
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".new-") as new:
        inside = Path(new) / folder.name
        inside.mkdir()
        try:
            with zipfile.ZipFile(archive) as package:
                made = _take(package, inside, archive.stat().st_size)
        except _BROKEN as error:
            raise DatasetError(f"cannot unpack {archive}: {error}") from error
        if not made:
            raise DatasetError(f"expected pictures in {archive}, got none")
        inside.replace(folder)
    return made


def _take(package: zipfile.ZipFile, folder: Path, size: int) -> dict[str, str]:
    members = package.infolist()
    if len(members) > MOST_MEMBERS:
        raise DatasetError(f"expected at most {MOST_MEMBERS} files in {package.filename}, got {len(members)}")
    room = MOST_GROWTH * size + _CHUNK
    made: dict[str, str] = {}
    for member in filter(_is_picture, members):
        name = _base(member)
        if name.casefold() in map(str.casefold, made):
            raise DatasetError(f"expected one {name} in {package.filename}, got two")
        if member.flag_bits & _ENCRYPTED:
            raise DatasetError(f"expected plain files in {package.filename}, got {name} encrypted")
        made[name], used = _copy(package, member, folder / name, min(room, MOST_BYTES))
        room -= used
    return made


def _copy(package: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path, most: int) -> tuple[str, int]:
    """Writes a member; returns SHA-256 and size. What the archive says about sizes is not believed."""
    digest, used = hashlib.sha256(), 0
    with package.open(member) as source, target.open("xb") as file:
        while data := source.read(_CHUNK):
            used += len(data)
            if used > most:
                raise DatasetError(f"expected at most {most} bytes of {target.name} in {package.filename}, got more")
            digest.update(data)
            file.write(data)
    return digest.hexdigest(), used


def _is_picture(member: zipfile.ZipInfo) -> bool:
    kind = stat.S_IFMT(member.external_attr >> 16)
    plain = kind in (0, stat.S_IFREG) and not member.is_dir()
    parts = PurePosixPath(member.filename.replace("\\", "/")).parts
    hidden = any(part.startswith((".", "__MACOSX")) and part not in (".", "..") for part in parts)
    return plain and not hidden and PurePosixPath(_base(member)).suffix.lower() in SUFFIXES


def _base(member: zipfile.ZipInfo) -> str:
    return member.filename.replace("\\", "/").rpartition("/")[2].rpartition(":")[2]
