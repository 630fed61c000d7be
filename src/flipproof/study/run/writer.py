"""What a running study has to show: rows on disk, pictures kept, and how far it is."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from flipproof.study.run.engine import Result, Snapshot
from flipproof.study.run.progress import Progress
from flipproof.study.store.row import ERROR, FAILED, Row
from flipproof.study.store.store import Store

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Writer"]

FLUSH_SECONDS = 0.5
FLUSH_ROWS = 4096
MERGED_PARTS = 64
"""Part-files after which those of this run become one: two a second would be many after a day."""


class Writer:
    """Takes results of jobs, and puts them to disk at most half a second later.

    Arguments:
        store: Where they go.
        table: Rows that are there already.
        total: Cells that are needed.
        report: Called with every flush.
    """

    def __init__(self, store: Store, table: pa.Table, total: int, report: Callable[[Progress], None]) -> None:
        self.store, self.total, self.report = store, total, report
        statuses = zip(table["key"].to_pylist(), table["status"].to_pylist(), strict=True)
        self.finished = {key for key, status in statuses if status != ERROR}
        self.worst = _worst(table)
        self.done = len(self.finished)
        self.failures = self.errors = 0
        self._rows: list[Row] = []
        self._parts: list[str] = []
        self._flushed = time.monotonic()
        self._label = "starting"

    def worst_of(self, codec: str) -> dict[str, float]:
        """Returns the lowest PSNR of a codec so far, by channel."""
        return {channel: psnr for (spelling, channel), psnr in self.worst.items() if spelling == codec}

    def take(self, result: Result, label: str) -> None:
        """Takes what a job came to."""
        self._rows += result.rows
        self.done += len(result.rows)
        self.failures += sum(row.status == FAILED for row in result.rows)
        self.errors += sum(row.status == ERROR for row in result.rows)
        for snapshot in result.snapshots:
            self._keep(snapshot)
        self._label = label

    def flush_when_due(self) -> None:
        """Puts rows to disk, if there are many or the last time is long ago."""
        if len(self._rows) >= FLUSH_ROWS or time.monotonic() - self._flushed >= FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Puts all rows to disk."""
        rows, self._rows = self._rows, []
        if rows:
            self._parts.append(self.store.append(rows))
        if len(self._parts) >= MERGED_PARTS:
            self.store.merge(self._parts)
            self._parts = []
        self._flushed = time.monotonic()
        earlier = len(self.finished)
        self.report(Progress(self.done, self.total, earlier, self.failures, self.errors, self._label))

    def _keep(self, snapshot: Snapshot) -> None:
        row = snapshot.row
        if snapshot.first:
            self.store.save_decoded(row.picture, row.codec, row.channel, snapshot.png)
            return
        psnr = row.scores["psnr"].all_files or 0.0
        if psnr < self.worst.get((row.codec, row.channel), float("inf")):
            self.worst[row.codec, row.channel] = psnr
            self.store.save_worst(row.codec, row.channel, row.key, snapshot.png)


def _worst(table: pa.Table) -> dict[tuple[str, str], float]:
    """Returns the lowest PSNR of each codec on each channel, over files with a picture."""
    lowest: dict[tuple[str, str], float] = {}
    for *point, psnr in zip(*(table[name].to_pylist() for name in ("codec", "channel", "psnr")), strict=True):
        if psnr is not None:
            codec, channel = point
            lowest[codec, channel] = min(psnr, lowest.get((codec, channel), float("inf")))
    return lowest
