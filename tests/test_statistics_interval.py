from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from flipproof.errors import SpecError
from flipproof.study.statistics.interval import (
    Interval,
    binomial_interval,
    bootstrap_interval,
    bootstrap_intervals,
    half_width,
)

MISS = 1e-6
"""Chance that a check below fails although what it checks is right."""


def between(hits: int, runs: int, low: float, high: float) -> bool:
    """Whether so many hits are likely for a true share between two bounds; two-sided."""
    return stats.binom.ppf(MISS / 2, runs, low) <= hits <= stats.binom.ppf(1 - MISS / 2, runs, high)


def sums(samples):
    return [len(x) for x in samples], [np.sum(x) for x in samples], [np.sum(np.square(x)) for x in samples]


@settings(max_examples=50)
@given(st.integers(0, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_binomial_interval_is_scipys_exact_one(pair):
    successes, trials = pair
    interval = binomial_interval(successes, trials)
    if not trials:
        assert interval == Interval(0.0, 1.0)
        return
    reference = stats.binomtest(successes, trials).proportion_ci(0.95, method="exact")
    assert (interval.low, interval.high) == pytest.approx((reference.low, reference.high), abs=1e-9)


@pytest.mark.parametrize("trials", [5, 24, 240])
def test_the_binomial_interval_covers_every_share_at_least_19_of_20_times(trials):
    """No chance here: the coverage is summed over all outcomes."""
    intervals = [binomial_interval(count, trials) for count in range(trials + 1)]
    for share in np.linspace(0.001, 0.999, 37):
        inside = [count for count, i in enumerate(intervals) if i.low <= share <= i.high]
        assert stats.binom.pmf(inside, trials, share).sum() >= 0.95


@pytest.mark.parametrize("pair", [(-1, 3), (4, 3), (1, 0)])
def test_counts_that_are_none_are_refused(pair):
    with pytest.raises(SpecError, match="successes, got"):
        binomial_interval(*pair)


@pytest.mark.parametrize("size", [2, 9, 24, 100])
def test_the_bootstrap_is_scipys_but_for_chance(size):
    """An end of 2000 resamples has a standard error of 0.06 standard errors of the mean; six of both are allowed."""
    values = np.random.default_rng(size).gamma(2, 3, size=size)
    interval = bootstrap_interval(values, seed=1)
    reference = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    allowed = 6 * 0.065 * values.std() / math.sqrt(size)
    assert (interval.low, interval.high) == pytest.approx((reference.low, reference.high), abs=allowed)


@pytest.mark.parametrize(
    ("size", "low", "high"), [(4, 0.79, 0.84), (8, 0.87, 0.91), (24, 0.915, 0.945), (100, 0.93, 0.955)]
)
def test_the_bootstrap_covers_the_mean_of_normal_values_as_often_as_known(size, low, high):
    """The percentile bootstrap is known to be too narrow for few values; the documentation says by how much."""
    rng = np.random.default_rng(size)
    intervals = bootstrap_intervals([rng.normal(size=size) for _ in range(1500)], seed=0)
    assert between(sum(i.low <= 0 <= i.high for i in intervals), 1500, low, high)


def test_samples_of_all_sizes_get_the_interval_they_get_alone():
    rng = np.random.default_rng(0)
    samples = [rng.normal(size=size) for size in (3, 0, 5, 3, 1, 5, 200)]
    together = bootstrap_intervals(samples, seed=3)
    assert [i is None for i in together] == [False, True, False, False, True, False, False]
    for sample, interval in zip(samples, together, strict=True):
        alone = bootstrap_interval(sample, seed=3)
        assert (alone is None) == (interval is None)
        if alone is not None:
            assert (interval.low, interval.high) == pytest.approx((alone.low, alone.high), abs=1e-12)
    assert bootstrap_interval(samples[-1], seed=4) != bootstrap_interval(samples[-1], seed=3)


def test_many_samples_and_large_ones_go_through_in_pieces(monkeypatch):
    samples = list(np.random.default_rng(0).normal(size=(11, 30)))
    whole = bootstrap_intervals(samples, seed=0)
    monkeypatch.setattr("flipproof.study.statistics.interval._CHUNK", 8000)
    for one, other in zip(whole, bootstrap_intervals(samples, seed=0), strict=True):
        assert (one.low, one.high) == pytest.approx((other.low, other.high), abs=0.15)


@settings(max_examples=40)
@given(st.integers(2, 12), st.integers(2, 12), st.integers(0, 2**32))
def test_half_of_the_width_is_students_and_welchs(first, second, seed):
    """One picture is a t interval; two are half of Welch's interval of a difference."""
    rng = np.random.default_rng(seed)
    one, other = rng.normal(25, 1, size=first), rng.normal(30, 3, size=second)
    low, high = stats.t.interval(0.95, first - 1, one.mean(), stats.sem(one))
    assert half_width(*sums([one])) == pytest.approx((high - low) / 2, rel=1e-6)
    welch = stats.ttest_ind(one, other, equal_var=False).confidence_interval(0.95)
    assert half_width(*sums([one, other])) == pytest.approx((welch.high - welch.low) / 4, rel=1e-6)


@pytest.mark.parametrize(("pictures", "trials"), [(1, 5), (6, 4), (24, 10)])
def test_half_of_the_width_covers_the_mean_of_fixed_pictures(pictures, trials):
    """Pictures of unequal spread; the true coverage is taken to be within a percent of 95 %."""
    rng = np.random.default_rng(pictures)
    spreads, hits = np.linspace(1, 4, pictures), 0
    for _ in range(1500):
        values = rng.normal(size=(pictures, trials)) * spreads[:, None]
        hits += abs(values.mean()) <= half_width(*sums(values))
    assert between(hits, 1500, 0.94, 0.96)


def test_half_of_the_width_where_there_is_no_spread_or_too_little_to_tell():
    assert half_width([], [], []) == math.inf
    assert half_width([3, 1], [3.0, 1.0], [3.0, 1.0]) == math.inf
    assert half_width(*sums([[0.1] * 7, [100.0] * 7])) == 0
    assert 0 < half_width(*sums([[0.1] * 7, [100.0] * 6 + [99.0]])) < math.inf


def test_sums_that_are_none_are_refused():
    with pytest.raises(SpecError, match=r"expected three equal shapes \(n,\), got \(2,\), \(1,\) and \(2,\)"):
        half_width([2, 2], [1.0], [1.0, 1.0])
    with pytest.raises(SpecError, match="expected finite sums"):
        half_width([2], [math.inf], [math.inf])
