"""JPEG XL through imagecodecs (libjxl); decoded in a process of its own."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from flipproof.codec.foreign import ForeignCodec
from flipproof.codec.isolated import Isolated
from flipproof.errors import DecodeError
from flipproof.image import RgbImage
from flipproof.optional import load_optional

__all__ = ["JpegXlCodec", "read_jpegxl"]


def read_jpegxl(data: bytes) -> RgbImage:
    """Decodes a JPEG XL file in this process, which should have a limit on its memory.

    Raises:
        DecodeError: libjxl cannot.
        MissingExtraError: imagecodecs is not installed.
    """
    library = load_optional("imagecodecs", "classical")
    try:
        pixels = library.jpegxl_decode(data, numthreads=1)
    except (library.JpegxlError, ValueError, RuntimeError) as error:
        raise DecodeError(str(error).partition("\n")[0] or type(error).__name__) from error
    return np.repeat(pixels[:, :, None], 3, axis=2) if pixels.ndim == 2 else pixels


@dataclass(frozen=True)
class JpegXlCodec(ForeignCodec):
    """Lossy JPEG XL (ISO/IEC 18181, VarDCT in XYB) by libjxl: a bare codestream.

    Strict decoding refuses what libjxl calls an error and files that end early: nearly every damage, as the final state
    of its entropy decoders is checked. No library for Python gives out what libjxl can make of a damaged file, so
    there is no concealing decoding.

    Attributes:
        distance: Butteraugli distance that the encoder aims at, 0.01 (largest) to 25.
        effort: 1 (fastest) to 10.
    """

    name: ClassVar[str] = "jpegxl"
    signature: ClassVar[re.Pattern[bytes] | None] = re.compile(rb"\xff\x0a|\x00\x00\x00\x0cJXL \r\n\x87\n")
    reader: ClassVar[Isolated] = Isolated(read_jpegxl)
    distance: float = 1.0
    effort: int = 7

    def __post_init__(self) -> None:
        self.check_parameters(
            ("distance", 0.01 <= self.distance <= 25, "from 0.01 to 25"),
            ("effort", 1 <= self.effort <= 10, "from 1 to 10"),
        )
        super().__post_init__()

    @property
    def levels(self) -> range:
        """Distances in thousandths, negated."""
        return range(-25000, -9)

    @property
    def level(self) -> int:  # noqa: D102 (inherited)
        return -round(1000 * self.distance)

    def save(self, rgb: RgbImage, level: int) -> bytes:  # noqa: D102 (inherited)
        library = load_optional("imagecodecs", "classical")
        distance = -level / 1000
        return bytes(
            library.jpegxl_encode(rgb, distance=distance, effort=self.effort, usecontainer=False, numthreads=1)
        )

    def require_reader(self) -> None:  # noqa: D102 (inherited)
        load_optional("imagecodecs", "classical")
