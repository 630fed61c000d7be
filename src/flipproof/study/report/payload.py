"""The data of the page: one JSON object of short columns, so that a large study makes a small page."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from flipproof.study.record import Record
from flipproof.study.report.names import metric_digits, metric_label, short
from flipproof.study.series import Series, bit_error_rate, caption, is_clean, series_of

if TYPE_CHECKING:
    from flipproof.study.statistics.summary import Estimate, Point

__all__ = ["embed", "study"]

_PLAIN: tuple[str, ...] = (
    *("pictures", "expected_pictures", "files", "errors", "failures", "failure_rate", "failure_low", "failure_high"),
    *("bpp", "header_bits", "index_bits", "sign_bits", "parity_bits", "repaired_bits"),
    *("encode_seconds", "decode_seconds"),
)
_ESTIMATE = ("mean", "low", "high", "pictures", "complete")
_UNSAFE = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def study(points: Sequence[Point], record: Record) -> dict[str, Any]:
    """Returns what a study measured: its axes, and its points by the indices of what they belong to."""
    families = list(dict.fromkeys(codec.family for codec in record.measured_codecs))
    return {
        "name": record.plan.name,
        "trials": record.plan.trials.limit,
        "pictures": len(record.pictures),
        "datasets": list(record.datasets),
        "metrics": [
            {
                "name": metric.name,
                "label": metric_label(metric.name),
                "unit": "dB" if metric.name == "psnr" else "",
                "digits": metric_digits(metric.name),
                "higher": metric.higher_is_better,
            }
            for metric in record.measured_metrics
        ],
        "channels": [
            {
                "spelling": channel,
                "caption": caption(channel),
                "ber": bit_error_rate(channel),
                "clean": is_clean(channel),
            }
            for channel in record.channels
        ],
        "series": [_series(record, series) for series in series_of(record.channels)],
        "families": [{"spelling": family, "label": label} for family, label in short(families).items()],
        "codecs": _codecs(record, families),
        "points": _points(points, record),
    }


def embed(data: object) -> str:
    r"""Writes data as JSON that can stand in a ``<script>`` element: nothing in it can end that element.

    Numbers that JSON has not, such as infinity, become null.

    Example:
        >>> embed({"name": "</script>", "value": float("inf")})
        '{"name":"\\u003c/script\\u003e","value":null}'
    """
    text = json.dumps(_plain(data), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for letter, escaped in _UNSAFE.items():
        text = text.replace(letter, escaped)
    return text


def _series(record: Record, series: Series) -> dict[str, Any]:
    kept = asdict(series)
    return kept | {"channels": [record.channels.index(channel) for channel in series.channels]}


def _codecs(record: Record, families: Sequence[str]) -> list[dict[str, Any]]:
    """Describes all codecs of the record, so that an index means the same here and there."""
    labels = short([codec.spelling for codec in record.codecs])
    return [
        {
            "spelling": codec.spelling,
            "label": labels[codec.spelling],
            "family": families.index(codec.family) if not codec.skipped else None,
            "asked": codec.asked_bpp,
        }
        for codec in record.codecs
    ]


def _points(points: Sequence[Point], record: Record) -> dict[str, Any]:
    codecs = {codec.spelling: index for index, codec in enumerate(record.codecs)}
    channels = {channel: index for index, channel in enumerate(record.channels)}
    made: dict[str, Any] = {
        "dataset": [record.datasets.index(point.dataset) for point in points],
        "codec": [codecs[point.codec] for point in points],
        "channel": [channels[point.channel] for point in points],
    }
    made |= {name: [getattr(point, name) for point in points] for name in _PLAIN}
    names = [metric.name for metric in record.measured_metrics]
    made["decodable"] = {name: _estimates([point.decodable.get(name) for point in points]) for name in names}
    made["all"] = {name: _estimates([point.all_files.get(name) for point in points]) for name in names}
    return made


def _estimates(estimates: Sequence[Estimate | None]) -> dict[str, list[Any]]:
    return {part: [getattr(each, part) if each else None for each in estimates] for part in _ESTIMATE}


def _plain(value: Any) -> Any:  # noqa: ANN401 (anything that JSON has)
    """Rounds numbers to six digits, which no reader can tell, and drops those that JSON has not."""
    if isinstance(value, bool) or value is None or isinstance(value, str | int):
        return value
    if isinstance(value, float):
        return _rounded(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value]


def _rounded(value: float) -> float | int | None:
    if not math.isfinite(value):
        return None
    short_value = float(f"{value:.6g}")
    return int(short_value) if short_value.is_integer() else short_value
