"""What a study says: a table for the terminal, figures, and one HTML page that needs nothing but itself.

Everything is made from the study's folder alone, so a report can be made again at any time.
"""

from __future__ import annotations

import base64
import io
import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from rich import box
from rich.markup import escape
from rich.table import Table

from flipproof.image import to_rgb
from flipproof.metric.psnr import psnr
from flipproof.study import figures, labels
from flipproof.study.extras import needs_extra
from flipproof.study.plan import Plan
from flipproof.study.run import GRAY
from flipproof.study.store import ERROR, FAILED, Record, Row, Store, first_trials, to_csv
from flipproof.study.summary import MAX_DB, Cell, summarise

__all__ = ["Headline", "headline", "table", "write"]

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
        clean: The same codec at the plan's lowest rate.
        worst: The codec with the lowest; the best one itself if there is one codec.
    """

    one_in: str
    best: Cell
    clean: Cell
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


def table(cells: Sequence[Cell], plan: Plan) -> Table:
    """Makes the summary for the terminal, one line per codec."""
    title = f"{plan.name}: mean PSNR of files that decode / of all files (dB), and lost files"
    made = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False, title_style="bold")
    made.add_column("codec", overflow="fold", min_width=12)
    made.add_column("bpp", justify="right", no_wrap=True)
    for rate in plan.bit_error_rates:
        made.add_column(f"BER {rate:g}", justify="right", no_wrap=True)
    for codec in plan.codecs:
        line = {cell.bit_error_rate: cell for cell in cells if cell.codec == codec}
        sizes = [cell.bpp for cell in line.values() if cell.files]
        bpp = f"{sum(sizes) / len(sizes):.3f}" if sizes else labels.decibels(None)
        made.add_row(escape(codec), bpp, *(_table_cell(line.get(rate)) for rate in plan.bit_error_rates))
    return made


def headline(cells: Sequence[Cell], plan: Plan) -> Headline | None:
    """Ranks codecs at the bit error rate nearest to 1 in 100; None if no rate is above 0."""
    rates = [rate for rate in plan.bit_error_rates if rate]
    if not rates:
        return None
    stress = min(rates, key=lambda rate: max(rate / _STRESS, _STRESS / rate))
    ranked = sorted(
        (cell for cell in cells if cell.bit_error_rate == stress and cell.psnr_all_db is not None),
        key=lambda cell: (cell.psnr_all_db or 0.0, -cell.failure_rate),
    )
    if not ranked:
        return None
    clean = next(cell for cell in cells if cell.codec == ranked[-1].codec)
    return Headline(labels.one_in(stress), ranked[-1], clean, ranked[0])


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
    drawn = {
        "psnr": figures.lines(cells, plan, figures.PSNR, _gray_db(store, plan)),
        "failures": figures.lines(cells, plan, figures.FAILURES),
    }
    for name, figure in drawn.items():
        figures.save_png(figure, folder / f"{name}.png")
    figures.save_png(figures.wall(store, plan, rows, plan.photographs[0]), folder / "wall.png")
    svgs = {name: figures.to_svg(figure, name) for name, figure in drawn.items()}
    path = folder / "report.html"
    path.write_text(_page(store, record, rows, cells, svgs), encoding="utf-8")
    return path


def _page(store: Store, record: Record, rows: Sequence[Row], cells: Sequence[Cell], svgs: dict[str, str]) -> str:
    with needs_extra():
        import jinja2
        from markupsafe import Markup
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
        lines={codec: [cell for cell in cells if cell.codec == codec] for codec in plan.codecs},
        heat=_heat(cells),
        errors=sorted({(row.codec, row.photograph, row.error) for row in rows if row.status == ERROR}),
        files=sum(row.status != ERROR for row in rows),
        svgs={name: Markup(svg) for name, svg in svgs.items()},
        palette=figures.PALETTE,
        walls=[_wall(store, plan, rows, photograph) for photograph in shown],
        rows_csv=_data_uri("text/csv", to_csv(rows, Row).encode()),
        summary_csv=_data_uri("text/csv", to_csv(cells, Cell).encode()),
        labels=labels,
    )


def _gray_db(store: Store, plan: Plan) -> float:
    """Returns what a failed file scores on average; below it, a picture is worse than none."""
    crops = [to_rgb(store.original_path(photograph)) for photograph in plan.photographs]
    return statistics.fmean(min(psnr(np.full_like(crop, GRAY), crop), MAX_DB) for crop in crops)


def _table_cell(cell: Cell | None) -> str:
    if cell is None or not cell.files:
        return "error"
    decibels = f"{labels.decibels(cell.psnr_db)} / {labels.decibels(cell.psnr_all_db)}"
    return f"{decibels}\n[dim]{labels.percent(cell.failure_rate)} lost[/dim]"


def _heat(cells: Sequence[Cell]) -> dict[tuple[str, float], int]:
    """Places each cell's PSNR over all files between the lowest (0) and the highest (100) of the study."""
    values = {(cell.codec, cell.bit_error_rate): cell.psnr_all_db for cell in cells if cell.psnr_all_db is not None}
    low, high = min(values.values(), default=0.0), max(values.values(), default=1.0)
    return {key: round(100 * (value - low) / max(high - low, 1e-9)) for key, value in values.items()}


def _photographs_shown(plan: Plan) -> tuple[str, ...]:
    per_photograph = len(plan.codecs) * len(plan.bit_error_rates)
    return plan.photographs[: max(1, _WALL_PICTURES // per_photograph)]


def _wall(store: Store, plan: Plan, rows: Sequence[Row], photograph: str) -> _Wall:
    first = first_trials(rows, photograph)
    lines = [
        (codec, [_tile(store, first[codec, rate]) for rate in plan.bit_error_rates if (codec, rate) in first])
        for codec in plan.codecs
    ]
    return _Wall(photograph, _inline(store.original_path(photograph)), lines)


def _tile(store: Store, row: Row) -> _Tile:
    alt = f"{row.photograph}, {row.codec}, bit error rate {row.bit_error_rate:g}"
    if row.status == ERROR:
        return _Tile("", "could not be encoded", f"{alt}: {row.error}")
    if row.status == FAILED:
        return _Tile("", "does not decode", f"{alt}: {row.error or 'no picture'}")
    flips = "no flips" if not row.flips else f"{row.flips:,} flip{'s' if row.flips > 1 else ''}"
    source = _inline(store.picture_path(row.photograph, row.codec, row.bit_error_rate))
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
