"""CSV: the rows, and the points made of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flipproof.study.record import Record
from flipproof.study.statistics.summary import summarise
from flipproof.study.statistics.table import points_table
from flipproof.study.store.layout import to_csv

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["contents"]


def contents(table: pa.Table, record: Record) -> dict[str, str]:
    """Returns ``rows.csv``, a line for each cell, and ``points.csv``, a line for each point.

    Columns are as in SQL; an infinite PSNR is ``inf``, what there is not is empty.
    """
    points = points_table(summarise(table, record), record.measured_metrics)
    return {"rows.csv": to_csv(table), "points.csv": to_csv(points)}
