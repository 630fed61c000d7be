"""AVIF through Pillow (libavif, libaom); decoded in a process of its own."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from flipproof.codec.foreign import ForeignCodec
from flipproof.codec.isolated import Isolated
from flipproof.codec.jpeg import CHROMA
from flipproof.codec.pillow import conceal_picture, read_picture, write_picture
from flipproof.image import RgbImage

__all__ = ["AvifCodec"]


@dataclass(frozen=True)
class AvifCodec(ForeignCodec):
    """AVIF: an intra frame of AV1 by libaom, on one thread so that files are repeatable.

    libaom has 64 quantisers, so files of successive qualities differ by some percent, or not at all.

    Strict decoding refuses what libavif or the AV1 decoder call an error and files that end early; the arithmetic
    decoder of AV1 takes any bits, so damage to them goes mostly unnoticed. Concealing decoding reads zeros past the
    end; AV1 decoders refuse some of that too.

    Attributes:
        quality: 0 (smallest) to 100.
        speed: 0 (best) to 10 (fastest).
        chroma: ``420``, ``422`` or ``444``: how densely chroma is sampled.
    """

    name: ClassVar[str] = "avif"
    signature: ClassVar[re.Pattern[bytes] | None] = re.compile(rb"....ftypavi[fs]", re.DOTALL)
    reader: ClassVar[Isolated] = Isolated(read_picture, "AVIF")
    concealer: ClassVar[Isolated] = Isolated(conceal_picture, "AVIF")
    quality: int = 60
    speed: int = 6
    chroma: str = "420"

    def __post_init__(self) -> None:
        self.check_parameters(
            ("quality", 0 <= self.quality <= 100, "from 0 to 100"),
            ("speed", 0 <= self.speed <= 10, "from 0 to 10"),
            ("chroma", self.chroma in CHROMA, " or ".join(CHROMA)),
        )
        super().__post_init__()

    @property
    def levels(self) -> range:
        """The qualities."""
        return range(101)

    @property
    def level(self) -> int:  # noqa: D102 (inherited)
        return self.quality

    def save(self, rgb: RgbImage, level: int) -> bytes:  # noqa: D102 (inherited)
        return write_picture(
            rgb,
            "AVIF",
            quality=level,
            speed=self.speed,
            subsampling=CHROMA[self.chroma],
            codec="aom",
            max_threads=1,
            autotiling=False,
        )
