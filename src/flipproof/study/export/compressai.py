"""The JSON of CompressAI's benchmarks, which ``python -m compressai.utils.plot`` draws.

A file holds one curve: a family of codecs on one channel and data set, its lists parallel over rates. Values are means
over pictures of means over trials, over all files, those without a picture as mid-gray. Points whose means are not over
every file of the plan are no part of a curve; ``meta`` names them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from flipproof.study.export.name import file_name
from flipproof.study.record import Record
from flipproof.study.series import is_clean
from flipproof.study.statistics.summary import Point, summarise

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["contents"]

_NAMES = {"psnr": "psnr-rgb", "ms-ssim": "ms-ssim-rgb"}


def contents(table: pa.Table, record: Record) -> dict[str, str]:
    """Returns a file for every data set, family and channel that has a complete point."""
    made: dict[str, str] = {}
    for curve in _curves(summarise(table, record)):
        complete = sorted((point for point in curve if _complete(point, "psnr")), key=lambda point: point.bpp)
        if complete:
            first = complete[0]
            name = file_name((first.dataset, first.family, first.channel), ".json", made)
            made[name] = json.dumps(_curve(complete, curve, record), indent=2) + "\n"
    return made


def _curves(points: Sequence[Point]) -> Iterator[list[Point]]:
    groups: dict[tuple[str, str, str], list[Point]] = {}
    for point in points:
        groups.setdefault((point.dataset, point.family, point.channel), []).append(point)
    yield from groups.values()


def _complete(point: Point, metric: str) -> bool:
    estimate = point.all_files.get(metric)
    return estimate is not None and estimate.complete


def _curve(complete: Sequence[Point], curve: Sequence[Point], record: Record) -> dict[str, Any]:
    first = complete[0]
    shared = [metric.name for metric in record.measured_metrics if all(_complete(p, metric.name) for p in complete)]
    results: dict[str, list[float]] = {"bpp": [point.bpp for point in complete]}
    for metric in shared:
        results[_NAMES.get(metric, metric)] = [_mean(point, metric) for point in complete]
    results["encoding_time"] = [point.encode_seconds for point in complete]
    results["decoding_time"] = [point.decode_seconds for point in complete]
    return {
        "name": first.family if is_clean(first.channel) else f"{first.family}, {first.channel}",
        "description": f"{first.family} on {first.dataset}, {first.channel}",
        "results": results,
        "meta": {
            "dataset": first.dataset,
            "channel": first.channel,
            "codecs": [point.codec for point in complete],
            "pictures": [point.pictures for point in complete],
            "files": [point.files for point in complete],
            "failures": [point.failures for point in complete],
            "convention": "means over pictures of means over trials, over all files, failed ones as mid-gray",
            "times": "medians over pictures, seconds",
            "left_out": [_left_out(point) for point in curve if point not in complete],
            "metrics_left_out": [m.name for m in record.measured_metrics if m.name not in shared],
            "versions": record.versions,
            "command": record.command,
        },
    }


def _mean(point: Point, metric: str) -> float:
    estimate = point.all_files[metric]
    return float("nan") if estimate is None else estimate.mean


def _left_out(point: Point) -> dict[str, object]:
    return {
        "codec": point.codec,
        "pictures": point.pictures,
        "expected_pictures": point.expected_pictures,
        "files": point.files,
        "errors": point.errors,
    }
