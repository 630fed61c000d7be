"""Curves of a study: quality over the rate, and quality over the bit error rate, and what lies between two of them."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from flipproof.errors import SpecError, UnknownNameError
from flipproof.study.record import MetricEntry
from flipproof.study.series import bit_error_rate
from flipproof.study.statistics import bd, ber
from flipproof.study.statistics.interval import MAX_DB
from flipproof.study.statistics.summary import Point

__all__ = ["Gap", "ber_curves", "ber_gaps", "quality", "rate_curves", "rate_gaps"]


@dataclass(frozen=True)
class Gap:
    """What lies between a curve and its anchor.

    Attributes:
        dataset: As in the record.
        metric: Its name.
        channel: Of curves over the rate; empty for curves over bit error rates.
        name: Of the curve: a family of codecs over the rate, a codec over bit error rates.
        anchor: Name of the other.
        delta: In percent of the anchor's rate, negative is better; or in units of the metric, positive is better.
        left_out: Points of the two curves that are not used because their means are not complete.
    """

    dataset: str
    metric: str
    channel: str
    name: str
    anchor: str
    delta: bd.Delta
    left_out: int


def quality(metric: MetricEntry, value: float) -> float:
    """Returns what is better when higher and can be interpolated: MS-SSIM in decibels, distances negated.

    Example:
        >>> round(quality(MetricEntry(name="ms-ssim", column="ms_ssim", higher_is_better=True), 0.99), 6)
        20.0
    """
    if metric.name == "ms-ssim":
        return MAX_DB if value >= 1 else min(-10 * math.log10(1 - value), MAX_DB)
    return value if metric.higher_is_better else -value


def rate_curves(points: Sequence[Point], channel: str, metric: MetricEntry) -> dict[str, list[bd.Point]]:
    """Returns the points of every family on a channel, over all files; those with incomplete means are left out.

    Arguments:
        points: Of one data set.
        channel: Spelling.
        metric: What quality is.

    Raises:
        SpecError: The points are of several data sets, so that there are several curves of a family.
    """
    _one_dataset(points)
    curves: dict[str, list[bd.Point]] = {}
    for point in points:
        if point.channel == channel:
            curve = curves.setdefault(point.family, [])
            mean = _mean(point, metric)
            if mean is not None and point.bpp > 0:
                curve.append(bd.Point(point.bpp, quality(metric, mean)))
    return curves


def ber_curves(points: Sequence[Point], metric: MetricEntry) -> dict[str, list[ber.Point]]:
    """Returns the points of every codec on binary symmetric channels with errors, as :func:`rate_curves` does.

    Raises:
        SpecError: The points are of several data sets.
    """
    _one_dataset(points)
    curves: dict[str, list[ber.Point]] = {}
    for point in points:
        rate = bit_error_rate(point.channel)
        if rate:
            curve = curves.setdefault(point.codec, [])
            mean = _mean(point, metric)
            if mean is not None:
                curve.append(ber.Point(rate, quality(metric, mean)))
    return curves


def rate_gaps(points: Sequence[Point], metric: MetricEntry, anchor: str) -> list[Gap]:
    """Returns the BD-rate of every family against one, for every data set and channel.

    Arguments:
        points: Of any data sets, channels and families.
        metric: At equal what.
        anchor: A family.

    Raises:
        UnknownNameError: There is no such family.
        MissingExtraError: SciPy is not installed.
    """
    _check(anchor, "family", [point.family for point in points])
    made = []
    for dataset, own in _by_dataset(points):
        for channel in dict.fromkeys(point.channel for point in own):
            there = [point for point in own if point.channel == channel]
            curves = rate_curves(there, channel, metric)
            missing = _missing({name: [p for p in there if p.family == name] for name in curves}, curves)
            for name in curves:
                if name != anchor:
                    delta = bd.bd_rate(curves.get(anchor, []), curves[name])
                    lost = missing[name] + missing.get(anchor, 0)
                    made.append(Gap(dataset, metric.name, channel, name, anchor, delta, lost))
    return made


def ber_gaps(points: Sequence[Point], metric: MetricEntry, anchor: str) -> list[Gap]:
    """Returns how much better every codec is than one over the bit error rates of the study, for every data set.

    Arguments:
        points: Of any data sets, channels and codecs.
        metric: What is better or worse.
        anchor: Spelling of a codec.

    Raises:
        UnknownNameError: There is no such codec.
        MissingExtraError: SciPy is not installed.
    """
    _check(anchor, "codec", [point.codec for point in points])
    made = []
    for dataset, own in _by_dataset(points):
        noisy = [point for point in own if bit_error_rate(point.channel)]
        curves = ber_curves(noisy, metric)
        missing = _missing({name: [p for p in noisy if p.codec == name] for name in curves}, curves)
        for name in curves:
            if name != anchor:
                delta = ber.bd_ber(curves.get(anchor, []), curves[name])
                lost = missing[name] + missing.get(anchor, 0)
                made.append(Gap(dataset, metric.name, "", name, anchor, delta, lost))
    return made


def _mean(point: Point, metric: MetricEntry) -> float | None:
    estimate = point.all_files.get(metric.name)
    return estimate.mean if estimate is not None and estimate.complete else None


def _missing(points: Mapping[str, Sequence[Point]], curves: Mapping[str, Sequence[object]]) -> dict[str, int]:
    return {name: len(points[name]) - len(curve) for name, curve in curves.items()}


def _one_dataset(points: Sequence[Point]) -> None:
    datasets = {point.dataset for point in points}
    if len(datasets) > 1:
        raise SpecError(f"expected points of one data set, got those of {', '.join(sorted(datasets))}")


def _by_dataset(points: Sequence[Point]) -> Iterator[tuple[str, list[Point]]]:
    groups: dict[str, list[Point]] = defaultdict(list)
    for point in points:
        groups[point.dataset].append(point)
    yield from groups.items()


def _check(anchor: str, kind: str, known: Sequence[str]) -> None:
    if anchor not in known:
        raise UnknownNameError(f"{kind} of the study", anchor, list(dict.fromkeys(known)))
