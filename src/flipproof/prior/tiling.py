"""Large pictures through a network in tiles, so that its memory does not grow with the picture.

A tile is evaluated with a border of :data:`HALO` pixels of its neighbours, which is cropped again. What is farther away
moves the networks of this package by less than a thousandth of an 8-bit level, as rounding does, so that no seams show.
Where tiles lie follows from the size of a picture alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["HALO", "TILE", "pad", "spans", "tiled"]

TILE = 1536
"""Longest side of a tile; pictures up to this size are one."""
HALO = 128
"""Pixels around a tile that are evaluated with it, a multiple of all multiples."""
BATCH_PIXELS = 2**20
"""Pixels that are evaluated together, where pictures are smaller."""


def tiled(evaluate: Callable[[Tensor], Tensor], y: Tensor, multiple: int, growth: int = 1) -> Tensor:
    """Evaluates pictures of any size in tiles.

    Arguments:
        evaluate: Maps pictures (B, 3, h, w) with sides that are multiples to pictures of their size.
        y: Pictures (B, 3, H, W).
        multiple: What sides must be multiples of, a power of two.
        growth: How often samples are repeated along both sides before, 1 or 2.

    Returns:
        Pictures (B, 3, growth H, growth W).
    """
    height, width = growth * y.shape[2], growth * y.shape[3]
    result = y.new_empty(*y.shape[:2], height, width)
    for top, bottom in spans(height, multiple):
        for left, right in spans(width, multiple):
            above, before = max(0, top - HALO), max(0, left - HALO)
            rows = slice(above // growth, min(height, bottom + HALO) // growth)
            columns = slice(before // growth, min(width, right + HALO) // growth)
            tile = _in_batches(evaluate, y[:, :, rows, columns], multiple, growth)
            inner = tile[:, :, top - above : bottom - above, left - before : right - before]
            result[:, :, top:bottom, left:right] = inner
    return result


def spans(side: int, multiple: int) -> Iterator[tuple[int, int]]:
    """Divides a side into as few tiles as can be, about equally long, that begin at multiples.

    Example:
        >>> list(spans(1536, 16)), list(spans(3000, 16))
        ([(0, 1536)], [(0, 1504), (1504, 3000)])
    """
    count = -(-side // TILE)
    length = -(-side // (count * multiple)) * multiple
    for start in range(0, side, length):
        yield start, min(side, start + length)


def pad(y: Tensor, multiple: int) -> Tensor:
    """Reflects the bottom and right edges until both sides are multiples; repeats the edge of tiny pictures."""
    for axis in (2, 3):
        size = y.shape[axis]
        if missing := -size % multiple:
            margins = (0, 0, 0, missing) if axis == 2 else (0, missing, 0, 0)
            y = functional.pad(y, margins, mode="reflect" if missing < size else "replicate")
    return y


def _in_batches(evaluate: Callable[[Tensor], Tensor], y: Tensor, multiple: int, growth: int) -> Tensor:
    if growth > 1:
        y = functional.interpolate(y, scale_factor=growth, mode="nearest")
    y = pad(y, multiple).contiguous(memory_format=torch.channels_last)
    chunk = max(1, BATCH_PIXELS // (y.shape[2] * y.shape[3]))
    parts = [evaluate(part) for part in torch.split(y, chunk)]
    return parts[0] if len(parts) == 1 else torch.cat(parts)
