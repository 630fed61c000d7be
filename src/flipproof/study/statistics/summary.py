"""From rows to numbers that can be compared: means of both conventions, failure rates and their intervals.

A mean is one over pictures of the means over their trials, so a picture with more trials weighs no more. Two
conventions stand beside each other: *decodable*, over the files that still gave a picture, as the published study has
it; and *all files*, where one without a picture counts as a mid-gray one. A codec looks the better by the first, the
more of its damaged files do not decode at all; compare codecs by the second.

A mean that is not over every picture and every file of the plan is marked as not complete: beside one over other files
it says nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from flipproof.study.extras import needs_extra
from flipproof.study.record import MetricEntry, PictureEntry, Record
from flipproof.study.run.tally import wanted_trials
from flipproof.study.statistics.interval import MAX_DB, Interval, binomial_interval, bootstrap_intervals
from flipproof.study.store.row import ERROR, FAILED

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Estimate", "Point", "clipped", "distinct", "summarise"]

_BITS = ("header_bits", "index_bits", "sign_bits", "parity_bits")
_SECONDS = ("encode_seconds", "decode_seconds")
_MEANS = ("bpp", *_BITS, "repaired_bits", *_SECONDS)


@dataclass(frozen=True)
class Estimate:
    """A mean over pictures of means over trials.

    Attributes:
        mean: Infinite PSNR counts as 100 dB.
        low: Lower end of the 95 % bootstrap interval over pictures; None with fewer than two.
        high: Upper end of it.
        pictures: That went in.
        complete: Whether every picture and every file of the plan went in; a mean that is not must be marked wherever
            it is shown.
    """

    mean: float
    low: float | None
    high: float | None
    pictures: int
    complete: bool


@dataclass(frozen=True)
class Point:
    """One codec at one rate on one channel and one data set.

    Attributes:
        dataset: As in the record.
        codec: Spelling.
        family: The spelling without its rate.
        asked_bpp: The rate the codec was asked for; None if it has none.
        channel: Spelling.
        pictures: That have a file.
        expected_pictures: Of the plan.
        files: Received files, decodable or not.
        errors: Cells that gave no file: the codec or a worker gave up. They count nowhere else.
        failures: Files without a picture.
        failure_rate: ``failures / files``; 0 without files.
        failure_low: Lower end of the exact 95 % interval, taking files as independent.
        failure_high: Upper end of it; 1 without files.
        decodable: Means over files with a picture, by the name of the metric; None without any.
        all_files: Means over all files, failed ones as mid-gray.
        bpp: Mean over pictures of the rate of the whole file; 0 without files, as all that follows.
        header_bits: Mean over pictures of what the file spends on this; so for the next three.
        index_bits: As in :class:`flipproof.study.store.row.Row`.
        sign_bits: The same.
        parity_bits: The same.
        repaired_bits: Mean over pictures and trials.
        encode_seconds: Median over pictures, so that a first call that loads weights does not weigh in.
        decode_seconds: The same, of the means over trials.
    """

    dataset: str
    codec: str
    family: str
    asked_bpp: float | None
    channel: str
    pictures: int
    expected_pictures: int
    files: int
    errors: int
    failures: int
    failure_rate: float
    failure_low: float
    failure_high: float
    decodable: Mapping[str, Estimate | None]
    all_files: Mapping[str, Estimate | None]
    bpp: float
    header_bits: float
    index_bits: float
    sign_bits: float
    parity_bits: float
    repaired_bits: float
    encode_seconds: float
    decode_seconds: float


def summarise(table: pa.Table, record: Record) -> list[Point]:
    """Aggregates rows by data set, codec and channel, in the plan's order; what has no row has no point.

    Arguments:
        table: Rows, one for each cell.
        record: The study they belong to.

    Raises:
        MissingExtraError: DuckDB or SciPy is not installed.
    """
    groups = _groups(table, record)
    wanted = wanted_trials(record, table)
    pictures = Counter(picture.dataset for picture in distinct(record))
    drafts = {
        key: _Draft(group, pictures[key[0]], wanted.get(key, record.plan.trials_of(key[2])))
        for key, group in groups.items()
    }
    scores = _columns(record, table)
    means = {(key, column): draft.over_pictures(column) for key, draft in drafts.items() for column in scores}
    intervals = dict(zip(means, bootstrap_intervals(list(means.values()), seed=record.plan.seed), strict=True))
    metrics = record.measured_metrics
    codecs = {codec.spelling: codec for codec in record.codecs}
    points = []
    for key, draft in drafts.items():
        conventions = [
            {metric.name: _estimate(draft, (key, metric.column + end), means, intervals) for metric in metrics}
            for end in ("", "_all")
        ]
        entry = codecs[key[1]]
        points.append(_point(key, entry.family, entry.asked_bpp, draft, *conventions))
    return points


def distinct(record: Record) -> list[PictureEntry]:
    """Returns the pictures of a study, those with equal samples once: rows go by samples and not by names."""
    return list({picture.sha256: picture for picture in reversed(record.pictures)}.values())[::-1]


def clipped(metric: MetricEntry, column: str) -> str:
    """Returns the SQL of a metric's value as it counts in means: infinite PSNR as 100 dB, no number as none."""
    # DuckDB's least() and greatest() pass over nulls, so they would make 100 dB of a file without a picture.
    most = MAX_DB if metric.name == "psnr" else "'inf'::DOUBLE"
    return f'CASE WHEN isnan("{column}") THEN NULL WHEN "{column}" > {most} THEN {most} ELSE "{column}" END'


_Key = tuple[str, str, str]
_Columns = dict[str, NDArray[np.float64]]


class _Draft:
    """The pictures of a point: per-picture counts and means, and what the plan has for it."""

    def __init__(self, columns: _Columns, expected_pictures: int, trials: int) -> None:
        self.columns, self.expected_pictures = columns, expected_pictures
        seen = (columns["files"] + columns["errors"]).max(initial=0)
        self.expected_files = expected_pictures * max(trials, int(seen))

    def total(self, name: str) -> int:
        return int(self.columns[name].sum())

    def over_pictures(self, name: str) -> NDArray[np.float64]:
        """Returns a column of the pictures that have a value."""
        values = self.columns[name]
        return values[~np.isnan(values)]


def _columns(record: Record, table: pa.Table) -> dict[str, str]:
    """Returns the columns of scores that the rows have, by themselves, and the SQL of their values."""
    pairs = ((metric, metric.column + end) for metric in record.measured_metrics for end in ("", "_all"))
    return {column: clipped(metric, column) for metric, column in pairs if column in table.column_names}


def _groups(table: pa.Table, record: Record) -> dict[_Key, _Columns]:
    """Returns, for every point in the plan's order, parallel columns over its pictures."""
    with needs_extra():
        import duckdb
    scores = _columns(record, table)
    terms = [
        f"count(*) FILTER (status <> '{ERROR}') AS files",
        f"count(*) FILTER (status = '{ERROR}') AS errors",
        f"count(*) FILTER (status = '{FAILED}') AS failures",
        *(f"avg({name}) FILTER (status <> '{ERROR}') AS {name}" for name in _MEANS),
        *(f'avg({value}) AS "{column}", count({value}) AS "n_{column}"' for column, value in scores.items()),
    ]
    # One thread, so that sums are made in the order of the rows and come out equal every time.
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.register("measured", table)
        query = f"SELECT picture_sha256, codec, channel, {', '.join(terms)} FROM measured GROUP BY ALL"
        found = connection.execute(query).fetchnumpy()
    order = {picture.sha256: (place, picture.dataset) for place, picture in enumerate(distinct(record))}
    pictures = [order[digest] for digest in found["picture_sha256"].tolist()]
    codecs, channels = (found[name].tolist() for name in ("codec", "channel"))
    where: dict[_Key, list[int]] = {}
    for place in sorted(range(len(pictures)), key=pictures.__getitem__):
        where.setdefault((pictures[place][1], codecs[place], channels[place]), []).append(place)
    numbers = {name: _floats(values) for name, values in found.items() if values.dtype.kind != "O"}
    return {
        key: {name: values[where[key]] for name, values in numbers.items()} for key in _in_order(record) if key in where
    }


def _in_order(record: Record) -> list[_Key]:
    return [
        (dataset, codec.spelling, channel)
        for dataset in record.datasets
        for codec in record.codecs
        for channel in record.channels
    ]


def _floats(values: NDArray[np.generic]) -> NDArray[np.float64]:
    return np.ma.filled(np.ma.asarray(values, dtype=np.float64), np.nan)


def _estimate(
    draft: _Draft,
    place: tuple[_Key, str],
    means: Mapping[tuple[_Key, str], NDArray[np.float64]],
    intervals: Mapping[tuple[_Key, str], Interval | None],
) -> Estimate | None:
    values = means.get(place)
    if values is None or not len(values):
        return None
    interval = intervals[place]
    return Estimate(
        mean=float(values.mean()),
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        pictures=len(values),
        complete=draft.total(f"n_{place[1]}") == draft.expected_files,
    )


def _point(
    key: _Key,
    family: str,
    asked_bpp: float | None,
    draft: _Draft,
    decodable: Mapping[str, Estimate | None],
    all_files: Mapping[str, Estimate | None],
) -> Point:
    files, failures = draft.total("files"), draft.total("failures")
    failure = binomial_interval(failures, files)
    measured = {name: draft.over_pictures(name) for name in _MEANS}
    pictures = len(measured["bpp"])
    means = {name: float(values.mean()) if pictures else 0.0 for name, values in measured.items()}
    medians = {name: float(np.median(measured[name])) if pictures else 0.0 for name in _SECONDS}
    return Point(
        dataset=key[0],
        codec=key[1],
        family=family,
        asked_bpp=asked_bpp,
        channel=key[2],
        pictures=pictures,
        expected_pictures=draft.expected_pictures,
        files=files,
        errors=draft.total("errors"),
        failures=failures,
        failure_rate=failures / files if files else 0.0,
        failure_low=failure.low,
        failure_high=failure.high,
        decodable=decodable,
        all_files=all_files,
        **(means | medians),
    )
