"""Codecs against each other, for every anchor a reader can choose: paired differences, and gaps between curves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from flipproof.study.record import MetricEntry, Record
from flipproof.study.series import bit_error_rate
from flipproof.study.statistics.bd import LEAST_POINTS
from flipproof.study.statistics.curve import Gap, ber_gaps, rate_gaps
from flipproof.study.statistics.difference import differences
from flipproof.study.statistics.summary import Point

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["MOST_DIFFERENCES", "MOST_GAPS", "curve_gaps", "paired"]

MOST_DIFFERENCES = 12_000
"""Most paired differences in a page: metrics that would go beyond it have none there."""

MOST_GAPS = 4_000
"""The same for gaps between curves."""


def paired(table: pa.Table, record: Record) -> dict[str, list[Any]]:
    """Returns the differences of all pairs of codecs, as columns; each pair stands there once.

    Metrics are taken in order, PSNR first, as far as :data:`MOST_DIFFERENCES` goes.

    Raises:
        MissingExtraError: DuckDB is not installed.
    """
    codecs = {codec.spelling: index for index, codec in enumerate(record.codecs)}
    pairs = len(record.measured_codecs) * (len(record.measured_codecs) - 1) // 2
    size = pairs * len(record.channels) * len(record.datasets)
    metrics = _affordable(record, size, MOST_DIFFERENCES)
    found = [each for metric in metrics for each in differences(table, record, metric.name)]
    return {
        "dataset": [record.datasets.index(each.dataset) for each in found],
        "metric": [each.metric for each in found],
        "channel": [record.channels.index(each.channel) for each in found],
        "codec": [codecs[each.codec] for each in found],
        "other": [codecs[each.other] for each in found],
        "mean": [each.mean for each in found],
        "low": [each.low for each in found],
        "high": [each.high for each in found],
        "pictures": [each.pictures for each in found],
        "pairs": [each.pairs for each in found],
        "left_out": [each.left_out for each in found],
    }


def curve_gaps(points: Sequence[Point], record: Record) -> dict[str, list[dict[str, Any]]]:
    """Returns the gaps between curves that have at least three points.

    Returns:
        ``rate``: BD-rates between families, by data set, metric and channel; ``ber``: gaps over bit error rates between
        codecs, by data set and metric.

    Raises:
        MissingExtraError: SciPy is not installed.
    """
    families = _long((point.family, point.codec) for point in points if point.bpp > 0)
    rated = [point for point in points if point.family in families]
    codecs = _long((point.codec, point.channel) for point in points if bit_error_rate(point.channel))
    noisy = [point for point in points if point.codec in codecs]
    places = len(record.channels) * len(record.datasets)
    rate_metrics = _affordable(record, len(families) ** 2 * places, MOST_GAPS)
    ber_metrics = _affordable(record, len(codecs) ** 2 * len(record.datasets), MOST_GAPS)
    return {
        "rate": _items(gap for metric in rate_metrics for name in families for gap in rate_gaps(rated, metric, name)),
        "ber": _items(gap for metric in ber_metrics for name in codecs for gap in ber_gaps(noisy, metric, name)),
    }


def _affordable(record: Record, each: int, most: int) -> tuple[MetricEntry, ...]:
    return record.measured_metrics[: most // max(1, each)]


def _long(values: Iterable[tuple[str, str]]) -> list[str]:
    """Returns the names with at least as many different values as a curve needs."""
    counts = Counter(name for name, _ in dict.fromkeys(values))
    return [name for name, count in counts.items() if count >= LEAST_POINTS]


def _items(gaps: Iterable[Gap]) -> list[dict[str, Any]]:
    return [
        {
            "dataset": gap.dataset,
            "metric": gap.metric,
            "channel": gap.channel,
            "name": gap.name,
            "anchor": gap.anchor,
            "value": gap.delta.value,
            "overlap": gap.delta.overlap,
            "reason": gap.delta.reason,
            "left_out": gap.left_out,
        }
        for gap in gaps
    ]
