"""Noise levels of Stable Diffusion."""

from __future__ import annotations

import math
from fractions import Fraction
from functools import cache
from itertools import accumulate
from operator import mul

LISTED = [
    *(999, 972, 949, 929, 897, 869, 834, 805, 780, 751, 726, 704, 688, 670, 648, 627, 608, 591, 578, 561, 546, 530),
    *(520, 510, 498, 491, 480, 465, 455, 447, 438, 429, 419, 410, 402, 390, 380, 371, 361, 353, 345, 336, 326, 319),
    *(313, 305, 296, 289, 282, 276, 269, 261, 254, 247, 242, 237, 231, 224, 219, 213, 209, 204, 200, 194, 189, 185),
    *(181, 175, 170, 167, 163, 160, 156, 153, 149, 146, 143, 139, 135, 132, 129, 125, 121, 118, 116, 113, 110, 107),
    *(104, 101, 99, 96, 94, 92, 90, 87, 85, 82, 80, 78, 76, 74, 72, 70, 68, 66, 64, 62, 60, 58, 56, 54, 52, 50),
    *range(48, 0, -1),
]


def timesteps(levels: int, even: bool) -> list[int]:
    """The t_i, spread over all timesteps or over the list."""
    if even or levels > len(LISTED):
        return [999 - round(Fraction(999 * i, levels - 1)) for i in range(levels)]
    return [LISTED[round(Fraction(161 * i, levels - 1))] for i in range(levels)]


@cache
def noises() -> list[float]:
    """sigma(t) of all t."""
    first, last = math.sqrt(0.00085), math.sqrt(0.012)
    kept = accumulate((1 - (first + (last - first) * i / 999) ** 2 for i in range(1000)), mul)
    return [math.sqrt((1 - a) / a) for a in kept]
