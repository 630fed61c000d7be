"""JPEG through Pillow, the baseline everyone knows; decoded in a process of its own."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from flipproof.codec.foreign import ForeignCodec
from flipproof.codec.isolated import Isolated
from flipproof.codec.pillow import conceal_picture, read_picture, write_picture
from flipproof.errors import ImageError
from flipproof.image import RgbImage

__all__ = ["CHROMA", "JpegCodec", "conceal_jpeg", "read_jpeg"]

CHROMA = {"420": "4:2:0", "422": "4:2:2", "444": "4:4:4"}
"""Pillow's names of how densely chroma is sampled."""

_FINE = 16
_TABLES = (
    "16 11 10 16 24 40 51 61 12 12 14 19 26 58 60 55 14 13 16 24 40 57 69 56 14 17 22 29 51 87 80 62 "
    "18 22 37 56 68 109 103 77 24 35 55 64 81 104 113 92 49 64 78 87 103 121 120 101 72 92 95 98 112 100 103 99",
    "17 18 24 47 99 99 99 99 18 21 26 66 99 99 99 99 24 26 56 99 99 99 99 99 47 66 99 99 99 99 99 99 " + "99 " * 32,
)
"""Quantisation tables of luma and chroma by rows, ITU-T T.81 (JPEG), tables K.1 and K.2."""


def read_jpeg(data: bytes) -> RgbImage:
    """Decodes a JPEG file in this process.

    Raises:
        DecodeError: Pillow cannot, or the picture is too large.
    """
    return read_picture(data, "JPEG")


def conceal_jpeg(data: bytes) -> RgbImage:
    """Decodes what there is of a JPEG file in this process.

    Raises:
        DecodeError: There is nothing, or the picture is too large.
    """
    return conceal_picture(data, "JPEG")


@dataclass(frozen=True)
class JpegCodec(ForeignCodec):
    """JPEG (ITU-T T.81) by libjpeg-turbo, baseline or progressive.

    A ``bpp`` is met by qualities in sixteenths, which scale the quantisation tables by libjpeg's formula.

    libjpeg conceals many damages without a report, so ``ok`` does not mean undamaged: JPEG has no checksum. Strict
    decoding refuses what libjpeg calls an error and files that end early; its warnings, such as bytes that make no
    sense, Pillow does not pass on. Concealing decoding goes on to the end of the file and leaves mid-gray what
    nothing was read for; where that fails, it leaves out the last scan, the last two, and so on.

    Where Huffman tables made for the picture would not fit Pillow's buffer (noise at the highest qualities) the file is
    baseline with the tables of the standard.

    Attributes:
        quality: 1 (smallest) to 95.
        progressive: Whether the file holds several scans, each refining the whole picture.
        restart: Blocks of the picture (MCU, 16x16 pixels at 4:2:0) from one restart marker to the next, after which
            decoding starts afresh; 0: no markers.
        chroma: ``420``, ``422`` or ``444``: how densely chroma is sampled.
        optimize: Whether Huffman tables are made for the picture; else they are those of the standard, as in the
            published robustness study. Progressive files always have their own.
    """

    name: ClassVar[str] = "jpeg"
    signature: ClassVar[re.Pattern[bytes] | None] = re.compile(rb"\xff\xd8\xff")
    reader: ClassVar[Isolated] = Isolated(read_jpeg)
    concealer: ClassVar[Isolated] = Isolated(conceal_jpeg, seconds=30)
    quality: int = 75
    progressive: bool = False
    restart: int = 0
    chroma: str = "420"
    optimize: bool = True

    def __post_init__(self) -> None:
        self.check_parameters(
            ("quality", 1 <= self.quality <= 95, "from 1 to 95"),
            ("restart", 0 <= self.restart < 2**16, f"from 0 to {2**16 - 1}"),
            ("chroma", self.chroma in CHROMA, " or ".join(CHROMA)),
        )
        super().__post_init__()

    @property
    def levels(self) -> range:
        """Qualities in sixteenths."""
        return range(_FINE, 95 * _FINE + 1)

    @property
    def level(self) -> int:  # noqa: D102 (inherited)
        return _FINE * self.quality

    def save(self, rgb: RgbImage, level: int) -> bytes:  # noqa: D102 (inherited)
        options = {
            "qtables": _tables(level),
            "subsampling": CHROMA[self.chroma],
            "restart_marker_blocks": self.restart,
        }
        try:
            return write_picture(rgb, "JPEG", **options, progressive=self.progressive, optimize=self.optimize)
        except ImageError:  # Pillow's buffer for optimised tables is too small for noise
            return write_picture(rgb, "JPEG", **options)


def _tables(level: int) -> list[list[int]]:
    """Returns the quantisation tables of a quality in sixteenths; those of libjpeg where it is a whole number.

    libjpeg scales by 50/Q below a quality Q of 50, by 2 - Q/50 from there on, and limits steps to 1 to 255.
    """
    percent = 5000 * _FINE / level if level < 50 * _FINE else 200 - 2 * level / _FINE
    if level % _FINE == 0:
        percent = int(percent)
    return [
        np.clip((np.array(table.split(), int) * percent + 50) // 100, 1, 255).astype(int).tolist() for table in _TABLES
    ]
