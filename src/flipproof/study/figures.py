"""Figures of a study, drawn by Matplotlib's Agg and SVG back ends without any global state."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from flipproof import registry
from flipproof.study import labels
from flipproof.study.extras import needs_extra
from flipproof.study.plan import Plan
from flipproof.study.series import Series, bit_error_rate, caption, is_clean
from flipproof.study.store import ERROR, FAILED, Row, Store, first_trials
from flipproof.study.summary import Cell

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["FAILURES", "MARKERS", "PALETTE", "PSNR", "Quantity", "clean", "lines", "save_png", "to_svg", "wall"]

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#B07D00", "#3A9BD9", "#6B6B6B", "#7B3294")
"""Okabe and Ito's colours, told apart by colour-blind readers, yellow darkened to be seen on white."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
"""Matplotlib's markers that go with the colours."""

_INK = "#1C1E21"
_SOFT = "#5F6570"
_GRID = "#DADDE1"
_WIDE = 36
"""Letters of the longest codec that leaves room for another beside it in a legend."""
_WALL_RATES = (0.0, 1e-3, 1e-2)


@dataclass(frozen=True)
class Quantity:
    """What a line figure shows.

    Attributes:
        label: Of the vertical axis.
        value: Height of a cell's point; None leaves it out.
        low: Lower end of its error bar; None draws none.
        high: Upper end.
        limits: Of the vertical axis; None fits them.
    """

    label: str
    value: Callable[[Cell], float | None]
    low: Callable[[Cell], float | None]
    high: Callable[[Cell], float | None]
    limits: tuple[float, float] | None = None


PSNR = Quantity(
    "PSNR over all files (dB)",
    lambda cell: cell.psnr_all_db,
    lambda cell: cell.psnr_all_low,
    lambda cell: cell.psnr_all_high,
)

FAILURES = Quantity(
    "Files without a picture (%)",
    lambda cell: 100 * cell.failure_rate if cell.files else None,
    lambda cell: 100 * cell.failure_low if cell.files and not is_clean(cell.channel) else None,
    lambda cell: 100 * cell.failure_high if cell.files and not is_clean(cell.channel) else None,
    (-3, 103),
)


def lines(
    cells: Sequence[Cell], plan: Plan, series: Series, quantity: Quantity, gray_db: float | None = None
) -> Figure:
    """Draws a quantity over a series of channels, one line per codec; channels are evenly spaced categories.

    Arguments:
        cells: What :func:`flipproof.study.summary.summarise` found.
        plan: The study.
        series: Some of its channels.
        quantity: What to draw.
        gray_db: Where to draw a line for what a mid-gray picture scores; None draws none.

    Raises:
        MissingExtraError: Matplotlib is not installed.
    """
    with needs_extra():
        from matplotlib.figure import Figure
    columns = min(len(plan.codecs), 2 if max(map(len, plan.codecs)) <= _WIDE else 1)
    figure = Figure(figsize=(6.6, 3.7 + 0.27 * -(-len(plan.codecs) // columns)), dpi=160, layout="constrained")
    axes = figure.add_subplot()
    for index, codec in enumerate(plan.codecs):
        own = {cell.channel: cell for cell in cells if cell.codec == codec}
        _line(axes, [own.get(channel) for channel in series.channels], plan, series, quantity, index)
    if gray_db is not None:
        _gray_line(axes, series, gray_db)
    axes.set_xticks(range(len(series.ticks)), series.ticks)
    axes.set_xlim(-0.4, len(series.ticks) - 0.6)
    axes.set_xlabel(series.axis)
    axes.set_ylabel(quantity.label)
    if quantity.limits:
        axes.set_ylim(*quantity.limits)
    clean(axes)
    figure.legend(loc="outside upper left", ncols=columns, frameon=False, labelcolor=_INK, fontsize=11)
    return figure


def save_png(figure: Figure, path: Path) -> None:
    """Writes a figure as PNG on white."""
    figure.savefig(path, format="png", facecolor="white", metadata={"Software": None})


def to_svg(figure: Figure, prefix: str) -> str:
    """Writes a figure as an ``<svg>`` element to put into a page.

    Text stays text in the page's font. Colours become the CSS variables ``--ink``, ``--soft``, ``--line`` and
    ``--c0`` to ``--c7``, so that the page's light and dark schemes reach them.

    Arguments:
        figure: Drawn by :func:`lines`.
        prefix: Put before every id, so that several figures can share a page.
    """
    import matplotlib as mpl

    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": prefix}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r'<svg [^>]*viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" role="img">', svg, count=1)
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}-", svg)
    svg = svg.replace("xlink:href", "href").replace("'DejaVu Sans'", "inherit")
    return re.sub(r"#[0-9a-fA-F]{6}\b", lambda match: _variable(match[0]), svg)


def wall(store: Store, plan: Plan, rows: Sequence[Row], photograph: str) -> Figure:
    """Draws decoded pictures of a photograph: codecs down, across three channels: bit error rates 0, 1e-3, 1e-2.

    Where the plan has none of these, they are its first three channels.

    Raises:
        MissingExtraError: Matplotlib is not installed.
    """
    with needs_extra():
        from matplotlib.figure import Figure
    channels = [name for name in plan.channels if bit_error_rate(name) in _WALL_RATES] or list(plan.channels[:3])
    grid = _Grid(columns=len(channels), rows=len(plan.codecs))
    figure = Figure(figsize=(grid.width, grid.height), dpi=100)
    first = first_trials(rows, photograph)
    for column, channel in enumerate(channels):
        size = 10 if bit_error_rate(channel) is None else 15
        figure.text(*grid.title(column), _title(channel), ha="center", va="center", fontsize=size, color=_INK)
    for line, codec in enumerate(plan.codecs):
        _codec_label(figure, grid, line, codec, first)
        for column, channel in enumerate(channels):
            axes = figure.add_axes(grid.box(line, column))
            picture = _read(store.picture_path(photograph, codec, channel))
            _tile(axes, picture, first.get((codec, channel)))
    return figure


@dataclass(frozen=True)
class _Grid:
    """Lengths of the wall, in inches."""

    columns: int
    rows: int
    side: float = 3.2
    gap: float = 0.12
    caption: float = 0.36
    left: float = 1.95
    top: float = 0.55
    margin: float = 0.12

    @property
    def width(self) -> float:
        return self.left + self.columns * (self.side + self.gap) - self.gap + self.margin

    @property
    def height(self) -> float:
        return self.top + self.rows * (self.side + self.caption + self.gap) + self.margin - self.gap

    def box(self, line: int, column: int) -> tuple[float, float, float, float]:
        x = self.left + column * (self.side + self.gap)
        y = self.height - self.top - line * (self.side + self.caption + self.gap) - self.side
        return x / self.width, y / self.height, self.side / self.width, self.side / self.height

    def title(self, column: int) -> tuple[float, float]:
        x, _, width, _ = self.box(0, column)
        return x + width / 2, 1 - self.top / 2 / self.height


def _gray_line(axes: Axes, series: Series, gray_db: float) -> None:
    """Draws what a mid-gray picture scores, named at the harmless end, where the points are far above."""
    axes.axhline(gray_db, color=_SOFT, linewidth=1.2, linestyle=(0, (4, 3)), zorder=1)
    x, side = (len(series.ticks) - 0.64, "right") if series.falling else (-0.36, "left")
    style: dict[str, Any] = {"color": _SOFT, "fontsize": 10, "ha": side, "va": "bottom"}
    axes.annotate("a mid-gray picture", (x, gray_db), (0, 2), textcoords="offset points", **style)


def _line(axes: Axes, cells: Sequence[Cell | None], plan: Plan, series: Series, quantity: Quantity, index: int) -> None:
    """Draws one codec, set a little aside so that equal values and their error bars stay visible."""
    shift = (index - (len(plan.codecs) - 1) / 2) * 0.08
    color = PALETTE[index % len(PALETTE)]
    x, y = [], []
    for at, cell in enumerate(cells):
        value = quantity.value(cell) if cell else None
        if cell is None or value is None:
            continue
        off_axis = is_clean(cell.channel) and not series.zero
        x += [math.nan, at + shift, math.nan] if off_axis else [at + shift]
        y += [math.nan, value, math.nan] if off_axis else [value]
        low, high = quantity.low(cell), quantity.high(cell)
        if low is not None and high is not None:
            axes.vlines(at + shift, low, high, color=color, linewidth=1.2, alpha=0.55, zorder=2)
    if not x:
        return
    axes.plot(
        x,
        y,
        color=color,
        marker=MARKERS[index % len(MARKERS)],
        label=plan.codecs[index],
        linewidth=2,
        markersize=7,
        markeredgewidth=0,
        zorder=3,
    )


def clean(axes: Axes) -> None:
    """Gives axes the style of the figures: a thin horizontal grid, no frame, soft labels."""
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(_SOFT)
    axes.grid(axis="y", color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(axis="x", color=_SOFT, labelcolor=_INK, labelsize=11)
    axes.tick_params(axis="y", length=0, labelcolor=_SOFT, labelsize=11)
    axes.xaxis.label.set(color=_SOFT, size=11)
    axes.yaxis.label.set(color=_SOFT, size=11)


def _title(channel: str) -> str:
    rate = bit_error_rate(channel)
    return f"{labels.one_in(rate)} flipped" if rate else caption(channel).replace("[", "\n[")


def _codec_label(figure: Figure, grid: _Grid, line: int, codec: str, first: dict[tuple[str, str], Row]) -> None:
    x, y, _, height = grid.box(line, 0)
    name, parameters = registry.parse(codec)
    details = [f"{key} = {value}" for key, value in parameters.items()]
    rows = [row for (spelling, _), row in first.items() if spelling == codec and row.status != ERROR]
    details += [f"{rows[0].file_bytes:,} bytes", f"{rows[0].bpp:.3f} bpp"] if rows else []
    middle = y + height / 2
    wrapped = name.replace("-", "-\n", 1) if len(name) > 14 else name
    right = x - 0.2 / grid.width
    figure.text(right, middle, wrapped, ha="right", va="bottom", fontsize=16, weight="bold", color=_INK)
    figure.text(
        right,
        middle - 0.08 / grid.height,
        "\n".join(details),
        ha="right",
        va="top",
        fontsize=11.5,
        color=_SOFT,
        linespacing=1.4,
    )


def _tile(axes: Axes, picture: np.ndarray[Any, Any] | None, row: Row | None) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    failed = row is not None and row.status in (FAILED, ERROR)
    if picture is not None and not failed:
        axes.imshow(picture, interpolation="lanczos", aspect="equal")
        caption = f"{labels.decibels(row.psnr_db)} dB" if row else ""
    else:
        axes.set_facecolor("#808080")
        axes.text(0.5, 0.5, "no picture", transform=axes.transAxes, ha="center", va="center", color="w", fontsize=14)
        caption = "could not be encoded" if row and row.status == ERROR else "does not decode"
    axes.text(0.5, -0.06, caption, transform=axes.transAxes, ha="center", va="center", fontsize=13, color=_INK)


def _read(path: Path) -> np.ndarray[Any, Any] | None:
    if not path.is_file():
        return None
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def _variable(color: str) -> str:
    names = {_INK: "ink", _SOFT: "soft", _GRID: "line"} | {value: f"c{i}" for i, value in enumerate(PALETTE)}
    lowered = {value.lower(): name for value, name in names.items()}
    name = lowered.get(color.lower())
    return f"var(--{name})" if name else color
