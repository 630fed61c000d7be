"""Chroma at half resolution and back, with the integer filters of the reference software.

Upsampling by two is a windowed sinc with 7 taps where chroma lies between two samples of luma, and with 8 where it lies
on every other one; weights are in units of 1/64. Downsampling is a filter of 10 taps in units of 1/128, for chroma
between two samples. Samples beyond the border are those on it. Where both directions change, the first one keeps up to
14 bits, whatever the depth.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["downsample_columns", "downsample_rows", "upsample", "upsample_columns"]

Samples = NDArray[np.int32]

_QUARTER = (-1, 4, -10, 57, 18, -6, 2)
"""For the sample a quarter to the right of a chroma sample, which is at the centre; the mirror image on its left."""
_HALF = (-1, 4, -11, 40, 40, -11, 4, -1)
_DECIMATE = (2, -4, -8, 17, 57, 57, 17, -8, -4, 2)


def upsample(plane: NDArray[np.uint16], first: int, rows: int, width: int, depth: int, centred: bool) -> Samples:
    """Returns some rows of a 4:2:0 plane at full resolution.

    Arguments:
        plane: All of the plane, (H / 2, W / 2).
        first: The first row at full resolution; even.
        rows: How many rows.
        width: Of the plane at full resolution.
        depth: Bits of a sample.
        centred: Whether chroma lies between two samples of luma along a row; along columns it does in any case.
    """
    near = np.arange(first // 2, (first + rows + 1) // 2)
    taps = plane[np.clip(near[None] + np.arange(-3, 4)[:, None], 0, len(plane) - 1)].astype(np.int32)
    shift = depth - 8
    fine = np.empty((2 * len(near), plane.shape[1]), np.int32)
    fine[0::2] = _round_shift(_weigh(taps, _QUARTER[::-1]), shift)
    fine[1::2] = _round_shift(_weigh(taps, _QUARTER), shift)
    return _widen(fine[:rows], width, depth, centred, fraction=14 - depth)


def upsample_columns(plane: Samples, width: int, depth: int, centred: bool) -> Samples:
    """Returns rows of a 4:2:2 plane at full resolution; arguments as for :func:`upsample`."""
    return _widen(plane, width, depth, centred, fraction=0)


def _widen(rows: Samples, width: int, depth: int, centred: bool, fraction: int) -> Samples:
    """Upsamples along rows, whose samples have some bits of fraction, and rounds to whole samples."""
    wide = np.empty((len(rows), 2 * rows.shape[1]), np.int32)
    if centred:
        taps = _shifted(rows, range(-3, 4))
        wide[:, 0::2] = _round_shift(_weigh(taps, _QUARTER[::-1]), 6 + fraction)
        wide[:, 1::2] = _round_shift(_weigh(taps, _QUARTER), 6 + fraction)
    else:
        wide[:, 0::2] = _round_shift(rows, fraction)
        wide[:, 1::2] = _round_shift(_weigh(_shifted(rows, range(-3, 5)), _HALF), 6 + fraction)
    return np.clip(wide[:, :width], 0, (1 << depth) - 1)


def downsample_columns(plane: Samples, depth: int) -> Samples:
    """Returns a plane with half the columns, (H, ceil(W / 2))."""
    return np.clip(_round_shift(_weigh(_shifted(plane, range(-4, 6), 2), _DECIMATE), 7), 0, (1 << depth) - 1)


def downsample_rows(plane: Samples, depth: int) -> Samples:
    """Returns a plane with half the rows and columns, (ceil(H / 2), ceil(W / 2))."""
    narrow = _round_shift(_weigh(_shifted(plane, range(-4, 6), 2), _DECIMATE), depth - 7)
    small = _weigh(_shifted(narrow.T, range(-4, 6), 2), _DECIMATE).T
    return np.clip(_round_shift(small, 21 - depth), 0, (1 << depth) - 1)


def _shifted(rows: Samples, offsets: range, step: int = 1) -> list[Samples]:
    """Returns every ``step``-th column, shifted by each offset; the border repeats."""
    before, after = -offsets[0], offsets[-1]
    padded = np.pad(rows, ((0, 0), (before, after)), mode="edge")
    return [padded[:, before + offset : before + offset + rows.shape[1] : step] for offset in offsets]


def _weigh(taps: list[Samples] | Samples, weights: tuple[int, ...]) -> Samples:
    total = np.zeros_like(taps[0])
    for tap, weight in zip(taps, weights, strict=True):
        total += weight * tap
    return total


def _round_shift(values: Samples, shift: int) -> Samples:
    """Divides by 2^shift, rounding halves up."""
    return (values + (1 << shift >> 1)) >> shift
