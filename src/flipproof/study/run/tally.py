"""Sums over trials, as far as a stopping rule needs them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from flipproof.study.record import Record
from flipproof.study.series import is_clean
from flipproof.study.statistics.interval import MAX_DB, half_width
from flipproof.study.store.row import ERROR, FAILED

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["wanted_trials"]


def wanted_trials(record: Record, table: pa.Table) -> dict[tuple[str, str, str], int]:
    """Returns how many trials each point (data set, codec, channel) should have by what is known.

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
    samples = _samples(record, table)
    return {
        point: 1 if is_clean(point[2]) else _trials(record, samples.get(point), record.datasets.index(point[0]))
        for point in points
    }


def _trials(record: Record, samples: _Samples | None, dataset: int) -> int:
    """Walks through the rounds that are whole, and asks for the next where the rule wants one."""
    rule = record.plan.trials
    pictures = sum(picture.dataset == record.datasets[dataset] for picture in record.pictures)
    trials = rule.least
    while samples is not None and trials < rule.limit and samples.whole(pictures, trials):
        if samples.satisfy(record, trials):
            break
        trials = min(trials + rule.least, rule.limit)
    return trials


class _Samples:
    """PSNR over all files of one point: parallel arrays over its rows."""

    def __init__(self, pictures: NDArray[np.int64], trials: NDArray[np.int64], psnr: NDArray[np.float64]) -> None:
        self.pictures, self.trials, self.psnr = pictures, trials, psnr
        self.failed = np.zeros(len(psnr), bool)

    def whole(self, pictures: int, trials: int) -> bool:
        """Returns whether all first trials of all pictures are there."""
        return int((self.trials < trials).sum()) >= pictures * trials

    def satisfy(self, record: Record, trials: int) -> bool:
        """Returns whether the first trials are enough."""
        rule, known = record.plan.trials, self.trials < trials
        if rule.until_failures is not None and int(self.failed[known].sum()) >= rule.until_failures:
            return True
        if rule.until_db is None:
            return False
        values, groups = self.psnr[known], np.unique(self.pictures[known], return_inverse=True)[1]
        counts = np.bincount(groups)
        sums = np.bincount(groups, values)
        squares = np.bincount(groups, values**2)
        return half_width(counts, sums, squares) <= rule.until_db


def _samples(record: Record, table: pa.Table) -> dict[tuple[str, str, str], _Samples]:
    kept = table.filter(np.not_equal(table["status"].to_numpy(zero_copy_only=False), ERROR))
    if not len(kept):
        return {}
    names = ("dataset", "codec", "channel", "picture_sha256", "status")
    columns = {name: np.array(kept[name].to_pylist(), dtype=object) for name in names}
    psnr = np.minimum(kept["psnr_all"].to_numpy().astype(float), MAX_DB)
    trials = kept["trial"].to_numpy()
    order = {picture.sha256: index for index, picture in enumerate(record.pictures)}
    pictures = np.array([order[digest] for digest in columns["picture_sha256"]])
    points = list(zip(columns["dataset"], columns["codec"], columns["channel"], strict=True))
    where: dict[tuple[str, str, str], list[int]] = {}
    for index, point in enumerate(points):
        where.setdefault(point, []).append(index)
    made = {}
    for point, rows in where.items():
        made[point] = _Samples(pictures[rows], trials[rows], psnr[rows])
        made[point].failed = columns["status"][rows] == FAILED
    return made
