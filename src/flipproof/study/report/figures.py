"""Figures of a study for papers, as PNG and SVG, drawn by Matplotlib without any global state."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flipproof.study.extras import needs_extra
from flipproof.study.record import CodecEntry, MetricEntry, Record
from flipproof.study.report.names import metric_label, short
from flipproof.study.series import Series, caption, is_clean, series_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from flipproof.study.statistics.summary import Point

__all__ = [
    "INK",
    "MARKERS",
    "PALETTE",
    "SOFT",
    "Group",
    "clean",
    "groups",
    "lines",
    "rates",
    "save",
    "save_png",
    "slug",
]

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#B07D00", "#3A9BD9", "#6B6B6B", "#7B3294")
"""Okabe and Ito's colours, told apart by colour-blind readers, yellow darkened to be seen on white."""

MARKERS = ("o", "s", "^", "D", "P", "*", "v", "X")
"""Matplotlib's markers that go with the colours."""

INK = "#1C1E21"
SOFT = "#5F6570"
_GRID = "#DADDE1"
_KINDS = {"repaired": "#7FC4AE", "suspect": "#E3B341", "lost": "#C0392B"}
_WIDE = 30
"""Letters of the longest name that leaves room for another beside it in a legend."""


@dataclass(frozen=True)
class Group:
    """Codecs that share a figure: one of every family, at one rate.

    Attributes:
        name: For a file name; empty if every family has one rate.
        codecs: In the record's order.
    """

    name: str
    codecs: tuple[CodecEntry, ...]


@dataclass(frozen=True)
class Height:
    """What a point of a figure shows.

    Attributes:
        value: Where its mark is.
        low: Lower end of its bar; None for none.
        high: Upper end.
        complete: Whether the mark is filled: hollow ones are means over some of the pictures and files.
    """

    value: float
    low: float | None = None
    high: float | None = None
    complete: bool = True


@dataclass(frozen=True)
class Quantity:
    """What a line figure shows.

    Attributes:
        label: Of the vertical axis.
        height: Of a point; None where there is none.
        limits: Of the vertical axis; None fits them.
    """

    label: str
    height: Callable[[Point], Height | None]
    limits: tuple[float, float] | None = None


def quality(metric: MetricEntry) -> Quantity:
    """Returns the mean of a metric over all files."""

    def height(point: Point) -> Height | None:
        estimate = point.all_files.get(metric.name)
        return Height(estimate.mean, estimate.low, estimate.high, estimate.complete) if estimate else None

    return Quantity(f"{metric_label(metric.name)} over all files{' (dB)' if metric.name == 'psnr' else ''}", height)


def failures() -> Quantity:
    """Returns the share of files without a picture, in percent."""

    def height(point: Point) -> Height | None:
        if not point.files:
            return None
        if is_clean(point.channel):
            return Height(100 * point.failure_rate)
        return Height(100 * point.failure_rate, 100 * point.failure_low, 100 * point.failure_high)

    return Quantity("Files without a picture (%)", height, (-3, 103))


def groups(record: Record) -> list[Group]:
    """Groups the codecs of a study by the rate they are asked for; a family with one codec is in every group."""
    families: dict[str, list[CodecEntry]] = {}
    for codec in record.measured_codecs:
        families.setdefault(codec.family, []).append(codec)
    asked = {codec.asked_bpp for own in families.values() if len(own) > 1 for codec in own}
    if not asked:
        return [Group("", record.measured_codecs)]
    return [
        Group(
            f"{rate:g}bpp" if rate is not None else "unrated",
            tuple(codec for own in families.values() for codec in own if len(own) == 1 or codec.asked_bpp == rate),
        )
        for rate in sorted(asked, key=lambda rate: rate or 0.0)
    ]


def lines(points: Sequence[Point], group: Group, series: Series, quantity: Quantity) -> Figure:
    """Draws a quantity over a series of channels, one line per codec; channels are evenly spaced categories.

    Arguments:
        points: Of one data set.
        group: The codecs.
        series: The channels.
        quantity: What to draw.

    Raises:
        MissingExtraError: Matplotlib is not installed.
    """
    names = short([codec.spelling for codec in group.codecs])
    figure, columns = _figure(list(names.values()), 3.7)
    axes = figure.add_subplot()
    found = {(point.codec, point.channel): point for point in points}
    for index, codec in enumerate(group.codecs):
        shift = (index - (len(group.codecs) - 1) / 2) * min(0.08, 0.5 / len(group.codecs))
        spots = [
            _Spot(at + shift, quantity.height(point), is_clean(channel) and not series.zero)
            for at, channel in enumerate(series.channels)
            if (point := found.get((codec.spelling, channel)))
        ]
        _draw(axes, spots, names[codec.spelling], index)
    axes.set_xticks(range(len(series.ticks)), series.ticks)
    axes.set_xlim(-0.5, len(series.ticks) - 0.5)
    axes.set_xlabel(series.axis)
    _finish(figure, axes, quantity, columns)
    return figure


def rates(points: Sequence[Point], record: Record, channel: str, quantity: Quantity) -> Figure:
    """Draws a quantity over the rate on one channel, one line per family.

    Arguments:
        points: Of one data set.
        record: The study.
        channel: Spelling.
        quantity: What to draw.

    Raises:
        MissingExtraError: Matplotlib is not installed.
    """
    names = short(list(dict.fromkeys(codec.family for codec in record.measured_codecs)))
    figure, columns = _figure(list(names.values()), 4.2)
    axes = figure.add_subplot()
    there = [point for point in points if point.channel == channel and point.bpp > 0]
    for index, (family, name) in enumerate(names.items()):
        own = sorted((point for point in there if point.family == family), key=lambda point: point.bpp)
        _draw(axes, [_Spot(point.bpp, quantity.height(point)) for point in own], name, index)
    sizes = [point.bpp for point in there]
    if sizes and max(sizes) > 6 * min(sizes):
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else "")
        axes.tick_params(axis="x", which="minor", labelsize=11, labelcolor=INK, color=SOFT)
    axes.set_xlabel(f"Rate of the whole file (bits per pixel), {caption(channel)}")
    _finish(figure, axes, quantity, columns)
    return figure


def steps(panels: Mapping[str, Sequence[Mapping[str, float]]]) -> Figure:
    """Draws which share of the bits of every step of a chain was repaired, suspect and lost.

    Arguments:
        panels: By what stands above each, items as :func:`flipproof.study.report.rows.damage_by_step` returns them.

    Raises:
        MissingExtraError: Matplotlib is not installed.
    """
    with needs_extra():
        from matplotlib.figure import Figure
    columns = min(4, len(panels))
    height = -(-len(panels) // columns)
    figure = Figure(figsize=(1 + 2.7 * columns, 0.5 + 2.1 * height), dpi=160, layout="constrained")
    for index, (title, bins) in enumerate(panels.items()):
        axes = figure.add_subplot(height, columns, index + 1)
        _stack(axes, bins)
        axes.set_title(title, fontsize=11, color=INK, loc="left")
        clean(axes)
    figure.supxlabel("Step of the chain", fontsize=11, color=SOFT)
    figure.supylabel("Share of the step's bits (%)", fontsize=11, color=SOFT)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=3, frameon=False, labelcolor=INK, fontsize=10.5)
    return figure


def _stack(axes: Axes, bins: Sequence[Mapping[str, float]]) -> None:
    floor = [0.0] * len(bins)
    left = [each["first"] - 0.5 for each in bins]
    widths = [each["last"] - each["first"] + 1 for each in bins]
    for kind, color in _KINDS.items():
        heights = [100 * each[kind] for each in bins]
        axes.bar(left, heights, widths, floor, color=color, label=kind, align="edge", edgecolor="white", linewidth=0.4)
        floor = [low + height for low, height in zip(floor, heights, strict=True)]
    axes.set_xlim(left[0], left[-1] + widths[-1])


def save(figure: Figure, folder: Path, name: str) -> None:
    """Writes a figure as ``name.png`` and ``name.svg``, text as text."""
    import matplotlib as mpl

    save_png(figure, folder / f"{name}.png")
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(folder / f"{name}.svg", format="svg", facecolor="white", metadata={"Date": None})


def save_png(figure: Figure, path: Path) -> None:
    """Writes a figure as PNG on white."""
    figure.savefig(path, format="png", facecolor="white", metadata={"Software": None})


def clean(axes: Axes) -> None:
    """Gives axes the style of the figures: a thin horizontal grid, no frame, soft labels."""
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(SOFT)
    axes.grid(axis="y", color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(axis="x", color=SOFT, labelcolor=INK, labelsize=11)
    axes.tick_params(axis="y", length=0, labelcolor=SOFT, labelsize=11)
    axes.xaxis.label.set(color=SOFT, size=11)
    axes.yaxis.label.set(color=SOFT, size=11)


def slug(*parts: str) -> str:
    """Makes a file name of what is shown.

    Example:
        >>> slug("ms-ssim", "gilbert-elliott[ber=0.001]", "")
        'ms-ssim-gilbert-elliott-ber-0.001'
    """
    return "-".join(filter(None, (re.sub(r"[^a-z0-9.]+", "-", part.lower()).strip("-.") for part in parts)))[:150]


def drawn(points: Sequence[Point], record: Record) -> Iterator[tuple[str, Figure]]:
    """Draws the line figures of a study, one after the other, with their names.

    Quality over the rate is drawn for every channel where codecs have several rates, else for the first channel.
    """
    several = len(record.datasets) > 1
    for dataset in record.datasets:
        own = [point for point in points if point.dataset == dataset]
        kinds = [(metric.name, quality(metric)) for metric in record.measured_metrics]
        for series in series_of(record.channels):
            for group in groups(record):
                for name, quantity in [*kinds, ("failures", failures())]:
                    place = (series.title, group.name, dataset if several else "")
                    yield slug(name, *place), lines(own, group, series, quantity)
        for channel in record.channels if len(groups(record)) > 1 else record.channels[:1]:
            for name, quantity in kinds:
                named = slug(name, "rate", channel, dataset if several else "")
                yield named, rates(own, record, channel, quantity)


def _figure(names: Sequence[str], height: float) -> tuple[Figure, int]:
    """Makes a figure with room for a legend of these names, and says in how many columns."""
    with needs_extra():
        from matplotlib.figure import Figure
    longest = max(map(len, names), default=0)
    columns = 3 if longest <= _WIDE / 2 else 2 if longest <= _WIDE else 1
    return Figure(figsize=(6.6, height + 0.26 * -(-len(names) // columns)), dpi=160, layout="constrained"), columns


def _finish(figure: Figure, axes: Axes, quantity: Quantity, columns: int) -> None:
    axes.set_ylabel(quantity.label)
    if quantity.limits:
        axes.set_ylim(*quantity.limits)
    clean(axes)
    figure.legend(loc="outside upper left", ncols=columns, frameon=False, labelcolor=INK, fontsize=10.5)


@dataclass(frozen=True)
class _Spot:
    x: float
    height: Height | None
    apart: bool = False


def _draw(axes: Axes, spots: Sequence[_Spot], name: str, index: int) -> None:
    """Draws one line with its bars; points that stand apart are not joined."""
    color, marker = PALETTE[index % len(PALETTE)], MARKERS[index % 7]
    shown = [(spot.x, spot.height, spot.apart) for spot in spots if spot.height is not None]
    if not shown:
        return
    path = [pair for x, height, apart in shown for pair in _joined(x, height.value, apart)]
    style: dict[str, Any] = {"color": color, "marker": marker, "ms": 6, "mew": 1, "zorder": 3}
    dash = ("-", "--", ":")[index // len(PALETTE) % 3]
    axes.plot(*zip(*path, strict=True), linestyle=dash, label=name, lw=1.8, **style)
    for x, height, _ in shown:
        if height.low is not None and height.high is not None:
            axes.vlines(x, height.low, height.high, color=color, linewidth=1.2, alpha=0.55, zorder=2)
        if not height.complete:
            axes.plot(x, height.value, markerfacecolor="white", **style)


def _joined(x: float, y: float, apart: bool) -> list[tuple[float, float]]:
    gap = (math.nan, math.nan)
    return [gap, (x, y), gap] if apart else [(x, y)]
