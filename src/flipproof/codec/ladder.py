"""A rate in bits per pixel for codecs whose files come in levels: bisection for the largest that fits."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from flipproof.errors import RateError

__all__ = ["MOST_RATE", "encode_at_rate"]

MOST_RATE = 240.0
"""Bits per pixel of the largest file that makes sense: ten times what a raw picture has."""


def encode_at_rate(name: str, save: Callable[[int], bytes], levels: Sequence[int], bpp: float, pixels: int) -> bytes:
    """Returns a file that fits while that of the next level does not.

    Sizes grow with the level but for small exceptions, which bisection steps over: what it finds always fits.

    Arguments:
        name: Name of the codec, for the error.
        save: Makes the file of a level.
        levels: In the order of growing files.
        bpp: Rate of the whole file in bits per pixel.
        pixels: Of the picture.

    Raises:
        RateError: Not even the file of the first level fits.

    Example:
        >>> len(encode_at_rate("zeros", bytes, range(100), bpp=1, pixels=300))
        37
    """
    budget = int(bpp * pixels / 8)
    best, low, high = save(levels[0]), 0, len(levels) - 1
    if len(best) > budget:
        least = 8 * len(best) / pixels
        raise RateError(f"{name}: {bpp:g} bpp is too low here: the smallest file needs {least:.3g} bpp")
    while low < high:
        middle = (low + high + 1) // 2
        data = save(levels[middle])
        if len(data) <= budget:
            best, low = data, middle
        else:
            high = middle - 1
    return best
