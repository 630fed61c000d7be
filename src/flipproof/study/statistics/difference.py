r"""Paired differences: how much better one codec is than another on the same pictures under the same noise.

Pictures differ far more from each other than codecs do, so two intervals that overlap say little. What differs between
two codecs on one picture and one draw of the noise says it directly. With :math:`x_{it}` and :math:`y_{it}` of the two
on trial t of picture i,

.. math:: \Delta = \frac{1}{n} \sum_i \frac{1}{t_i} \sum_t (x_{it} - y_{it}),

and pictures are drawn again for the interval. All files count, those without a picture as mid-gray. Pairs that one of
the two lacks are left out and counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from flipproof.errors import UnknownNameError
from flipproof.study.extras import needs_extra
from flipproof.study.record import MetricEntry, Record
from flipproof.study.statistics.interval import bootstrap_intervals
from flipproof.study.statistics.summary import clipped, distinct
from flipproof.study.store.row import ERROR

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Difference", "differences", "matrix"]


@dataclass(frozen=True)
class Difference:
    """What one codec has over another, over all files of the same pictures and trials.

    Attributes:
        dataset: As in the record.
        metric: Its name.
        channel: Spelling.
        codec: Spelling.
        other: Spelling of what it is compared with.
        mean: Of ``codec`` less ``other``, over pictures of the means over trials; infinite PSNR counts as 100 dB.
        low: Lower end of the 95 % bootstrap interval over pictures; None with fewer than two.
        high: Upper end of it.
        pictures: With at least one pair.
        pairs: Files of equal picture, trial and noise that went in.
        left_out: Files that have no pair, because the other codec has no row, an error or other noise there.
    """

    dataset: str
    metric: str
    channel: str
    codec: str
    other: str
    mean: float
    low: float | None
    high: float | None
    pictures: int
    pairs: int
    left_out: int

    @property
    def decided(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def differences(
    table: pa.Table,
    record: Record,
    metric: str = "psnr",
    *,
    anchor: str | None = None,
    channels: Sequence[str] | None = None,
) -> list[Difference]:
    """Compares codecs, by data set and channel in the plan's order; codecs without a common pair do not appear.

    Arguments:
        table: Rows, one for each cell.
        record: The study they belong to.
        metric: Name of what is compared.
        anchor: Spelling of the codec that all others are compared with; None compares every codec with every later one.
        channels: Spellings of those to look at; None for all.

    Raises:
        UnknownNameError: The study measures no such metric, or has no such codec or channel.
        MissingExtraError: DuckDB is not installed.
    """
    entry = _metric(record, metric)
    _check(record, anchor, channels)
    if f"{entry.column}_all" not in table.column_names:
        return []
    drafts = [
        draft
        for place, cube in _cubes(table, record, entry).items()
        if channels is None or place[1] in channels
        for draft in _drafts(place, cube, anchor)
    ]
    intervals = bootstrap_intervals([draft.means for draft in drafts], seed=record.plan.seed)
    return [
        Difference(
            dataset=draft.place[0],
            metric=metric,
            channel=draft.place[1],
            codec=draft.codec,
            other=draft.other,
            mean=float(draft.means.mean()),
            low=interval.low if interval else None,
            high=interval.high if interval else None,
            pictures=len(draft.means),
            pairs=draft.pairs,
            left_out=draft.left_out,
        )
        for draft, interval in zip(drafts, intervals, strict=True)
    ]


def matrix(table: pa.Table, record: Record, channel: str, anchor: str, metric: str = "psnr") -> list[Difference]:
    """Compares every codec with one anchor on one channel: a column of a report.

    What it takes and raises is as for :func:`differences`.
    """
    return differences(table, record, metric, anchor=anchor, channels=[channel])


_Place = tuple[str, str]


@dataclass(frozen=True)
class _Cube:
    """The files of one data set on one channel.

    Attributes:
        codecs: Spellings, in the plan's order.
        values: Scores with shape (codec, picture, trial); NaN where there is none.
        noise: Which draw of the noise each file met, with the same shape; -1 where there is no file.
    """

    codecs: tuple[str, ...]
    values: NDArray[np.float64]
    noise: NDArray[np.int64]


@dataclass(frozen=True)
class _Draft:
    place: _Place
    codec: str
    other: str
    means: NDArray[np.float64]
    pairs: int
    left_out: int


def _metric(record: Record, name: str) -> MetricEntry:
    known = {metric.name: metric for metric in record.measured_metrics}
    if name not in known:
        raise UnknownNameError("metric of the study", name, list(known))
    return known[name]


def _check(record: Record, anchor: str | None, channels: Sequence[str] | None) -> None:
    codecs = [codec.spelling for codec in record.codecs]
    if anchor is not None and anchor not in codecs:
        raise UnknownNameError("codec of the study", anchor, codecs)
    for channel in channels or ():
        if channel not in record.channels:
            raise UnknownNameError("channel of the study", channel, list(record.channels))


def _cubes(table: pa.Table, record: Record, metric: MetricEntry) -> dict[_Place, _Cube]:
    with needs_extra():
        import duckdb
    value = clipped(metric, f"{metric.column}_all")
    query = f"""
        SELECT channel, codec, picture_sha256, trial, channel_seed, {value} AS score
        FROM measured WHERE status <> '{ERROR}'
    """
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.register("measured", table)
        found = connection.execute(query).fetchnumpy()
    datasets = {picture.sha256: picture.dataset for picture in distinct(record)}
    where: dict[_Place, list[int]] = {}
    places = zip(map(datasets.__getitem__, found["picture_sha256"].tolist()), found["channel"].tolist(), strict=True)
    for row, place in enumerate(places):
        where.setdefault(place, []).append(row)
    return {
        (dataset, channel): _cube(record, dataset, {name: each[rows] for name, each in found.items()})
        for dataset in record.datasets
        for channel in record.channels
        if (rows := where.get((dataset, channel)))
    }


def _cube(record: Record, dataset: str, found: dict[str, NDArray[np.generic]]) -> _Cube:
    present = set(found["codec"].tolist())
    codecs = tuple(codec.spelling for codec in record.codecs if codec.spelling in present)
    pictures = [picture.sha256 for picture in distinct(record) if picture.dataset == dataset]
    trials = found["trial"].astype(np.int64)
    where = (_places(codecs, found["codec"]), _places(pictures, found["picture_sha256"]), trials)
    shape = (len(codecs), len(pictures), int(trials.max()) + 1)
    values, noise = np.full(shape, np.nan), np.full(shape, -1)
    values[where] = np.ma.filled(np.ma.asarray(found["score"], dtype=np.float64), np.nan)
    noise[where] = np.unique(found["channel_seed"].astype(str), return_inverse=True)[1]
    return _Cube(codecs, values, noise)


def _places(names: Sequence[str], column: NDArray[np.generic]) -> NDArray[np.int64]:
    order = {name: place for place, name in enumerate(names)}
    return np.array([order[name] for name in column.tolist()], dtype=np.int64)


def _drafts(place: _Place, cube: _Cube, anchor: str | None) -> Iterator[_Draft]:
    for one, other in _choices(cube.codecs, anchor):
        delta = np.where(cube.noise[one] == cube.noise[other], cube.values[one] - cube.values[other], np.nan)
        known = ~np.isnan(delta)
        counts = known.sum(axis=1)
        if not counts.any():
            continue
        files = (cube.noise[[one, other]] >= 0).any(axis=0).sum()
        means = np.where(known, delta, 0).sum(axis=1)[counts > 0] / counts[counts > 0]
        pairs = int(counts.sum())
        yield _Draft(place, cube.codecs[one], cube.codecs[other], means, pairs, int(files) - pairs)


def _choices(codecs: Sequence[str], anchor: str | None) -> list[tuple[int, int]]:
    if anchor is None:
        return list(combinations(range(len(codecs)), 2))
    if anchor not in codecs:
        return []
    place = codecs.index(anchor)
    return [(one, place) for one in range(len(codecs)) if one != place]
