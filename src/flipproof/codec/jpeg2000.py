"""JPEG 2000 through Pillow (OpenJPEG); decoded in a process of its own."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from flipproof.codec.foreign import ForeignCodec
from flipproof.codec.isolated import Isolated
from flipproof.codec.pillow import conceal_picture, read_picture, write_picture
from flipproof.image import MAX_SIDE, RgbImage

__all__ = ["Jpeg2000Codec"]

_RAW_RATE = 24
_PROGRESSIONS = ("LRCP", "RLCP", "RPCL", "PCRL", "CPRL")


@dataclass(frozen=True)
class Jpeg2000Codec(ForeignCodec):
    """JPEG 2000 (ITU-T T.800) by OpenJPEG: a bare codestream, irreversible colour transform and 9/7 wavelet, one layer.

    Strict decoding refuses what OpenJPEG calls an error and files that end early. Concealing decoding reads zeros past
    the end (packets with nothing in them) and shows every tile that OpenJPEG could decode; the others are mid-gray.
    Where that is nothing, the end of the file is read as zeros, from an eighth of the file to seven.

    Of the standard's tools for resilience OpenJPEG's interface in Pillow has tiles, precincts, smaller code-blocks
    and the order of packets. It has no markers that delimit packets (SOP, EPH), no code-block styles (segmentation
    symbols, termination of each pass, reset of contexts, bypass), and no packed packet headers (PPM, PPT).

    Attributes:
        quality: Peak signal-to-noise ratio in dB that the encoder aims at, 10 to 60.
        tile: Side of tiles in pixels, coded on their own; 0: the picture is one tile.
        block: Side of code-blocks in samples, 4 to 64, a power of two.
        precinct: Side of precincts in samples, a power of two from twice ``block`` on; 0: one for each resolution.
        progression: Order of packets by (L)ayer, (R)esolution, (C)omponent and (P)osition: ``LRCP``, ``RLCP``,
            ``RPCL``, ``PCRL`` or ``CPRL``.
    """

    name: ClassVar[str] = "jpeg2000"
    signature: ClassVar[re.Pattern[bytes] | None] = re.compile(
        rb"\xff\x4f\xff\x51..[^\x40-\x7f\xc0-\xff]|\x00\x00\x00\x0cjP  \r\n\x87\n", re.DOTALL
    )
    reader: ClassVar[Isolated] = Isolated(read_picture, "JPEG2000")
    concealer: ClassVar[Isolated] = Isolated(conceal_picture, "JPEG2000", seconds=30)
    quality: float = 38.0
    tile: int = 0
    block: int = 64
    precinct: int = 0
    progression: str = "LRCP"

    def __post_init__(self) -> None:
        blocks, precincts = [4, 8, 16, 32, 64], [0, *(2**n for n in range(4, 15) if 2**n >= 2 * self.block)]
        self.check_parameters(
            ("quality", 10 <= self.quality <= 60, "from 10 to 60"),
            ("tile", self.tile == 0 or 32 <= self.tile <= MAX_SIDE, f"0, or from 32 to {MAX_SIDE}"),
            ("block", self.block in blocks, "4, 8, 16, 32 or 64"),
            ("precinct", self.precinct in precincts, "0, or a power of two from twice the block to 16384"),
            ("progression", self.progression in _PROGRESSIONS, " or ".join(_PROGRESSIONS)),
        )
        super().__post_init__()

    @property
    def levels(self) -> range:
        """Thousandths of the asked rate that the encoder is told, some more than all to make up for its caution."""
        return range(1, 1051)

    @property
    def level(self) -> int:
        """Of no meaning: without a rate the encoder is told the quality."""
        return 0

    def save(self, rgb: RgbImage, level: int) -> bytes:  # noqa: D102 (inherited)
        goal = self.quality if self.bpp is None else _RAW_RATE / (self.bpp * level / 1000)
        side = self.tile or None
        return write_picture(
            rgb,
            "JPEG2000",
            quality_mode="dB" if self.bpp is None else "rates",
            quality_layers=[goal],
            no_jp2=True,
            irreversible=True,
            mct=1,
            progression=self.progression,
            codeblock_size=(self.block, self.block),
            precinct_size=(self.precinct, self.precinct) if self.precinct else None,
            tile_size=(side, side) if side else None,
        )
