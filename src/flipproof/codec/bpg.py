"""BPG, HEVC intra pictures in a file of their own, through PyAV; decoded in a process of its own."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from flipproof.bpg.decoder import conceal_bpg, read_bpg
from flipproof.bpg.encoder import Settings, write
from flipproof.bpg.header import MAGIC, ColorSpace, PixelFormat
from flipproof.codec.foreign import ForeignCodec
from flipproof.codec.isolated import Isolated
from flipproof.image import RgbImage
from flipproof.optional import load_optional

__all__ = ["BpgCodec"]

_FORMATS = {"420": PixelFormat.YUV420, "422": PixelFormat.YUV422, "444": PixelFormat.YUV444}
_SPACES = {space.name.lower(): space for space in ColorSpace}
_DEPTHS = (8, 10, 12)
_COARSEST = 51
_SECONDS = 40.0
_MEBIBYTES = 1536


@dataclass(frozen=True)
class BpgCodec(ForeignCodec):
    """BPG (https://bellard.org/bpg/): one HEVC intra picture, coded by x265 at its slowest preset.

    Files decode to the same pixels in the reference decoder. That decoder conceals: it shows whatever libavcodec makes
    of a damaged file, which is what ``decoding=concealing`` does. Files need have no checksum, and after a flipped bit
    the arithmetic decoder goes on with other symbols, mostly legal ones: ``ok`` does not mean undamaged.

    Attributes:
        qp: Quantisation parameter of the HEVC slice, 0 (largest) to 51; the reference encoder's option ``-q`` is 3
            more with x265.
        chroma: ``420``, ``422`` or ``444``.
        bit_depth: Of the coded planes: 8, 10 or 12.
        color_space: ``ycbcr`` (BT.601), ``rgb``, ``ycgco``, ``bt709`` or ``bt2020``; ``rgb`` needs ``chroma=444``.
        lossless: Whether the picture comes back exactly; needs ``chroma=444``, and ``rgb`` or more than 8 bits.
        limited_range: Whether planes have the range of video, 16 to 235 at 8 bits.
        checksum: Whether the file holds a hash of its samples (the reference encoder's ``-hash``), 58 bytes: strict
            decoding then refuses all that changes a sample.
        bpp: Whole-file rate in bits per pixel: the lowest ``qp`` whose file fits, instead of ``qp``.
        decoding: ``strict``: where libavcodec reports an error, there is no picture. ``concealing``: then there is a
            picture of what it made of the file, with the status ``degraded``.
    """

    name: ClassVar[str] = "bpg"
    signature: ClassVar[re.Pattern[bytes] | None] = re.compile(re.escape(MAGIC))
    qp: int = 28
    chroma: str = "420"
    bit_depth: int = 8
    color_space: str = "ycbcr"
    lossless: bool = False
    limited_range: bool = False
    checksum: bool = False

    reader: ClassVar[Isolated] = Isolated(read_bpg, seconds=_SECONDS, mebibytes=_MEBIBYTES)
    concealer: ClassVar[Isolated | None] = Isolated(conceal_bpg, seconds=_SECONDS, mebibytes=_MEBIBYTES)

    def __post_init__(self) -> None:
        super().__post_init__()
        exact = self.bit_depth > 8 or (self.color_space == "rgb" and not self.limited_range)
        rgb = self.color_space == "rgb"
        self.check_parameters(
            ("qp", 0 <= self.qp <= _COARSEST, f"from 0 to {_COARSEST}"),
            ("chroma", self.chroma in _FORMATS, " or ".join(_FORMATS)),
            ("bit_depth", self.bit_depth in _DEPTHS, " or ".join(map(str, _DEPTHS))),
            ("color_space", self.color_space in _SPACES, " or ".join(_SPACES)),
            ("chroma", self.chroma == "444" or not rgb, "444 with color_space=rgb"),
            ("chroma", self.chroma == "444" or not self.lossless, "444 with lossless=true"),
            ("bit_depth", exact or not self.lossless, "10 or 12 with lossless=true, or color_space=rgb of full range"),
        )

    @property
    def levels(self) -> range:
        """Ascending file sizes: 51 less the quantisation parameter; there is one level without loss."""
        return range(1) if self.lossless else range(_COARSEST + 1)

    @property
    def level(self) -> int:
        """The level of ``qp``."""
        return 0 if self.lossless else _COARSEST - self.qp

    def save(self, rgb: RgbImage, level: int) -> bytes:
        """Writes the file of a level.

        Raises:
            ImageError: x265 cannot code the picture.
            MissingExtraError: PyAV is not installed.
        """
        settings = Settings(
            qp=_COARSEST - level,
            pixel_format=_FORMATS[self.chroma],
            color_space=_SPACES[self.color_space],
            bit_depth=self.bit_depth,
            lossless=self.lossless,
            limited_range=self.limited_range,
            checksum=self.checksum,
        )
        return write(rgb, settings)

    def require_reader(self) -> None:  # noqa: D102 (inherited)
        load_optional("av", "bpg")
