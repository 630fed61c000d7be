"""Points as an Arrow table, for files and for SQL."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from flipproof.study.extras import needs_extra
from flipproof.study.record import MetricEntry
from flipproof.study.series import bit_error_rate
from flipproof.study.statistics.summary import Estimate, Point

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["points_table"]

_PARTS = {"": "mean", "_low": "low", "_high": "high", "_pictures": "pictures", "_complete": "complete"}
_TEXTS = ("dataset", "codec", "family", "channel")
_COUNTS = ("pictures", "expected_pictures", "files", "errors", "failures")


def points_table(points: Sequence[Point], metrics: Sequence[MetricEntry]) -> pa.Table:
    """Makes a table with a row for every point.

    Columns are the attributes of :class:`~flipproof.study.statistics.summary.Point`, ``ber`` (null on channels that are
    not binary symmetric), and for every metric, of both conventions, the mean under the metric's column (``psnr``,
    ``psnr_all``) and ``_low``, ``_high``, ``_pictures`` and ``_complete`` behind it.

    Raises:
        MissingExtraError: PyArrow is not installed.
    """
    with needs_extra():
        import pyarrow as pa
    plain = [item.name for item in fields(Point) if item.name not in ("decodable", "all_files")]
    kinds = dict.fromkeys(_TEXTS, pa.string()) | dict.fromkeys(_COUNTS, pa.int64())
    columns: dict[str, Any] = {
        name: pa.array([getattr(point, name) for point in points], kinds.get(name, pa.float64())) for name in plain
    }
    columns["ber"] = pa.array([bit_error_rate(point.channel) for point in points], pa.float64())
    for metric in metrics:
        for end, convention in _CONVENTIONS.items():
            estimates = [convention(point).get(metric.name) for point in points]
            columns |= _estimates(f"{metric.column}{end}", estimates)
    return pa.table(columns)


_CONVENTIONS: dict[str, Callable[[Point], Mapping[str, Estimate | None]]] = {
    "": lambda point: point.decodable,
    "_all": lambda point: point.all_files,
}


def _estimates(column: str, estimates: Iterable[Estimate | None]) -> dict[str, Any]:
    import pyarrow as pa

    kinds = {"pictures": pa.int64(), "complete": pa.bool_()}
    known = list(estimates)
    return {
        column + end: pa.array([None if e is None else getattr(e, name) for e in known], kinds.get(name, pa.float64()))
        for end, name in _PARTS.items()
    }
