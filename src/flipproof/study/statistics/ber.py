r"""How much better one codec is than another over a range of bit error rates: a Bjøntegaard delta over the channel.

A Bjøntegaard delta averages the distance of two rate-distortion curves over the rates both cover. The same mean over
the channel sums up two curves of quality q over the logarithm of the bit error rate p:

.. math:: \Delta Q = \frac{1}{l_1 - l_0} \int_{l_0}^{l_1} (q_{\mathrm{test}}(l) - q_{\mathrm{anchor}}(l)) \, dl,
    \quad l = \log_{10} p,

with :math:`l_0` and :math:`l_1` the ends of what both curves cover, and the curves drawn through the points measured by
Akima's interpolation, as in :mod:`flipproof.study.statistics.bd`. Every decade counts the same. The value depends on
the range, so the range goes with it: between codecs that are equal on a mild channel, more mild decades make the
difference smaller. The channel without errors is not on this axis.

Nothing is extrapolated. There is no delta, but a reason, where a curve has fewer than three points or two qualities at
one rate, and where the curves share less than half of the narrower one's range.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from flipproof.errors import SpecError
from flipproof.study.statistics import bd

__all__ = ["Point", "bd_ber"]


@dataclass(frozen=True, order=True)
class Point:
    """One point of a curve of quality over bit error rates.

    Attributes:
        bit_error_rate: Above 0.
        quality: What is better when higher, such as decibels; negate metrics that are better when lower.
    """

    bit_error_rate: float
    quality: float


def bd_ber(anchor: Sequence[Point], test: Sequence[Point]) -> bd.Delta:
    """Returns by how much the quality of a curve is above the anchor's, over the bit error rates of both.

    Arguments:
        anchor: Points of the curve to compare with, in any order; equal ones count once.
        test: Points of the other.

    Raises:
        SpecError: A bit error rate is not above 0.
        MissingExtraError: SciPy is not installed.

    Example:
        >>> anchor = [Point(1e-4, 25.0), Point(1e-3, 22.0), Point(1e-2, 14.0)]
        >>> round(bd_ber(anchor, [Point(point.bit_error_rate, point.quality + 1.5) for point in anchor]).value, 6)
        1.5
        >>> bd_ber(anchor, anchor[:2]).reason
        'a curve has 2 points, fewer than 3'
    """
    curves = []
    for points in (_sorted(anchor), _sorted(test)):
        if reason := _fault(points):
            return bd.Delta(None, reason=reason)
        rates = np.log10([point.bit_error_rate for point in points])
        curves.append((rates, np.array([point.quality for point in points])))
    return bd.mean_difference(*curves)


def _sorted(points: Sequence[Point]) -> list[Point]:
    for point in points:
        if not 0 < point.bit_error_rate < math.inf:
            raise SpecError(f"expected bit error rates above 0, got {point.bit_error_rate}")
    return sorted(set(points))


def _fault(points: list[Point]) -> str:
    """Says why points make no curve; empty where they do."""
    if len(points) < bd.LEAST_POINTS:
        return f"a curve has {len(points)} points, fewer than {bd.LEAST_POINTS}"
    if not all(math.isfinite(point.quality) for point in points):
        return "a quality is not finite"
    for one, other in pairwise(points):
        if one.bit_error_rate == other.bit_error_rate:
            return f"there are two qualities at a bit error rate of {one.bit_error_rate:g}"
    return ""
