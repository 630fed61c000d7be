"""WebP through Pillow (libwebp); decoded in a process of its own."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from flipproof.codec.foreign import ForeignCodec
from flipproof.codec.isolated import Isolated
from flipproof.codec.pillow import conceal_picture, read_picture, write_picture
from flipproof.image import RgbImage

__all__ = ["WebpCodec"]


@dataclass(frozen=True)
class WebpCodec(ForeignCodec):
    """Lossy WebP by libwebp: an intra frame of VP8 (RFC 6386) with 4:2:0 chroma.

    Strict decoding refuses what libwebp calls an error and files that end early; the arithmetic decoder of VP8 takes
    any bits, so most damage goes unnoticed. Concealing decoding reads zeros past the end.

    Attributes:
        quality: 0 (smallest) to 100.
        method: Effort, 0 (fastest) to 6.
    """

    name: ClassVar[str] = "webp"
    signature: ClassVar[re.Pattern[bytes] | None] = re.compile(rb"RIFF....WEBP", re.DOTALL)
    reader: ClassVar[Isolated] = Isolated(read_picture, "WEBP")
    concealer: ClassVar[Isolated] = Isolated(conceal_picture, "WEBP")
    quality: float = 75.0
    method: int = 6

    def __post_init__(self) -> None:
        self.check_parameters(
            ("quality", 0 <= self.quality <= 100, "from 0 to 100"),
            ("method", 0 <= self.method <= 6, "from 0 to 6"),
        )
        super().__post_init__()

    @property
    def levels(self) -> range:
        """Qualities in tenths."""
        return range(1001)

    @property
    def level(self) -> int:  # noqa: D102 (inherited)
        return round(10 * self.quality)

    def save(self, rgb: RgbImage, level: int) -> bytes:  # noqa: D102 (inherited)
        return write_picture(rgb, "WEBP", quality=level / 10, method=self.method)
