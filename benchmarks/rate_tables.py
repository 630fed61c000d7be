"""Tables and a figure of rate-distortion points: means per rate, Bjontegaard deltas, curves."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flipproof import registry
from flipproof.study.extras import needs_extra
from flipproof.study.report.figures import MARKERS, PALETTE, clean
from flipproof.study.statistics import bd
from flipproof.study.statistics.interval import MAX_DB
from tables import GAP

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Point", "draw", "show"]


@dataclass(frozen=True)
class Point:
    """One file: a codec, a picture and a rate.

    Attributes:
        codec: Its spelling, without the rate.
        picture: Name of the photograph.
        crop: Side of the centre crop.
        asked: The rate asked for, in bits per pixel.
        file_bytes: Size of the whole file.
        bpp: The rate of the whole file.
        psnr: In dB.
        ms_ssim: From 0 to 1.
        lpips: On AlexNet; lower is better.
        ssimulacra2: At most 100.
        encode_seconds: Wall time.
        decode_seconds: Wall time.
        error: Why there is no file, or no picture; nothing is measured then.
    """

    codec: str
    picture: str
    crop: int
    asked: float
    file_bytes: int | None = None
    bpp: float | None = None
    psnr: float | None = None
    ms_ssim: float | None = None
    lpips: float | None = None
    ssimulacra2: float | None = None
    encode_seconds: float | None = None
    decode_seconds: float | None = None
    error: str = ""

    @property
    def key(self) -> tuple[str, str, int, float]:
        """What is measured once."""
        return self.codec, self.picture, self.crop, self.asked


@dataclass(frozen=True)
class Metric:
    """A column of points.

    Attributes:
        title: What people read.
        value: Reads it off a point that has a picture.
        digits: After the decimal point, in tables.
        quality: What curves are compared by: rises with quality.
    """

    title: str
    value: Callable[[Point], float]
    digits: int
    quality: Callable[[float], float] = lambda value: value


METRICS = (
    Metric("PSNR (dB)", lambda point: min(point.psnr, MAX_DB), 2),
    Metric("MS-SSIM", lambda point: point.ms_ssim, 4, lambda value: -10 * math.log10(max(1 - value, 1e-10))),
    Metric("LPIPS (Alex)", lambda point: point.lpips, 3, lambda value: -value),
    Metric("SSIMULACRA2", lambda point: point.ssimulacra2, 1),
)
RATE = Metric("Rate of the whole file (bpp)", lambda point: point.bpp, 4)


def show(points: Sequence[Point], codecs: Sequence[str], pictures: Sequence[str], anchors: Sequence[str]) -> None:
    """Prints tables of means per rate, of seconds, and of Bjontegaard deltas against each anchor."""
    rates = sorted({point.asked for point in points})
    for metric in (RATE, *METRICS):
        print(f"\n{metric.title}, mean over {len(pictures)} pictures, by the rate asked for\n")
        _head(f"{rate:g} bpp" for rate in rates)
        for codec in codecs:
            _line(codec, [_mean(points, codec, rate, metric, len(pictures)) for rate in rates])
    if any(point.error for point in points):
        print(f"\n{GAP} no picture reaches the rate; * (k) mean over the k that do, comparable with no other mean.")
    failed = Counter(point.codec for point in points if point.error.startswith("decoding"))
    for codec, count in failed.items():
        print(f"`{codec}`: {count} files of its own do not decode.")
    _show_seconds(points, codecs)
    for anchor in codecs:
        if registry.parse(anchor)[0] in anchors and len(codecs) > 1:
            _show_deltas(points, codecs, pictures, anchor)


def draw(points: Sequence[Point], codecs: Sequence[str], pictures: Sequence[str]) -> Figure:
    """Draws mean quality over mean rate; rates that only some pictures reach are left out."""
    with needs_extra():
        from matplotlib.figure import Figure
    columns = 2 if len(codecs) > 8 or max(map(len, codecs)) < 36 else 1
    lines = -(-len(codecs) // columns)
    figure = Figure(figsize=(10.4, 7.2 + 0.27 * lines), dpi=130, layout="constrained")
    for axes, metric in zip(figure.subplots(2, 2).flat, METRICS, strict=True):
        for index, codec in enumerate(codecs):
            _curve(axes, _mean_curve(points, codec, len(pictures), metric), codec, index)
        axes.set_xlabel("Rate of the whole file (bits per pixel)")
        axes.set_ylabel(metric.title)
        clean(axes)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=columns, frameon=False, fontsize=11)
    return figure


def _curve(axes: Axes, curve: list[tuple[float, float]], codec: str, index: int) -> None:
    axes.plot(
        *zip(*(curve or [(math.nan, math.nan)]), strict=True),
        color=PALETTE[index % len(PALETTE)],
        marker=MARKERS[index % len(MARKERS)],
        linestyle="-" if index < len(PALETTE) else "--",
        label=codec,
        linewidth=2,
        markersize=6,
        markeredgewidth=0,
    )


def _head(titles: Sequence[str]) -> None:
    print("| codec | " + " | ".join(cells := list(titles)) + " |\n|---" + "|---" * len(cells) + "|")


def _line(codec: str, cells: Sequence[str]) -> None:
    print(f"| `{codec}` | {' | '.join(cells)} |", flush=True)


def _measured(points: Sequence[Point], codec: str, rate: float) -> list[Point]:
    return [point for point in points if (point.codec, point.asked) == (codec, rate) and not point.error]


def _mean(points: Sequence[Point], codec: str, rate: float, metric: Metric, pictures: int) -> str:
    values = [metric.value(point) for point in _measured(points, codec, rate)]
    if not values:
        return GAP
    mark = "" if len(values) == pictures else f"* ({len(values)})"
    return f"{statistics.fmean(values):.{metric.digits}f}{mark}"


def _show_seconds(points: Sequence[Point], codecs: Sequence[str]) -> None:
    print("\nSeconds for one picture, median over pictures and rates\n")
    _head(["encode", "decode"])
    for codec in codecs:
        own = [point for point in points if point.codec == codec and not point.error]
        columns = ([point.encode_seconds for point in own], [point.decode_seconds for point in own])
        _line(codec, [f"{statistics.median(values):.3g}" if values else GAP for values in columns])


def _show_deltas(points: Sequence[Point], codecs: Sequence[str], pictures: Sequence[str], anchor: str) -> None:
    """A table of BD-rates, and why there is none where there is none."""
    print(f"\nBD-rate against `{anchor}` (%): mean of the pictures' deltas (how many have one); delta of mean curves\n")
    _head(["MS-SSIM (dB)" if metric.title == "MS-SSIM" else metric.title for metric in METRICS])
    reasons: dict[str, Counter[str]] = {}
    for codec in codecs:
        if codec == anchor:
            continue
        cells = []
        for metric in METRICS:
            single = [_delta(points, (anchor, codec), [picture], metric) for picture in pictures]
            values = [delta.value for delta in single if delta.value is not None]
            reasons.setdefault(codec, Counter()).update(delta.reason for delta in single if delta.reason)
            whole = _delta(points, (anchor, codec), pictures, metric).value
            each = f"{statistics.fmean(values):+.1f} ({len(values)})" if values else GAP
            cells.append(f"{each}; {GAP if whole is None else f'{whole:+.1f}'}")
        _line(codec, cells)
    for codec, counts in reasons.items():
        for reason, count in _kinds(counts).most_common():
            print(f"\n`{codec}`: no delta {count} times, such as where {reason}.")


def _kinds(counts: Counter[str]) -> Counter[str]:
    """Brings together reasons that differ in their numbers only; the most frequent one speaks for them."""
    kinds: dict[str, tuple[str, int]] = {}
    for reason, count in counts.most_common():
        kind = "".join(letter for letter in reason if not letter.isdigit() and letter != ".")
        first, total = kinds.get(kind, (reason, 0))
        kinds[kind] = first, total + count
    return Counter(dict(kinds.values()))


def _delta(points: Sequence[Point], pair: tuple[str, str], pictures: Sequence[str], metric: Metric) -> bd.Delta:
    """BD-rate of the second codec against the first, on the mean curves over pictures."""
    own = [point for point in points if point.picture in pictures]
    curves = [
        [bd.Point(bpp, metric.quality(value)) for bpp, value in _mean_curve(own, codec, len(pictures), metric)]
        for codec in pair
    ]
    return bd.bd_rate(*curves)


def _mean_curve(points: Sequence[Point], codec: str, pictures: int, metric: Metric) -> list[tuple[float, float]]:
    """Mean rates and values of a codec, at the rates that all pictures reach."""
    curve = []
    for rate in sorted({point.asked for point in points}):
        own = _measured(points, codec, rate)
        if len(own) == pictures:
            curve.append((statistics.fmean(p.bpp for p in own), statistics.fmean(metric.value(p) for p in own)))
    return curve
