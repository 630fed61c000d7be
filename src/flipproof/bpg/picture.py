"""What a BPG file holds: its planes, and the same as RGB."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from flipproof.bpg.chroma import upsample, upsample_columns
from flipproof.bpg.colour import gray_to_rgb, scale_alpha, to_rgb
from flipproof.bpg.header import Alpha, Header
from flipproof.image import RgbImage

__all__ = ["Picture", "Plane"]

Plane = NDArray[np.uint16]
_BAND = 128


@dataclass(frozen=True, eq=False)
class Picture:
    """A decoded picture.

    Attributes:
        header: What the file says of it.
        planes: One plane (gray) or three, of the file's bit depth and subsampling, (H, W) each and uint16.
        alpha: The fourth plane, if any, (H, W).
    """

    header: Header
    planes: tuple[Plane, ...]
    alpha: Plane | None = None

    @property
    def rgb(self) -> RgbImage:
        """The picture (H, W, 3) with 8 bits, alpha laid over white."""
        rgba = self.convert(8).astype(np.uint8)
        if rgba.shape[2] == 3:
            return rgba
        size = (self.header.width, self.header.height)
        over = Image.alpha_composite(Image.new("RGBA", size, "white"), Image.fromarray(rgba))
        return np.asarray(over.convert("RGB"))

    def convert(self, bits: int = 8) -> NDArray[np.uint16]:
        """Returns the picture as the reference decoder does: (H, W, 3), or (H, W, 4) where there is alpha.

        Arguments:
            bits: Of a sample of the result, 8 or 16.
        """
        return np.concatenate([self._blend(*band, bits) for band in self._bands(bits)])

    def _bands(self, bits: int) -> Iterator[tuple[NDArray[np.int32], int]]:
        """Yields bands of RGB, to save memory, with their first rows."""
        header = self.header
        depth, limited = header.bit_depth, header.limited_range
        for first in range(0, header.height, _BAND):
            luma = self.planes[0][first : first + _BAND].astype(np.int32)
            if len(self.planes) == 1:
                yield gray_to_rgb(luma, depth, bits, limited), first
            else:
                planes = [luma, *(self._chroma(plane, first, len(luma)) for plane in self.planes[1:])]
                yield to_rgb(planes, header.color_space, depth, bits, limited), first

    def _chroma(self, plane: Plane, first: int, rows: int) -> NDArray[np.int32]:
        """Returns rows of a chroma plane at full resolution."""
        header = self.header
        if header.pixel_format.chroma == 1:
            return upsample(plane, first, rows, header.width, header.bit_depth, header.pixel_format.centred)
        band = plane[first : first + rows].astype(np.int32)
        if header.pixel_format.chroma == 2:
            return upsample_columns(band, header.width, header.bit_depth, header.pixel_format.centred)
        return band

    def _blend(self, rgb: NDArray[np.int32], first: int, bits: int) -> NDArray[np.uint16]:
        """Adds alpha to a band of RGB, or multiplies it by the plane of white."""
        if self.alpha is None:
            return rgb.astype(np.uint16)
        depth = self.header.bit_depth
        fourth = self.alpha[first : first + _BAND].astype(np.int32)[..., None]
        if self.header.alpha == Alpha.WHITE:
            return (rgb.astype(np.int64) * fourth + (1 << depth - 1) >> depth).astype(np.uint16)
        opacity = scale_alpha(fourth, depth, bits)
        if self.header.alpha == Alpha.PREMULTIPLIED:
            rgb = _divide(rgb, opacity, bits)
        return np.concatenate([rgb, opacity], axis=-1).astype(np.uint16)


def _divide(rgb: NDArray[np.int32], opacity: NDArray[np.int32], bits: int) -> NDArray[np.int32]:
    """Divides colour by opacity: fixed-point reciprocals, white where nothing is opaque."""
    most, shift = (1 << bits) - 1, 16 if bits == 8 else 15
    divisor = np.maximum(opacity, 1).astype(np.int64)
    reciprocal = ((most << shift) + divisor // 2 + (128 if bits == 8 else 0)) // divisor
    quotient = rgb * reciprocal + (1 << shift - 1) >> shift
    return np.where(rgb >= opacity, most, quotient).astype(np.int32)
