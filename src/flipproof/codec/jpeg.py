"""JPEG through Pillow, the baseline everyone knows; decoded in a process of its own."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from PIL import Image, UnidentifiedImageError

from flipproof.codec.base import Codec
from flipproof.codec.isolated import Isolated
from flipproof.errors import DecodeError, ImageError, RateError
from flipproof.image import PILLOW_ERRORS, ImageLike, RgbImage, check_size, to_rgb
from flipproof.received import File, hard
from flipproof.result import Damage, DecodeResult, Status

if TYPE_CHECKING:
    from flipproof.codec.target import Priority

__all__ = ["JpegCodec", "read_jpeg"]


@dataclass(frozen=True)
class JpegCodec(Codec):
    """Baseline JPEG with optimised Huffman tables and 4:2:0 chroma.

    A damaged file is decoded strictly: where libjpeg reports an error or the data ends early, there is no picture.
    libjpeg conceals many damages without a report, so ``ok`` does not mean undamaged: JPEG has no checksum.

    Attributes:
        quality: 1 (smallest) to 95.
        bpp: Whole-file rate in bits per pixel; takes a quality, found by bisection, whose file fits and
            that of the next higher one does not. Overrides ``quality``.
    """

    name: ClassVar[str] = "jpeg"
    quality: int = 75
    bpp: float | None = None

    def __post_init__(self) -> None:
        self.check_parameters(
            ("quality", 1 <= self.quality <= 95, "from 1 to 95"),
            ("bpp", self.bpp is None or 0 < self.bpp <= 24, "above 0, at most 24"),
        )

    def encode(self, image: ImageLike, priority: Priority | None = None) -> bytes:  # noqa: D102 (inherited)
        self.check_parameters(("priority", priority is None, "none, it has no way to follow a map"), priority="a map")
        rgb = to_rgb(image)
        if self.bpp is None:
            return _save(rgb, self.quality)
        pixels = rgb.shape[0] * rgb.shape[1]
        data = _largest(lambda quality: _save(rgb, quality), int(self.bpp * pixels / 8))
        if 8 * len(data) > self.bpp * pixels:
            raise RateError(f"jpeg: {self.bpp:g} bpp is too low here: quality 1 needs {8 * len(data) / pixels:.3g} bpp")
        return data

    def decode_many(self, files: Sequence[File], upto: float = 1.0) -> list[DecodeResult]:  # noqa: D102 (inherited)
        self.check_parameters(("upto", upto == 1, "1, baseline files do not show in part"), upto=upto)
        return [_load(hard(file)) for file in files]


def _save(rgb: RgbImage, quality: int) -> bytes:
    buffer = io.BytesIO()
    try:
        Image.fromarray(rgb).save(buffer, "JPEG", quality=quality, optimize=True)
    except OSError:  # Pillow's buffer for optimised tables is too small for noise
        buffer = io.BytesIO()
        Image.fromarray(rgb).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def _largest(save: Callable[[int], bytes], budget: int) -> bytes:
    """Bisects for the highest quality whose file fits the budget in bytes; quality 1 if none does."""
    best, low, high = save(1), 1, 95
    while low < high:
        middle = (low + high + 1) // 2
        data = save(middle)
        if len(data) <= budget:
            best, low = data, middle
        else:
            high = middle - 1
    return best


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


_READ = Isolated(read_jpeg)


def _load(data: bytes) -> DecodeResult:
    try:
        return DecodeResult(_READ(data), Status.OK, Damage(), "jpeg")
    except DecodeError as error:
        return DecodeResult(None, Status.FAILED, codec="jpeg", error=str(error))
