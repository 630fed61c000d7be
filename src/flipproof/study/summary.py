"""From rows to numbers that can be compared: means, failure rates and their intervals."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flipproof import seeds
from flipproof.errors import SpecError
from flipproof.study.extras import needs_extra
from flipproof.study.plan import Plan
from flipproof.study.store import ERROR, FAILED, Row

__all__ = ["MAX_DB", "Cell", "Interval", "binomial_interval", "bootstrap_interval", "summarise"]

MAX_DB = 100.0
"""What counts in means for a picture that came back exactly, whose PSNR is infinite."""

_RESAMPLES = 2000


@dataclass(frozen=True)
class Interval:
    """A 95 % confidence interval."""

    low: float
    high: float


@dataclass(frozen=True)
class Cell:
    """One codec on one channel.

    Attributes:
        codec: Spelling of the codec.
        channel: Spelling of the channel.
        files: Received files that count; those the codec could not encode do not.
        errors: Cells of the plan that the codec gave up on.
        failures: Received files without a picture.
        failure_rate: ``failures / files``; 0 without files.
        failure_low: Lower end of the exact (Clopper-Pearson) 95 % interval, taking files as independent.
        failure_high: Upper end of it.
        psnr_db: Mean over the files that decode; None if none does.
        psnr_all_db: Mean over all files, failed ones as mid-gray; None without files.
        psnr_all_low: Lower end of its 95 % bootstrap interval over photographs; None with fewer than two.
        psnr_all_high: Upper end of it.
        bpp: Mean whole-file rate.
        encode_seconds: Median over photographs, so that a first call that loads weights does not weigh in.
        decode_seconds: Median over photographs, per file of a batch.
    """

    codec: str
    channel: str
    files: int
    errors: int
    failures: int
    failure_rate: float
    failure_low: float
    failure_high: float
    psnr_db: float | None
    psnr_all_db: float | None
    psnr_all_low: float | None
    psnr_all_high: float | None
    bpp: float
    encode_seconds: float
    decode_seconds: float


def summarise(rows: Sequence[Row], plan: Plan) -> list[Cell]:
    """Aggregates rows by codec and channel, in the plan's order.

    Infinite PSNR counts as 100 dB.

    Raises:
        MissingExtraError: SciPy is not installed.
    """
    groups: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.codec, row.channel].append(row)
    return [
        _cell(codec, channel, groups[codec, channel], plan.seed)
        for codec in plan.codecs
        for channel in plan.channels
        if (codec, channel) in groups
    ]


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
    low = betaincinv(successes, trials - successes + 1, 0.025) if successes else 0.0
    high = betaincinv(successes + 1, trials - successes, 0.975) if successes < trials else 1.0
    return Interval(float(low), float(high))


def bootstrap_interval(values: Sequence[float], **axes: str | float) -> Interval | None:
    """Returns the 95 % percentile bootstrap interval of a mean; None for fewer than two values.

    Arguments:
        values: One per independent unit, here the photograph.
        **axes: What the resampling is keyed by, as for :func:`flipproof.seeds.derive`.
    """
    if len(values) < 2:
        return None
    rng = seeds.generator(purpose="study bootstrap", **axes)
    samples = rng.choice(np.asarray(values, dtype=np.float64), size=(_RESAMPLES, len(values)))
    low, high = np.quantile(samples.mean(axis=1), [0.025, 0.975])
    return Interval(float(low), float(high))


def _cell(codec: str, channel: str, rows: Sequence[Row], seed: int) -> Cell:
    kept = [row for row in rows if row.status != ERROR]
    failures = sum(row.status == FAILED for row in kept)
    failure = binomial_interval(failures, len(kept))
    spread = bootstrap_interval(_photograph_means(kept), codec=codec, channel=channel, seed=seed)
    return Cell(
        codec=codec,
        channel=channel,
        files=len(kept),
        errors=len(rows) - len(kept),
        failures=failures,
        failure_rate=failures / len(kept) if kept else 0.0,
        failure_low=failure.low,
        failure_high=failure.high,
        psnr_db=_mean([row.psnr_db for row in kept]),
        psnr_all_db=_mean([row.psnr_all_db for row in kept]),
        psnr_all_low=spread.low if spread else None,
        psnr_all_high=spread.high if spread else None,
        bpp=statistics.fmean(row.bpp for row in kept) if kept else 0.0,
        encode_seconds=statistics.median(row.encode_seconds for row in kept) if kept else 0.0,
        decode_seconds=statistics.median(row.decode_seconds for row in kept) if kept else 0.0,
    )


def _photograph_means(rows: Sequence[Row]) -> list[float]:
    groups: dict[str, list[float | None]] = defaultdict(list)
    for row in rows:
        groups[row.photograph].append(row.psnr_all_db)
    means = [_mean(values) for values in groups.values()]
    return [mean for mean in means if mean is not None]


def _mean(values: Sequence[float | None]) -> float | None:
    clipped = [min(value, MAX_DB) for value in values if value is not None]
    return statistics.fmean(clipped) if clipped else None
