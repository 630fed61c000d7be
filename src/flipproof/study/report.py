"""What a study says: a table for the terminal, figures, and one HTML page that needs nothing but itself.

Everything is made from the study's folder alone, so a report can be made again at any time.
"""

from __future__ import annotations

import base64
import io
import json
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from rich import box
from rich.markup import escape
from rich.table import Table

from flipproof import registry
from flipproof.channel.judge import GRAY
from flipproof.image import to_rgb
from flipproof.metric.psnr import psnr
from flipproof.study import figures, labels
from flipproof.study.extras import needs_extra
from flipproof.study.plan import Plan
from flipproof.study.series import Series, bit_error_rate, caption, is_clean, series_of
from flipproof.study.store import ERROR, FAILED, Record, Row, Store, first_trials, to_csv
from flipproof.study.summary import MAX_DB, Cell, summarise

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.figure import Figure

__all__ = ["Headline", "headline", "tables", "write"]

_WALL_PICTURES = 160
"""Most decoded pictures in a page, which keeps it below about 8 MB."""

_WALL_SIDE = 256
_STRESS = 1e-2


@dataclass(frozen=True)
class Headline:
    """The finding to put on top.

    Attributes:
        one_in: The bit error rate it is about, in words.
        best: The codec with the highest PSNR over all files there.
        clean: The same codec without errors; None if the plan has no such channel.
        worst: The codec with the lowest; the best one itself if there is one codec.
    """

    one_in: str
    best: Cell
    clean: Cell | None
    worst: Cell


@dataclass(frozen=True)
class _Tile:
    """A decoded picture on the page's wall."""

    source: str
    caption: str
    alt: str


@dataclass(frozen=True)
class _Wall:
    """The decoded pictures of a photograph: one list of tiles per codec."""

    photograph: str
    original: str
    lines: list[tuple[str, list[_Tile]]]


@dataclass(frozen=True)
class _Part:
    """A series of channels on the page.

    Attributes:
        series: The channels.
        lines: The cells of every codec there, by its spelling.
        svgs: Figures.
    """

    series: Series
    lines: dict[str, list[Cell]]
    svgs: list[Markup]


def tables(cells: Sequence[Cell], plan: Plan) -> list[Table]:
    """Makes the summary for the terminal: one table per series of channels, with one line per codec."""
    made = [_table(cells, plan, series) for series in series_of(plan.channels)]
    made[0].title = f"{plan.name}: mean PSNR of files that decode / of all files (dB), and lost files\n{made[0].title}"
    return made


def headline(cells: Sequence[Cell], plan: Plan) -> Headline | None:
    """Ranks codecs at the bit error rate nearest to 1 in 100; None if no bit is flipped at random."""
    rates = {channel: rate for channel in plan.channels if (rate := bit_error_rate(channel))}
    if not rates:
        return None
    stress = min(rates, key=lambda channel: max(rates[channel] / _STRESS, _STRESS / rates[channel]))
    ranked = sorted(
        (cell for cell in cells if cell.channel == stress and cell.psnr_all_db is not None),
        key=lambda cell: (cell.psnr_all_db or 0.0, -cell.failure_rate),
    )
    if not ranked:
        return None
    best = ranked[-1]
    clean = next((cell for cell in cells if cell.codec == best.codec and is_clean(cell.channel)), None)
    return Headline(labels.one_in(rates[stress]), best, clean, ranked[0])


def write(folder: Path) -> Path:
    """Writes ``report.html``, ``summary.csv`` and the PNG figures into a study's folder.

    Returns:
        Path of ``report.html``.

    Raises:
        SpecError: The folder holds no study.
        MissingExtraError: Jinja2, Matplotlib or SciPy is not installed.
    """
    store = Store(folder)
    record, rows = store.record(), store.rows()
    plan = record.plan
    cells = summarise(rows, plan)
    (folder / "summary.csv").write_text(to_csv(cells, Cell), encoding="utf-8", newline="")
    gray_db = _gray_db(store, plan)
    parts = [_part(folder, cells, plan, series, gray_db) for series in series_of(plan.channels)]
    figures.save_png(figures.wall(store, plan, rows, plan.photographs[0]), folder / "wall.png")
    path = folder / "report.html"
    path.write_text(_page(store, record, rows, cells, parts), encoding="utf-8")
    return path


def _part(folder: Path, cells: Sequence[Cell], plan: Plan, series: Series, gray_db: float) -> _Part:
    """Draws the figures of a series, as PNG files and for the page."""
    with needs_extra():
        from markupsafe import Markup
    drawn: dict[str, Figure] = {}
    suffix = "" if series.title == "bsc" else "-" + re.sub(r"[^a-z0-9.]+", "-", series.title.lower()).strip("-")
    if series.axis:
        drawn[f"psnr{suffix}"] = figures.lines(cells, plan, series, figures.PSNR, gray_db)
    if series.axis and (not suffix or any(cell.failures for cell in cells if cell.channel in series.channels)):
        drawn[f"failures{suffix}"] = figures.lines(cells, plan, series, figures.FAILURES)
    for name, figure in drawn.items():
        figures.save_png(figure, folder / f"{name}.png")
    svgs = [Markup(figures.to_svg(figure, name)) for name, figure in drawn.items()]
    return _Part(series, _lines(cells, plan, series), svgs)


def _lines(cells: Sequence[Cell], plan: Plan, series: Series) -> dict[str, list[Cell]]:
    """Returns the cells of a series by codec, in its order."""
    found = {(cell.codec, cell.channel): cell for cell in cells}
    return {
        codec: [found[codec, channel] for channel in series.channels if (codec, channel) in found]
        for codec in plan.codecs
    }


def _page(store: Store, record: Record, rows: Sequence[Row], cells: Sequence[Cell], parts: Sequence[_Part]) -> str:
    with needs_extra():
        import jinja2
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("flipproof.study", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    plan = record.plan
    shown = _photographs_shown(plan)
    return environment.get_template("report.html.j2").render(
        plan=plan,
        record=record,
        plan_json=json.dumps(plan.get_config(), indent=2, ensure_ascii=False),
        headline=headline(cells, plan),
        parts=parts,
        clean=all(map(is_clean, plan.channels)),
        costs=_costs(cells),
        heat=_heat(cells),
        errors=sorted({(row.codec, row.photograph, row.error) for row in rows if row.status == ERROR}),
        files=sum(row.status != ERROR for row in rows),
        palette=figures.PALETTE,
        walls=[_wall(store, plan, rows, photograph) for photograph in shown],
        rows_csv=_data_uri("text/csv", to_csv(rows, Row).encode()),
        summary_csv=_data_uri("text/csv", to_csv(cells, Cell).encode()),
        labels=labels,
        parse=registry.parse,
        captions=list(map(caption, plan.channels)),
    )


def _gray_db(store: Store, plan: Plan) -> float:
    """Returns what a failed file scores on average; below it, a picture is worse than none."""
    crops = [to_rgb(store.original_path(photograph)) for photograph in plan.photographs]
    return statistics.fmean(min(psnr(np.full_like(crop, GRAY), crop), MAX_DB) for crop in crops)


def _table(cells: Sequence[Cell], plan: Plan, series: Series) -> Table:
    lines = _lines(cells, plan, series)
    title = escape(series.title)
    made = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False, title_style="bold")
    made.add_column("codec", overflow="fold", min_width=12)
    made.add_column("bpp", justify="right", no_wrap=True)
    for heading in series.headings:
        made.add_column(escape(heading), justify="right", overflow="fold")
    for codec, line in lines.items():
        sizes = [cell.bpp for cell in line if cell.files]
        bpp = f"{sum(sizes) / len(sizes):.3f}" if sizes else labels.decibels(None)
        made.add_row(escape(codec), bpp, *map(_table_cell, line))
    return made


def _table_cell(cell: Cell) -> str:
    if not cell.files:
        return "error"
    decibels = f"{labels.decibels(cell.psnr_db)} / {labels.decibels(cell.psnr_all_db)}"
    return f"{decibels}\n[dim]{labels.percent(cell.failure_rate)} lost[/dim]"


def _costs(cells: Sequence[Cell]) -> dict[str, Cell]:
    """Returns the first cell of every codec that has files: size and seconds are the same in all."""
    costs: dict[str, Cell] = {}
    for cell in cells:
        if cell.files:
            costs.setdefault(cell.codec, cell)
    return costs


def _heat(cells: Sequence[Cell]) -> dict[tuple[str, str], int]:
    """Places each cell's PSNR over all files between the lowest (0) and the highest (100) of the study."""
    values = {(cell.codec, cell.channel): cell.psnr_all_db for cell in cells if cell.psnr_all_db is not None}
    low, high = min(values.values(), default=0.0), max(values.values(), default=1.0)
    return {key: round(100 * (value - low) / max(high - low, 1e-9)) for key, value in values.items()}


def _photographs_shown(plan: Plan) -> tuple[str, ...]:
    per_photograph = len(plan.codecs) * len(plan.channels)
    return plan.photographs[: max(1, _WALL_PICTURES // per_photograph)]


def _wall(store: Store, plan: Plan, rows: Sequence[Row], photograph: str) -> _Wall:
    first = first_trials(rows, photograph)
    lines = [
        (codec, [_tile(store, first[codec, channel]) for channel in plan.channels if (codec, channel) in first])
        for codec in plan.codecs
    ]
    return _Wall(photograph, _inline(store.original_path(photograph)), lines)


def _tile(store: Store, row: Row) -> _Tile:
    alt = f"{row.photograph}, {row.codec}, {caption(row.channel)}"
    if row.status == ERROR:
        return _Tile("", "could not be encoded", f"{alt}: {row.error}")
    if row.status == FAILED:
        return _Tile("", "does not decode", f"{alt}: {row.error or 'no picture'}")
    flips = "no flips" if not row.flips else f"{row.flips:,} flip{'s' if row.flips > 1 else ''}"
    source = _inline(store.picture_path(row.photograph, row.codec, row.channel))
    return _Tile(source, f"{labels.decibels(row.psnr_db)} dB · {flips}", alt)


def _inline(path: Path) -> str:
    """Returns a picture as a WebP data URI of moderate size; empty if it is not there."""
    if not path.is_file():
        return ""
    buffer = io.BytesIO()
    with Image.open(path) as image:
        image.thumbnail((_WALL_SIDE, _WALL_SIDE), Image.Resampling.LANCZOS)
        image.save(buffer, "WEBP", quality=82, method=4)
    return _data_uri("image/webp", buffer.getvalue())


def _data_uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
