r"""Intervals of 95 %: of a share, of a mean over pictures, and of a mean over trials.

The three answer different questions. How often a file is lost is counted, so its interval is the exact one of a
binomial probability (Clopper and Pearson, 1934), as if files were independent. How good a codec is on pictures *like
these* is a mean over pictures, which are what was sampled: they are drawn again with replacement (Efron, 1979), and the
2.5 % and 97.5 % quantiles of the means are the ends. Whether *more trials* would move a mean is asked with the pictures
held fixed: with :math:`t_i` trials of variance :math:`s_i^2` of each of n pictures, the mean over pictures of the means
over trials has the standard error

.. math:: \frac{1}{n} \sqrt{\sum_i v_i}, \quad v_i = \frac{s_i^2}{t_i},

and Student's t with the degrees of freedom :math:`(\sum_i v_i)^2 / \sum_i v_i^2 / (t_i - 1)` of Welch (1947).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flipproof import seeds
from flipproof.errors import SpecError
from flipproof.study.extras import needs_extra

__all__ = [
    "MAX_DB",
    "RESAMPLES",
    "Interval",
    "binomial_interval",
    "bootstrap_interval",
    "bootstrap_intervals",
    "half_width",
]

MAX_DB = 100.0
"""What counts in means for a picture that came back exactly, whose PSNR is infinite."""

RESAMPLES = 2000
"""Times that pictures are drawn again for a bootstrap."""

_TAILS = (0.025, 0.975)
_CHUNK = 2**22


@dataclass(frozen=True)
class Interval:
    """A 95 % confidence interval."""

    low: float
    high: float


def binomial_interval(successes: int, trials: int) -> Interval:
    """Returns the exact (Clopper-Pearson) 95 % interval of a probability; [0, 1] without trials.

    Raises:
        SpecError: Not ``0 <= successes <= trials``.
        MissingExtraError: SciPy is not installed.

    Example:
        >>> interval = binomial_interval(0, 20)
        >>> interval.low, round(interval.high, 4)
        (0.0, 0.1684)
    """
    if not 0 <= successes <= trials:
        raise SpecError(f"expected from 0 to {trials} successes, got {successes}")
    with needs_extra():
        from scipy.special import betaincinv
    low = betaincinv(successes, trials - successes + 1, _TAILS[0]) if successes else 0.0
    high = betaincinv(successes + 1, trials - successes, _TAILS[1]) if successes < trials else 1.0
    return Interval(float(low), float(high))


def bootstrap_interval(values: ArrayLike, **axes: str | float) -> Interval | None:
    """Returns the 95 % percentile bootstrap interval of a mean; None for fewer than two values.

    Arguments:
        values: One per independent unit, here the picture, with shape (n,).
        **axes: What the drawing is keyed by, as for :func:`flipproof.seeds.derive`.

    Example:
        >>> bootstrap_interval([24.0, 25.0, 27.0], seed=0)
        Interval(low=24.0, high=27.0)
    """
    return bootstrap_intervals([np.asarray(values, dtype=np.float64)], **axes)[0]


def bootstrap_intervals(samples: Sequence[NDArray[np.float64]], **axes: str | float) -> list[Interval | None]:
    """Returns the bootstrap interval of the mean of each sample; samples of one size share what is drawn.

    Arguments:
        samples: Each with shape (n,), n as it comes.
        **axes: As for :func:`bootstrap_interval`.
    """
    made: list[Interval | None] = [None] * len(samples)
    for size in {len(sample) for sample in samples if len(sample) > 1}:
        places = [place for place, sample in enumerate(samples) if len(sample) == size]
        ends = _ends(np.stack([samples[place] for place in places], axis=1), axes)
        for place, (low, high) in zip(places, ends.tolist(), strict=True):
            made[place] = Interval(low, high)
    return made


def half_width(counts: ArrayLike, sums: ArrayLike, squares: ArrayLike) -> float:
    """Returns half the length of the 95 % interval of a mean over pictures of means over trials, for fixed pictures.

    Arguments:
        counts: Trials of each picture, with shape (n,).
        sums: Of the values of each picture, with shape (n,).
        squares: Sums of the squared values of each picture, with shape (n,).

    Returns:
        Infinity without pictures, or where one has fewer than two trials; 0 where no value varies.

    Raises:
        SpecError: The shapes differ, or a sum is not finite.
        MissingExtraError: SciPy is not installed.

    Example:
        >>> round(half_width([4, 4], [100.0, 120.0], [2502.0, 3602.0]), 4)
        0.7064
    """
    count, total, square = (np.asarray(each, dtype=np.float64) for each in (counts, sums, squares))
    if not (count.ndim == 1 and count.shape == total.shape == square.shape):
        raise SpecError(f"expected three equal shapes (n,), got {count.shape}, {total.shape} and {square.shape}")
    if not (np.isfinite(total).all() and np.isfinite(square).all()):
        raise SpecError("expected finite sums; count infinite PSNR as 100 dB")
    if not len(count) or count.min() < 2:
        return math.inf
    error = np.maximum(square - total**2 / count, 0) / (count - 1) / count
    # What rounding leaves of equal values is no variance.
    error[square - total**2 / count <= 1e-12 * square] = 0
    if not error.any():
        return 0.0
    with needs_extra():
        from scipy.special import stdtrit
    freedom = error.sum() ** 2 / (error**2 / (count - 1)).sum()
    return float(stdtrit(freedom, _TAILS[1]) * math.sqrt(error.sum()) / len(count))


def _ends(values: NDArray[np.float64], axes: dict[str, str | float]) -> NDArray[np.float64]:
    """Returns low and high ends, with shape (k, 2), of the means of values with shape (n, k)."""
    size, columns = values.shape
    batch = max(_CHUNK // RESAMPLES, 1)
    if columns > batch:
        return np.concatenate([_ends(values[:, start : start + batch], axes) for start in range(0, columns, batch)])
    rng = seeds.generator(purpose="study bootstrap", pictures=size, **axes)
    chunk = max(_CHUNK // size, 1)
    means = [
        rng.multinomial(size, np.full(size, 1 / size), size=min(chunk, RESAMPLES - start)) @ values / size
        for start in range(0, RESAMPLES, chunk)
    ]
    ends: NDArray[np.float64] = np.quantile(np.concatenate(means), _TAILS, axis=0).T
    return ends
