from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.interpolate import Akima1DInterpolator

from flipproof.errors import SpecError
from flipproof.study.statistics.bd import Point, bd_quality, bd_rate

# Examples of the package bjontegaard (Herglotz et al.), and the worked one of VCEG-M33.
EXAMPLES = {
    "low": (
        ([9487.76, 4593.60, 2486.44, 1358.24], [40.037, 38.615, 36.845, 34.851]),
        ([9787.80, 4469.00, 2451.52, 1356.24], [40.121, 38.651, 36.970, 34.987]),
    ),
    "high": (
        ([82472.76, 26875.24, 9487.76, 4593.6], [43.825, 41.404, 40.037, 38.615]),
        ([99896.96, 33952.04, 9787.8, 4469.0], [44.731, 41.875, 40.121, 38.651]),
    ),
    "many": (
        ([82472.76, 26875.24, 9487.76, 4593.6, 3600, 2900], [43.825, 41.404, 40.037, 38.615, 36.5, 35.1]),
        ([99896.96, 33952.04, 9787.8, 4469.0, 4040, 3300], [44.731, 41.875, 40.121, 38.651, 37, 36.5]),
    ),
    "worked": (
        ([686.76, 309.58, 157.11, 85.95], [40.28, 37.18, 34.24, 31.42]),
        ([893.34, 407.8, 204.93, 112.75], [40.39, 37.21, 34.17, 31.24]),
    ),
}


def curves(name):
    return [[Point(*pair) for pair in zip(*curve, strict=True)] for curve in EXAMPLES[name]]


def rising(bpps, qualities):
    return [Point(*pair) for pair in zip(sorted(bpps), sorted(qualities), strict=True)]


wavy = st.builds(
    rising,
    st.lists(st.sampled_from(np.geomspace(0.05, 2, 40).tolist()), min_size=4, max_size=4, unique=True),
    st.lists(st.sampled_from(np.linspace(20, 40, 100).tolist()), min_size=4, max_size=4, unique=True),
)


@pytest.mark.parametrize(
    ("name", "rate", "quality"),
    [
        ("low", -4.425245, 0.119409),
        ("high", -4.085761, 0.089903),
        ("many", -2.526920, 0.050889),
        ("worked", 31.383989, -1.183659),
    ],
)
def test_deltas_are_those_of_the_package_bjontegaard(name, rate, quality):
    """The values are those of version 1.3.0 with Akima's interpolation."""
    assert bd_rate(*curves(name)).value == pytest.approx(rate, abs=1e-6)
    assert bd_quality(*curves(name)).value == pytest.approx(quality, abs=1e-6)


@pytest.mark.parametrize(("name", "published"), [("low", -4.4204627), ("worked", 31.3973740)])
def test_smooth_curves_have_the_delta_of_the_original_method(name, published):
    """That one fits a cubic polynomial; the published values differ where curves bend."""
    assert bd_rate(*curves(name)).value == pytest.approx(published, rel=2e-3)


def test_the_delta_is_the_mean_difference():
    anchor, test = curves("many")
    by_rate = [
        Akima1DInterpolator(*zip(*[(math.log10(p.bpp), p.quality) for p in sorted(points)], strict=True))
        for points in (anchor, test)
    ]
    ends = math.log10(3300), math.log10(82472.76)
    area, _ = quad(lambda rate: by_rate[1](rate) - by_rate[0](rate), *ends, limit=200, epsabs=1e-9)
    assert bd_quality(anchor, test).value == pytest.approx(area / (ends[1] - ends[0]), abs=1e-7)


@settings(max_examples=30)
@given(wavy, st.floats(0.5, 2))
def test_a_curve_at_other_rates_has_that_delta(anchor, factor):
    test = [Point(point.bpp * factor, point.quality) for point in reversed(anchor)]
    assert bd_rate(anchor, test).value == pytest.approx(100 * (factor - 1), abs=1e-6)
    assert bd_rate(anchor, anchor).value == pytest.approx(0, abs=1e-9)


@settings(max_examples=30)
@given(wavy, wavy)
def test_exchanging_the_curves_inverts_the_delta(one, other):
    forth, back = bd_rate(one, other), bd_rate(other, one)
    assert forth.overlap == pytest.approx(back.overlap)
    assert (forth.value is None) == (back.value is None) == bool(forth.reason)
    if forth.value is not None:
        assert (1 + forth.value / 100) * (1 + back.value / 100) == pytest.approx(1, rel=1e-6)
        assert 0.5 <= forth.overlap <= 1


def test_equal_points_count_once():
    anchor, test = curves("low")
    assert bd_rate(anchor + anchor, test) == bd_rate(anchor, test)


def test_there_is_a_reason_where_there_is_no_delta():
    anchor = rising([0.1, 0.2, 0.4, 0.8], [25, 28, 31, 33])
    cases = {
        "a curve has 2 points, fewer than 3": anchor[:2],
        "quality does not rise from 0.2 to 0.4 bpp": [anchor[0], anchor[1], Point(0.4, 28), anchor[3]],
        "quality does not rise from 0.4 to 0.8 bpp": [*anchor[:3], Point(0.8, math.inf)],
        "quality does not rise from 0.1 to 0.2 bpp": [Point(0.1, math.nan), *anchor[1:]],
        "a quality is infinite": [Point(0.1, -math.inf), *anchor[1:]],
        "the curves share 38 % of the narrower range, less than 50 %": [Point(p.bpp, p.quality + 5) for p in anchor],
        "the curves share 0 % of the narrower range, less than 50 %": [Point(p.bpp, p.quality + 50) for p in anchor],
    }
    for reason, test in cases.items():
        for pair in ((anchor, test), (test, anchor)):
            assert (bd_rate(*pair).value, bd_rate(*pair).reason) == (None, reason)
    assert bd_rate([], anchor).reason == "a curve has 0 points, fewer than 3"


@pytest.mark.parametrize("bpp", [0, -1, math.nan, math.inf])
def test_rates_that_are_none_are_refused(bpp):
    anchor = rising([0.1, 0.2, 0.4], [25, 28, 31])
    with pytest.raises(SpecError, match="expected rates above 0, got"):
        bd_rate(anchor, [*anchor, Point(bpp, 40)])


def test_numbers_of_numpy_are_numbers():
    points = [Point(*map(np.float64, pair)) for pair in ((0.1, 25), (0.2, 28), (0.4, 31))]
    assert type(bd_rate(points, points).value) is float
