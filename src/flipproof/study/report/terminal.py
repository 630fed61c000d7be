"""What a study says on a terminal: one table for each data set and series of channels, and a headline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich import box
from rich.markup import escape
from rich.table import Table

from flipproof.study import labels
from flipproof.study.record import Record
from flipproof.study.series import Series, bit_error_rate, is_clean, series_of

if TYPE_CHECKING:
    from flipproof.study.statistics.summary import Estimate, Point

__all__ = ["MARK", "MARK_NOTE", "SUMMARY", "Headline", "headline", "tables"]

MARK = "†"
"""Stands behind a mean that not every picture and file of the plan went into."""

MARK_NOTE = "† not over all pictures and files of the plan: not to be compared with the others"

SUMMARY = "PSNR of files that decode / of all (dB), lost files"
"""What the cells of the tables are."""

_STRESS = 1e-2


@dataclass(frozen=True)
class Headline:
    """The finding to put on top, of the first data set.

    Attributes:
        one_in: The bit error rate it is about, in words.
        best: The codec with the highest PSNR over all files there.
        clean: The same codec without errors; None if the plan has no such channel.
        worst: The codec with the lowest; the best one itself if there is one codec.
    """

    one_in: str
    best: Point
    clean: Point | None
    worst: Point

    @property
    def best_db(self) -> float:
        """PSNR over all files of the best codec."""
        return _psnr(self.best)

    @property
    def worst_db(self) -> float:
        """PSNR over all files of the worst codec."""
        return _psnr(self.worst)

    @property
    def clean_db(self) -> float | None:
        """PSNR of the best codec without errors; None where there is none over all pictures."""
        return _psnr(self.clean) if self.clean and _whole(self.clean) else None


def headline(points: Sequence[Point], record: Record) -> Headline | None:
    """Ranks codecs at the bit error rate nearest to 1 in 100.

    Means over some of the pictures do not take part.

    Returns:
        None if no bit is flipped at random, no codec is measured whole, or one that is not may be better than all that
        are.
    """
    rates = {channel: rate for channel in record.channels if (rate := bit_error_rate(channel))}
    if not rates or not points:
        return None
    stress = min(rates, key=lambda channel: max(rates[channel] / _STRESS, _STRESS / rates[channel]))
    own = [point for point in points if point.dataset == points[0].dataset]
    there = [point for point in own if point.channel == stress]
    ranked = sorted(filter(_whole, there), key=lambda point: (_psnr(point), -point.failure_rate))
    if not ranked or any(_psnr(point) > _psnr(ranked[-1]) for point in there):
        return None
    best = ranked[-1]
    clean = next((point for point in own if point.codec == best.codec and is_clean(point.channel)), None)
    return Headline(labels.one_in(rates[stress]), best, clean, ranked[0])


def tables(points: Sequence[Point], record: Record) -> list[Table]:
    """Makes the summary for the terminal: a table for each data set and series, with one line per codec."""
    series = series_of(record.channels)
    made = [_table(points, record, dataset, part) for dataset in record.datasets for part in series]
    made[0].title = f"{record.plan.name}: {SUMMARY}\n{made[0].title}"
    if any(not estimate.complete for point in points for estimate in _estimates(point) if estimate):
        made[-1].caption = MARK_NOTE
    return made


def _table(points: Sequence[Point], record: Record, dataset: str, series: Series) -> Table:
    found = {(point.codec, point.channel): point for point in points if point.dataset == dataset}
    title = escape(f"{dataset}, {series.title}" if len(record.datasets) > 1 else series.title)
    styles = {"title_justify": "left", "title_style": "bold", "caption_justify": "left"}
    made = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False, **styles)  # type: ignore[arg-type]
    made.add_column("codec", overflow="fold", min_width=12)
    made.add_column("bpp", justify="right", no_wrap=True)
    for heading in series.headings:
        made.add_column(escape(heading), justify="right", overflow="fold")
    for codec in record.measured_codecs:
        line = [found.get((codec.spelling, channel)) for channel in series.channels]
        sizes = [point.bpp for point in line if point and point.files]
        bpp = f"{sum(sizes) / len(sizes):.3f}" if sizes else labels.decibels(None)
        made.add_row(escape(codec.spelling), bpp, *map(_cell, line))
    return made


def _cell(point: Point | None) -> str:
    if point is None:
        return labels.decibels(None)
    if not point.files:
        return "error"
    numbers = " / ".join(map(_marked, _estimates(point)))
    return f"{numbers}\n[dim]{labels.percent(point.failure_rate)} lost[/dim]"


def _marked(estimate: Estimate | None) -> str:
    if estimate is None:
        return labels.decibels(None)
    return labels.decibels(estimate.mean) + ("" if estimate.complete else MARK)


def _estimates(point: Point) -> tuple[Estimate | None, Estimate | None]:
    return point.decodable.get("psnr"), point.all_files.get("psnr")


def _whole(point: Point) -> bool:
    estimate = point.all_files.get("psnr")
    return estimate is not None and estimate.complete


def _psnr(point: Point) -> float:
    estimate = point.all_files["psnr"]
    return estimate.mean if estimate else 0.0
