"""The picture wall for papers: one picture through every codec and three channels."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from flipproof import registry
from flipproof.study import labels
from flipproof.study.extras import needs_extra
from flipproof.study.record import Record
from flipproof.study.report.figures import INK, SOFT
from flipproof.study.report.gallery import Pictures
from flipproof.study.series import bit_error_rate, caption
from flipproof.study.store.row import ERROR

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["wall"]

_RATES = (0.0, 1e-3, 1e-2)


def wall(
    pictures: Pictures, record: Record, picture: str, first: Mapping[tuple[str, str], Mapping[str, Any]]
) -> Figure:
    """Draws decoded pictures: codecs down, across three channels: bit error rates 0, 1e-3, 1e-2.

    Where the study has none of these, they are its first three channels.

    Arguments:
        pictures: Where they are.
        record: The study.
        picture: Name of one of its first pictures.
        first: ``status``, ``psnr``, ``bpp`` and ``file_bytes`` of the first trial, by codec and channel.

    Raises:
        MissingExtraError: Matplotlib is not installed.
    """
    with needs_extra():
        from matplotlib.figure import Figure
    channels = [name for name in record.channels if bit_error_rate(name) in _RATES] or list(record.channels[:3])
    codecs = [codec.spelling for codec in record.measured_codecs]
    grid = _Grid(columns=len(channels), rows=len(codecs))
    figure = Figure(figsize=(grid.width, grid.height), dpi=100)
    for column, channel in enumerate(channels):
        size = 10 if bit_error_rate(channel) is None else 15
        figure.text(*grid.title(column), _title(channel), ha="center", va="center", fontsize=size, color=INK)
    for line, codec in enumerate(codecs):
        rows = [first[codec, channel] for channel in record.channels if (codec, channel) in first]
        _codec_label(figure, grid, line, codec, [row for row in rows if row["status"] != ERROR])
        for column, channel in enumerate(channels):
            axes = figure.add_axes(grid.box(line, column))
            _tile(axes, pictures.decoded(picture, codec, channel), first.get((codec, channel)))
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


def _title(channel: str) -> str:
    rate = bit_error_rate(channel)
    return f"{labels.one_in(rate)} flipped" if rate else caption(channel).replace("[", "\n[")


def _codec_label(figure: Figure, grid: _Grid, line: int, codec: str, rows: Sequence[Mapping[str, Any]]) -> None:
    x, y, _, height = grid.box(line, 0)
    name, parameters = registry.parse(codec)
    details = [f"{key} = {value}" for key, value in parameters.items()]
    details += [f"{rows[0]['file_bytes']:,} bytes", f"{rows[0]['bpp']:.3f} bpp"] if rows else []
    middle = y + height / 2
    wrapped = name.replace("-", "-\n", 1) if len(name) > 14 else name
    right = x - 0.2 / grid.width
    figure.text(right, middle, wrapped, ha="right", va="bottom", fontsize=16, weight="bold", color=INK)
    place = (right, middle - 0.08 / grid.height)
    figure.text(*place, "\n".join(details), ha="right", va="top", fontsize=11.5, color=SOFT, linespacing=1.4)


def _tile(axes: Axes, png: bytes | None, row: Mapping[str, Any] | None) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    if png is not None:
        with Image.open(io.BytesIO(png)) as image:
            axes.imshow(np.asarray(image.convert("RGB")), interpolation="lanczos", aspect="equal")
        text = f"{labels.decibels(row['psnr'])} dB" if row else ""
    else:
        axes.set_facecolor("#808080")
        axes.text(0.5, 0.5, "no picture", transform=axes.transAxes, ha="center", va="center", color="w", fontsize=14)
        text = "could not be encoded" if row and row["status"] == ERROR else "does not decode"
    axes.text(0.5, -0.06, text, transform=axes.transAxes, ha="center", va="center", fontsize=13, color=INK)
