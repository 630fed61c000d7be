r"""Bjøntegaard deltas: how much less rate, or how much more quality, one rate-distortion curve has than another.

Curves of quality q over the logarithm of the rate r go through the points measured, by Akima's interpolation (Akima,
1970), which Herglotz et al. (2022, https://arxiv.org/abs/2202.12565) found to follow densely measured curves best.
With integrals over what both curves cover (Bjøntegaard, 2001, VCEG-M33),

.. math:: \Delta R = 10^{\frac{1}{q_1 - q_0} \int (\log_{10} r_{\mathrm{test}}(q) - \log_{10} r_{\mathrm{anchor}}(q))
    \, dq} - 1, \quad
    \Delta Q = \frac{1}{l_1 - l_0} \int (q_{\mathrm{test}}(l) - q_{\mathrm{anchor}}(l)) \, dl, \quad l = \log_{10} r.

Nothing is extrapolated. There is no delta, but a reason, where a curve has fewer than three points, where quality does
not rise with the rate, and where the curves share less than half of the narrower one's range.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from flipproof.errors import SpecError
from flipproof.study.extras import needs_extra

__all__ = ["LEAST_OVERLAP", "LEAST_POINTS", "Delta", "Point", "bd_quality", "bd_rate", "mean_difference"]

_Axis: TypeAlias = NDArray[np.float64]
_Curve: TypeAlias = tuple[_Axis, _Axis]

LEAST_POINTS = 3
"""Fewer make no curve."""

LEAST_OVERLAP = 0.5
"""Share of the narrower curve's range that the other must cover."""


@dataclass(frozen=True, order=True)
class Point:
    """One point of a rate-distortion curve.

    Attributes:
        bpp: The rate, in bits per pixel or any other unit; above 0.
        quality: What is better when higher, such as decibels; negate metrics that are better when lower.
    """

    bpp: float
    quality: float


@dataclass(frozen=True)
class Delta:
    """A Bjøntegaard delta.

    Attributes:
        value: The delta; None where there is none.
        overlap: Share of the narrower curve's range that both curves cover, from 0 to 1.
        reason: Why there is no delta; empty otherwise.
    """

    value: float | None
    overlap: float = 0.0
    reason: str = ""


def bd_rate(anchor: Sequence[Point], test: Sequence[Point]) -> Delta:
    """Returns by how many percent the rate of a curve is above the anchor's at equal quality; negative is better.

    Arguments:
        anchor: Points of the curve to compare with, in any order; equal ones count once.
        test: Points of the other.

    Raises:
        SpecError: A rate is not above 0.
        MissingExtraError: SciPy is not installed.

    Example:
        >>> anchor = [Point(0.1, 25.0), Point(0.2, 28.0), Point(0.4, 31.0), Point(0.8, 33.5)]
        >>> round(bd_rate(anchor, [Point(0.9 * point.bpp, point.quality) for point in anchor]).value, 6)
        -10.0
        >>> bd_rate(anchor, [Point(point.bpp, point.quality + 20) for point in anchor]).reason
        'the curves share 0 % of the narrower range, less than 50 %'
    """
    delta = _delta(anchor, test, lambda rates, qualities: (qualities, rates))
    if delta.value is None:
        return delta
    return Delta(100 * (10**delta.value - 1), delta.overlap)


def bd_quality(anchor: Sequence[Point], test: Sequence[Point]) -> Delta:
    """Returns by how much the quality of a curve is above the anchor's at equal rate; positive is better.

    What it takes and raises is as for :func:`bd_rate`.

    Example:
        >>> anchor = [Point(0.1, 25.0), Point(0.2, 28.0), Point(0.4, 31.0), Point(0.8, 33.5)]
        >>> round(bd_quality(anchor, [Point(point.bpp, point.quality + 1.5) for point in anchor]).value, 6)
        1.5
    """
    return _delta(anchor, test, lambda rates, qualities: (rates, qualities))


def _sorted(points: Sequence[Point]) -> list[Point]:
    for point in points:
        if not 0 < point.bpp < math.inf:
            raise SpecError(f"expected rates above 0, got {point.bpp}")
    return sorted(set(points))


def _delta(anchor: Sequence[Point], test: Sequence[Point], order: Callable[[_Axis, _Axis], _Curve]) -> Delta:
    """The mean difference of two curves over the shared range of the coordinate that ``order`` puts first."""
    curves = []
    for points in (_sorted(anchor), _sorted(test)):
        if reason := _fault(points):
            return Delta(None, reason=reason)
        curves.append(order(np.log10([point.bpp for point in points]), np.array([point.quality for point in points])))
    return mean_difference(*curves)


def mean_difference(anchor: _Curve, test: _Curve) -> Delta:
    """Returns the mean of one curve less the other over what both cover, or the reason why there is none.

    Arguments:
        anchor: Where the points are, rising, and their values, both with shape (n,).
        test: The same of the other, with its own n.
    """
    curves = (anchor, test)
    low, high = max(across[0] for across, _ in curves), min(across[-1] for across, _ in curves)
    overlap = max(float((high - low) / min(across[-1] - across[0] for across, _ in curves)), 0.0)
    if overlap < LEAST_OVERLAP:
        shares = f"{100 * overlap:.0f} % of the narrower range, less than {100 * LEAST_OVERLAP:.0f} %"
        return Delta(None, overlap, f"the curves share {shares}")
    with needs_extra():
        from scipy.interpolate import Akima1DInterpolator
    areas = [float(Akima1DInterpolator(*curve).integrate(low, high)) for curve in curves]
    return Delta((areas[1] - areas[0]) / float(high - low), overlap)


def _fault(points: list[Point]) -> str:
    """Says why points make no curve; empty where they do."""
    if len(points) < LEAST_POINTS:
        return f"a curve has {len(points)} points, fewer than {LEAST_POINTS}"
    for one, other in pairwise(points):
        if not (one.bpp < other.bpp and one.quality < other.quality < math.inf):
            return f"quality does not rise from {one.bpp:.4g} to {other.bpp:.4g} bpp"
    return "" if points[0].quality > -math.inf else "a quality is infinite"
