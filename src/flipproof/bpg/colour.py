"""Planes to RGB and back, with the fixed-point arithmetic of the reference software.

With k_r and k_b the weights of red and blue in luma, y and c the scales of luma and chroma (2^n times the largest value
of the output over the range of the input), and Cb and Cr less their centre:

    R = y Y + c 2 (1 - k_r) Cr
    B = y Y + c 2 (1 - k_b) Cb
    G = y Y - c 2 k_b (1 - k_b) / k_g Cb - c 2 k_r (1 - k_r) / k_g Cr        k_g = 1 - k_r - k_b

Coefficients are rounded to whole numbers, sums are shifted right by n bits with a half added, and clipped. The sums of
extreme samples of limited range go beyond 32 bits and wrap, as they do in the reference software.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from flipproof.bpg.header import ColorSpace

__all__ = ["from_rgb", "gray_to_rgb", "scale_alpha", "to_rgb"]

Samples = NDArray[np.int32]

_WEIGHTS = {
    ColorSpace.YCBCR: (0.299, 0.114),
    ColorSpace.BT709: (0.2126, 0.0722),
    ColorSpace.BT2020: (0.2627, 0.0593),
}
_INPUT_DEPTH = 8


class _Scale:
    """The fixed-point numbers that take samples of one depth and range to the full range of another.

    Arguments:
        depth: Of the samples.
        out: Of the result.
        limited: Whether samples have the range of video.
    """

    def __init__(self, depth: int, out: int, limited: bool) -> None:
        self.shift, self.most = 30 - out, (1 << out) - 1
        full, high = self.most << self.shift, depth - 8
        self.chroma = full / (224 << high if limited else (1 << depth) - 1)
        self.luma = _whole(full / (219 << high if limited else (1 << depth) - 1))
        self.offset = (1 << self.shift - 1) - (self.luma * (16 << high) if limited else 0)
        self.centre = 1 << depth - 1

    def finish(self, total: Samples) -> Samples:
        """Rounds, shifts and clips a sum."""
        with np.errstate(over="ignore"):
            shifted: Samples = (total + np.int32(self.offset)) >> self.shift
        return np.clip(shifted, 0, self.most)

    def times(self, samples: Samples) -> Samples:
        """Multiplies by the scale of luma."""
        return samples * np.int32(self.luma)


def to_rgb(planes: Sequence[Samples], space: ColorSpace, depth: int, out: int, limited: bool) -> Samples:
    """Returns three planes of equal size as (H, W, 3) of ``out`` bits.

    Arguments:
        planes: As in the file: Y, Cb, Cr or G, B, R or Y, Cg, Co.
        space: What they mean.
        depth: Bits of a sample.
        out: Bits of the result, 8 or 16.
        limited: Whether samples have the range of video.
    """
    scale = _Scale(depth, out, limited)
    if space == ColorSpace.RGB:
        green, blue, red = (scale.times(plane) for plane in planes)
    elif space == ColorSpace.YCGCO:
        luma, cg, co = planes[0], planes[1] - scale.centre, planes[2] - scale.centre
        red, green, blue = (scale.times(plane) for plane in (luma - cg + co, luma + cg, luma - cg - co))
    else:
        red, green, blue = _from_ycc(planes, scale, *_WEIGHTS[space])
    return np.stack([scale.finish(plane) for plane in (red, green, blue)], axis=-1)


def _from_ycc(planes: Sequence[Samples], scale: _Scale, k_r: float, k_b: float) -> list[Samples]:
    luma = scale.times(planes[0])
    cb, cr = planes[1] - scale.centre, planes[2] - scale.centre
    k_g = 1 - k_b - k_r

    def times(samples: Samples, coefficient: float) -> Samples:
        return samples * np.int32(_whole(coefficient * scale.chroma))

    red = luma + times(cr, 2 * (1 - k_r))
    green = luma - times(cb, 2 * k_b * (1 - k_b) / k_g) - times(cr, 2 * k_r * (1 - k_r) / k_g)
    blue = luma + times(cb, 2 * (1 - k_b))
    return [red, green, blue]


def gray_to_rgb(plane: Samples, depth: int, out: int, limited: bool) -> Samples:
    """Returns one plane as (H, W, 3); arguments as for :func:`to_rgb`."""
    scale = _Scale(depth, out, limited)
    return np.repeat(scale.finish(scale.times(plane))[..., None], 3, axis=-1)


def scale_alpha(plane: Samples, depth: int, out: int) -> Samples:
    """Returns a plane of alpha, which has the full range always, with ``out`` bits."""
    scale = _Scale(depth, out, limited=False)
    return scale.finish(scale.times(plane))


def from_rgb(rgb: NDArray[np.uint8], space: ColorSpace, depth: int, limited: bool) -> list[Samples]:
    """Returns a picture of 8 bits, (H, W, 3), as three planes of full resolution.

    Arguments:
        rgb: The picture.
        space: What the planes are to mean.
        depth: Bits of their samples.
        limited: Whether they are to have the range of video.
    """
    shift = 31 - depth
    most, high = (1 << depth) - 1, depth - 8
    luma = ((219 << high if limited else most) << shift) / ((1 << _INPUT_DEPTH) - 1)
    chroma = ((224 << high if limited else most) << shift) / ((1 << _INPUT_DEPTH) - 1)
    black, grey = (16 << high) * limited, 1 << depth - 1
    red, green, blue = np.moveaxis(rgb.astype(np.int64), -1, 0)

    def mix(offset: int, scale: float, *weights: float) -> Samples:
        total = np.full(red.shape, 1 << shift - 1)
        for weight, component in zip(weights, (red, green, blue), strict=True):
            total += _whole(weight * scale) * component
        plane: Samples = np.clip((total >> shift) + offset, 0, most).astype(np.int32)
        return plane

    if space == ColorSpace.RGB:
        return [mix(black, luma, 0, 1, 0), mix(black, luma, 0, 0, 1), mix(black, luma, 1, 0, 0)]
    if space == ColorSpace.YCGCO:
        y, cg, co = (0.25, 0.5, 0.25), (-0.25, 0.5, -0.25), (0.5, 0, -0.5)
        return [mix(black, luma, *y), mix(grey, luma, *cg), mix(grey, luma, *co)]
    k_r, k_b = _WEIGHTS[space]
    k_g = 1 - k_r - k_b
    cb = (-0.5 * k_r / (1 - k_b), -0.5 * k_g / (1 - k_b), 0.5)
    cr = (0.5, -0.5 * k_g / (1 - k_r), -0.5 * k_b / (1 - k_r))
    return [mix(black, luma, k_r, k_g, k_b), mix(grey, chroma, *cb), mix(grey, chroma, *cr)]


def _whole(value: float) -> int:
    """Rounds to the nearest whole number, halves to even."""
    return round(value)
