"""How many trials a stopping rule wants, by what is known."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from flipproof.study.plan import Trials
from flipproof.study.record import Record
from flipproof.study.series import is_clean
from flipproof.study.statistics.interval import MAX_DB, half_width
from flipproof.study.store.row import ERROR, FAILED

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["wanted_trials"]

_Point: TypeAlias = tuple[str, str, str]


def wanted_trials(record: Record, table: pa.Table) -> dict[tuple[str, str, str], int]:
    """Returns how many trials each point (data set, codec, channel) should have.

    A point starts with ``least`` trials of every picture and gets as many again until the rule is satisfied. Only
    whole rounds count, so the answer does not depend on the order in which cells were measured.

    Arguments:
        record: The study.
        table: Its rows so far.
    """
    rule = record.plan.trials
    points = [
        (dataset, codec.spelling, channel)
        for dataset in record.datasets
        for codec in record.measured_codecs
        for channel in record.channels
    ]
    if not rule.stops:
        return {point: record.plan.trials_of(point[2]) for point in points}
    samples = _samples(table)
    pictures = Counter(picture.dataset for picture in record.pictures)
    return {
        point: 1 if is_clean(point[2]) else _trials(rule, samples.get(point), pictures[point[0]]) for point in points
    }


@dataclass(frozen=True, eq=False)
class _Samples:
    """The rows of one point: indices of pictures and trials, PSNR over all files, whether there is no picture."""

    pictures: NDArray[np.int64]
    trials: NDArray[np.int64]
    psnr: NDArray[np.float64]
    failed: NDArray[np.bool_]

    def first(self, trials: int) -> _Samples:
        """Returns those of the first trials."""
        known = self.trials < trials
        return _Samples(self.pictures[known], self.trials[known], self.psnr[known], self.failed[known])

    def satisfy(self, rule: Trials) -> bool:
        """Returns whether a rule wants no more of them."""
        if rule.until_failures is not None and int(self.failed.sum()) >= rule.until_failures:
            return True
        if rule.until_db is None:
            return False
        counts = np.bincount(self.pictures)
        sums, squares = (np.bincount(self.pictures, self.psnr**power) for power in (1, 2))
        there = counts > 0
        return half_width(counts[there], sums[there], squares[there]) <= rule.until_db


def _trials(rule: Trials, samples: _Samples | None, pictures: int) -> int:
    """Walks through the rounds that are whole, and asks for the next where the rule wants one."""
    trials = rule.least
    while samples is not None and trials < rule.limit:
        known = samples.first(trials)
        if len(known.psnr) < pictures * trials or known.satisfy(rule):
            break
        trials = min(trials + rule.least, rule.limit)
    return trials


def _samples(table: pa.Table) -> dict[_Point, _Samples]:
    """Sorts the rows without errors by point."""
    status = np.array(table["status"].to_pylist(), dtype=object)
    kept = table.filter(status != ERROR)
    columns = [kept[name].to_pylist() for name in ("dataset", "codec", "channel")]
    rows: dict[_Point, list[int]] = {}
    for index, point in enumerate(zip(*columns, strict=True)):
        rows.setdefault(point, []).append(index)
    pictures = np.unique(np.array(kept["picture_sha256"].to_pylist(), dtype=object), return_inverse=True)[1]
    psnr = np.minimum(kept["psnr_all"].to_numpy().astype(float), MAX_DB)
    trials, failed = kept["trial"].to_numpy(), status[status != ERROR] == FAILED
    return {
        point: _Samples(pictures[own], trials[own], psnr[own], failed[own].astype(bool)) for point, own in rows.items()
    }
