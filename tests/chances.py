"""Two-sided tests whose chance of a false alarm is stated, not guessed."""

from __future__ import annotations

from scipy.stats import binom, nbinom

ALARM = 1e-6
"""Probability that a test of one count fails though everything is right, over the choice of its fixed seed."""


def likely(count: int, trials: int, probability: float) -> bool:
    """Whether a count of independent events lies within exact binomial limits."""
    low, high = binom.ppf([ALARM / 2, 1 - ALARM / 2], trials, probability)
    return bool(low <= count <= high)


def likely_total(total: int, runs: int, mean: float) -> bool:
    """Whether the total length of geometric runs, each 1 or longer, lies within exact limits."""
    low, high = nbinom.ppf([ALARM / 2, 1 - ALARM / 2], runs, 1 / mean) + runs
    return bool(low <= total <= high)


def near(value: float, mean: float, deviation: float) -> bool:
    """Whether a sum of very many terms lies within 4.9 standard deviations: false alarm below 10^-6."""
    return abs(value - mean) < 4.9 * deviation
