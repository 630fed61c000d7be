"""Data sets by name: what they are, where they come from, and the digests that their files must have.

Kodak's photographs come one by one, and each is pinned twice: its file, and its samples, so that a copy that was
compressed anew without loss still counts. The others come in one archive, which is what is pinned.

The digests of the archives are those of TensorFlow Datasets; those of Kodak's files are in many public lists.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from flipproof.errors import UnknownNameError

__all__ = ["BUNDLED", "DataSet", "Download", "PinnedFile", "check_name", "find", "names"]

BUNDLED = "bundled"
"""Name of the four photographs that scikit-image brings along."""

_NAME = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True)
class Download:
    """A file somewhere else.

    Attributes:
        address: Where it is.
        size: In bytes.
        sha256: Of the file.
    """

    address: str
    size: int
    sha256: str

    @property
    def file(self) -> str:
        """The last part of its address."""
        return self.address.rpartition("/")[2]


@dataclass(frozen=True)
class PinnedFile:
    """A picture that is published as a file of its own.

    Attributes:
        name: Of the picture.
        download: Where its file is.
        samples: What :func:`flipproof.study.dataset.picture.digest` must give for its samples.
    """

    name: str
    download: Download
    samples: str


@dataclass(frozen=True)
class DataSet:
    """A data set.

    Attributes:
        name: What plans call it.
        title: What it is, in a few words.
        terms: Under which terms it is published.
        pattern: Matches the names of its files; the group is the name of the picture.
        pinned: Its pictures, where they are published one by one.
        archive: Where the zip archive with its pictures is; None if there is none.
        pictures: Names of the pictures; empty where only the archive tells.
    """

    name: str
    title: str
    terms: str
    pattern: str
    pinned: tuple[PinnedFile, ...] = ()
    archive: Download | None = None
    pictures: tuple[str, ...] = ()

    @property
    def downloads(self) -> tuple[Download, ...]:
        """Everything there is to download."""
        return (self.archive,) if self.archive else tuple(one.download for one in self.pinned)

    @property
    def megabytes(self) -> float:
        """Size of the downloads, in millions of bytes."""
        return sum(one.size for one in self.downloads) / 1e6

    def picture(self, file: str) -> str | None:
        """Returns the name of the picture in a file; None for a file that is not of this set.

        Example:
            >>> find("kodak24").picture("kodim07.png"), find("kodak24").picture("holiday.png")
            ('07', None)
        """
        match = re.fullmatch(self.pattern, file, re.IGNORECASE)
        if match is None:
            return None
        if not self.pictures:
            return match[1]
        name = match[1].zfill(len(self.pictures[0])) if match[1].isdecimal() else match[1].lower()
        return name if name in self.pictures else None

    def samples(self, picture: str) -> str | None:
        """Returns the pinned digest of a picture's samples; None if there is none."""
        return next((one.samples for one in self.pinned if one.name == picture), None)


def names() -> list[str]:
    """Returns the names of all data sets, sorted."""
    return sorted(_all())


def find(name: str) -> DataSet:
    """Returns a data set.

    Raises:
        UnknownNameError: There is none of this name.
    """
    if name not in _all():
        raise UnknownNameError("data set", name, names())
    return _all()[name]


def check_name(text: str) -> None:
    """Checks that a text that looks like the name of a data set, and is no folder that is here, is the name of one.

    Raises:
        UnknownNameError: It is not.
    """
    if _NAME.fullmatch(text) and not Path(text).is_dir():
        find(text)


_SUFFIX = r"\.(?:png|bmp|ppm|tiff?|webp|jpe?g)"
_ETH = "https://data.vision.ee.ethz.ch/cvl"


@cache
def _all() -> dict[str, DataSet]:
    return {one.name: one for one in (_bundled(), _kodak(), _div2k(), *_clic())}


def _bundled() -> DataSet:
    from flipproof.study.dataset import bundled

    return DataSet(
        BUNDLED,
        "four photographs that come with scikit-image",
        "public domain and CC0",
        rf"({'|'.join(bundled.names())}){_SUFFIX}",
        pictures=tuple(bundled.names()),
    )


def _kodak() -> DataSet:
    table = files("flipproof.study.dataset") / "kodak24.csv"
    rows = list(csv.DictReader(table.read_text(encoding="utf-8").splitlines()))
    pinned = tuple(
        PinnedFile(
            row["name"],
            Download(f"https://r0k.us/graphics/kodak/kodak/kodim{row['name']}.png", int(row["bytes"]), row["sha256"]),
            row["samples"],
        )
        for row in rows
    )
    return DataSet(
        "kodak24",
        "the 24 photographs of Kodak's Photo CD sampler, 768x512",
        "released by Kodak for unrestricted use",
        rf"(?:kodim)?(\d{{1,2}}){_SUFFIX}",
        pinned=pinned,
        pictures=tuple(row["name"] for row in rows),
    )


def _div2k() -> DataSet:
    digest = "20dd31fd84d777bc1cf5d6b7654a3f569c0aec74458ae094122ad1d0489900fc"
    return DataSet(
        "div2k-valid",
        "the 100 pictures that DIV2K keeps for validation, about 2040x1356",
        "for academic research only",
        rf"(\d{{4}}){_SUFFIX}",
        archive=Download(f"{_ETH}/DIV2K/DIV2K_valid_HR.zip", 448_993_893, digest),
        pictures=tuple(f"{number:04d}" for number in range(801, 901)),
    )


_CLIC = (
    ("professional-valid", "professional_valid_2020.zip", 134_834_429,
     "00be38092ade2ab5163b65f7f6523d46c7bca147007f559adbb02c0afc236b7d"),
    ("mobile-valid", "mobile_valid_2020.zip", 236_556_531,
     "ff0280382eeb32fdceb28c81a7f47ac9ad86d933ebe901680845635d04e47a10"),
    ("professional-test", "test/CLIC2020Professional_test.zip", 891_643_809,
     "857df244fc2bfa5da28d4c66bf0db16ee99bfc79eb807be8afa89cd507852884"),
    ("mobile-test", "test/CLIC2020Mobile_test.zip", 721_789_976,
     "2025f07a6c652270e534640de4271feef3b3dd3260beed4ac4821064837aa732"),
)  # fmt: skip


def _clic() -> tuple[DataSet, ...]:
    return tuple(
        DataSet(
            f"clic2020-{part}",
            f"the {part.replace('-valid', ' validation').replace('-test', ' test')} set of CLIC 2020",
            "for terms see compression.cc",
            rf"(.+){_SUFFIX}",
            archive=Download(f"{_ETH}/clic/{path}", size, digest),
        )
        for part, path, size, digest in _CLIC
    )
