"""The folder ``figures``: what the page shows, as PNG and SVG for papers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flipproof.study.record import Record
from flipproof.study.report import figures
from flipproof.study.report.gallery import Pictures
from flipproof.study.report.names import short
from flipproof.study.report.picture_wall import wall
from flipproof.study.series import caption

if TYPE_CHECKING:
    from flipproof.study.statistics.summary import Point

__all__ = ["MOST_FIGURES", "write_figures"]

MOST_FIGURES = 200
"""Most line figures; there is one for each metric, data set, series of channels and rate."""


def write_figures(
    pictures: Pictures,
    record: Record,
    points: Sequence[Point],
    bins: Sequence[dict[str, Any]],
    first: Sequence[dict[str, Any]],
    folder: Path,
) -> None:
    """Writes all figures; the wall, which is made of pixels, is a PNG alone.

    Arguments:
        pictures: Where the pictures are.
        record: The study.
        points: What it measured.
        bins: Damage by step, see :func:`flipproof.study.report.rows.damage_by_step`.
        first: First trials of the first picture, see :func:`flipproof.study.report.rows.first_trials`.
        folder: Made if it is not there.

    Raises:
        MissingExtraError: Matplotlib is not installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for _, (name, figure) in zip(range(MOST_FIGURES), figures.drawn(points, record), strict=False):
        figures.save(figure, folder, name)
    _write_steps(record, bins, folder)
    if first and pictures.original(first[0]["picture"]) is not None:
        found = {(row["codec"], row["channel"]): row for row in first}
        figures.save_png(wall(pictures, record, first[0]["picture"], found), folder / "wall.png")


def _write_steps(record: Record, bins: Sequence[dict[str, Any]], folder: Path) -> None:
    """Writes one figure for each data set and codec whose steps were damaged, with a panel for each such channel."""
    names = short([codec.spelling for codec in record.codecs])
    several = len(record.datasets) > 1
    for (dataset, codec), own in groupby(bins, lambda each: (each["dataset"], each["codec"])):
        panels: dict[str, list[dict[str, Any]]] = {}
        for each in own:
            panels.setdefault(each["channel"], []).append(each)
        damaged = {
            caption(channel): panels[channel]
            for channel in record.channels
            if any(each["repaired"] + each["suspect"] + each["lost"] for each in panels.get(channel, []))
        }
        if damaged:
            name = figures.slug("steps", names[codec], dataset if several else "")
            figures.save(figures.steps(damaged), folder, name)
