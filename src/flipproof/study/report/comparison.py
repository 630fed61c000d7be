"""Published values beside measured ones, for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table

from flipproof.study import labels
from flipproof.study.statistics.published import LPIPS, Comparison, unfilled
from flipproof.study.statistics.summary import Point

__all__ = ["comparison"]

_TITLE = "beside the published study: PSNR of files that decode (dB) / their LPIPS (files lost)"


def comparison(comparisons: Sequence[Comparison]) -> list[Table | str]:
    """Returns a table of the published cells that a study has something for, and a line for each group it has not.

    Arguments:
        comparisons: What :func:`flipproof.study.statistics.published.beside` found; where nothing in them was measured,
            the study has nothing to do with the published one and the list is empty.
    """
    filled = [each for each in comparisons if each.measured or each.shipped_prior]
    if not filled:
        return []
    table = Table(title=_TITLE, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold", pad_edge=False)
    for heading in ("codec", "data set", "BER", "published", "measured", "with the shipped prior", "but"):
        table.add_column(heading, overflow="fold")
    for each in filled:
        cell = each.published
        table.add_row(
            cell.codec,
            cell.dataset,
            labels.rate(cell.bit_error_rate),
            _values(cell.psnr, cell.lpips, cell.failed),
            _measured(each.measured),
            _measured(each.shipped_prior),
            "; ".join(each.marks),
        )
    return [table, *(f"not filled: {group}" for group in unfilled(comparisons))]


def _measured(point: Point | None) -> str:
    if point is None:
        return labels.decibels(None)
    return _values(_mean(point, "psnr"), _mean(point, LPIPS), point.failure_rate)


def _mean(point: Point, metric: str) -> float | None:
    estimate = point.decodable.get(metric)
    return None if estimate is None else estimate.mean


def _values(psnr: float | None, lpips: float | None, failed: float) -> str:
    first = labels.decibels(None) if psnr is None else f"{psnr:.2f}"
    second = labels.decibels(None) if lpips is None else f"{lpips:.3f}"
    return f"{first} / {second} ({labels.percent(failed)})"
