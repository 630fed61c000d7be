"""JPEG through Pillow, the baseline everyone knows; decoded in a process of its own."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from flipproof.codec.foreign import ForeignCodec
from flipproof.codec.isolated import Isolated
from flipproof.errors import DecodeError, ImageError
from flipproof.image import PILLOW_ERRORS, RgbImage, check_size

__all__ = ["JpegCodec", "conceal_jpeg", "read_jpeg"]


def read_jpeg(data: bytes) -> RgbImage:
    """Decodes a JPEG file in this process.

    Raises:
        DecodeError: Pillow cannot, or the picture is too large.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data), formats=["JPEG"])
            check_size(image.height, image.width)
            return np.asarray(image.convert("RGB"))
    except UnidentifiedImageError:
        raise DecodeError("no JPEG header found") from None
    except (ImageError, *PILLOW_ERRORS) as error:
        raise DecodeError(str(error).partition("\n")[0] or type(error).__name__) from error


def conceal_jpeg(data: bytes) -> RgbImage:
    """Decodes what there is of a JPEG file, in a process of its own: it changes a flag of Pillow's for good.

    Raises:
        DecodeError: Not even a header can be read, or the picture is too large.
    """
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    return read_jpeg(data)


@dataclass(frozen=True)
class JpegCodec(ForeignCodec):
    """Baseline JPEG with optimised Huffman tables and 4:2:0 chroma.

    libjpeg conceals many damages without a report, so ``ok`` does not mean undamaged: JPEG has no checksum.

    Attributes:
        quality: 1 (smallest) to 95.
    """

    name: ClassVar[str] = "jpeg"
    reader: ClassVar[Isolated] = Isolated(read_jpeg)
    concealer: ClassVar[Isolated] = Isolated(conceal_jpeg)
    quality: int = 75

    def __post_init__(self) -> None:
        self.check_parameters(("quality", 1 <= self.quality <= 95, "from 1 to 95"))
        super().__post_init__()

    @property
    def levels(self) -> range:  # noqa: D102 (inherited)
        return range(1, 96)

    @property
    def level(self) -> int:  # noqa: D102 (inherited)
        return self.quality

    def save(self, rgb: RgbImage, level: int) -> bytes:  # noqa: D102 (inherited)
        buffer = io.BytesIO()
        try:
            Image.fromarray(rgb).save(buffer, "JPEG", quality=level, optimize=True)
        except OSError:  # Pillow's buffer for optimised tables is too small for noise
            buffer = io.BytesIO()
            Image.fromarray(rgb).save(buffer, "JPEG", quality=level)
        return buffer.getvalue()
