"""The values of the published study, and those of a run beside them.

They are those of "On the Robustness of Diffusion-Based Image Compression to Bit-Flip Errors"
(https://arxiv.org/abs/2604.05743): the tables and raw results that the authors publish, each with the file it is from.
Means are over decodable files, each file once; a study's are over pictures of means over their trials, which is the
same wherever no file or the same number of files of every picture is lost. Values at other bit error rates are
published as a figure alone, and are not here.

What a codec of this package measures counts as the published codec only on the prior that the authors use. On the prior
that comes with flipproof it stands in a column of its own.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from flipproof.prior.shipped import SHIPPED
from flipproof.study import labels
from flipproof.study.record import CodecEntry, Record
from flipproof.study.series import bit_error_rate
from flipproof.study.statistics.summary import Estimate, Point

__all__ = ["LPIPS", "Comparison", "Published", "Unfilled", "beside", "published", "unfilled"]

LPIPS = "lpips-alex"
"""The metric behind the published LPIPS: its code leaves the trunk at the default of pyiqa."""

_SAME_RATE, _NEAR_RATE = 1.02, 1.25
_WORDS = {"kodak24": "kodak", "div2k-valid": "div2k"}


@dataclass(frozen=True)
class Published:
    """A cell of the published tables.

    Attributes:
        codec: Its name here.
        dataset: Its name here.
        bit_error_rate: Of flips anywhere in the file; 0 for the channel without errors.
        psnr: Mean over decodable files, in dB.
        psnr_spread: Standard deviation over these files.
        lpips: Mean over decodable files, trunk Alex.
        lpips_spread: Standard deviation over these files.
        failed: Share of files that do not decode.
        bpp: Mean rate of the files; None where none is published.
        pictures: That went in.
        trials: Damaged copies of each file.
        source: File in the authors' repository.
        rate_source: The same, of the rate; empty where there is none.
    """

    codec: str
    dataset: str
    bit_error_rate: float
    psnr: float
    psnr_spread: float
    lpips: float
    lpips_spread: float
    failed: float
    bpp: float | None
    pictures: int
    trials: int
    source: str
    rate_source: str


@dataclass(frozen=True)
class Comparison:
    """A published cell and what a run has for it.

    Attributes:
        published: The cell.
        measured: The point of the published codec; None where there is none.
        shipped_prior: The point of the same codec on the prior that comes with flipproof, which is not the published
            codec; None where there is none, or where the codec has no prior.
        reason: Why there is nothing measured; empty where there is.
        marks: What is not as published, such as fewer pictures; of the point on the shipped prior where that is all.
    """

    published: Published
    measured: Point | None
    shipped_prior: Point | None
    reason: str
    marks: tuple[str, ...] = ()

    @property
    def psnr(self) -> Estimate | None:
        """What was measured, over decodable files."""
        return None if self.measured is None else self.measured.decodable.get("psnr")

    @property
    def lpips(self) -> Estimate | None:
        """The same, of LPIPS with trunk Alex."""
        return None if self.measured is None else self.measured.decodable.get(LPIPS)


@dataclass(frozen=True)
class Unfilled:
    """Published cells that could not be filled for one reason; ``str`` gives a line for people.

    Attributes:
        reason: Why.
        cells: Their number.
        codecs: Their codecs.
        datasets: Their data sets.
        bit_error_rates: Their rates, rising.
    """

    reason: str
    cells: int
    codecs: tuple[str, ...]
    datasets: tuple[str, ...]
    bit_error_rates: tuple[float, ...]

    def __str__(self) -> str:
        codecs = "all codecs" if len(self.codecs) == len(_names("codec")) else ", ".join(self.codecs)
        rates = ", ".join(map(labels.rate, self.bit_error_rates))
        return f"{_cells(self.cells)}, {codecs} on {' and '.join(self.datasets)} at BER {rates}: {self.reason}"


@cache
def published() -> tuple[Published, ...]:
    """Returns all cells: by data set, bit error rate and codec.

    Example:
        >>> cell = published()[0]
        >>> cell.codec, cell.dataset, cell.bit_error_rate, cell.psnr, cell.bpp
        ('jpeg', 'kodak24', 0.0, 32.47, 0.9967)
    """
    data = json.loads((files(__package__) / "published.json").read_text(encoding="utf-8"))
    rates = {(rate["codec"], rate["dataset"]): rate for rate in data["rates"]}
    cells = []
    for value in data["values"]:
        rate = rates.get((value["codec"], value["dataset"]), {"bpp": None, "source": ""})
        cells.append(Published(**value, bpp=rate["bpp"], rate_source=rate["source"]))
    places = {name: place for place, name in enumerate(_WORDS)}
    return tuple(sorted(cells, key=lambda cell: (places[cell.dataset], cell.bit_error_rate)))


def beside(points: Iterable[Point], record: Record) -> list[Comparison]:
    """Puts what a study measured beside every published cell, in the same convention.

    Arguments:
        points: Of the study.
        record: The study.
    """
    known = list(points)
    return [_compare(cell, known, record) for cell in published()]


def unfilled(comparisons: Iterable[Comparison]) -> list[Unfilled]:
    """Groups the cells without a value by reason, the most first."""
    groups: dict[str, list[Published]] = {}
    for each in comparisons:
        if each.reason:
            groups.setdefault(each.reason, []).append(each.published)
    made = [
        Unfilled(
            reason=reason,
            cells=len(cells),
            codecs=tuple(dict.fromkeys(cell.codec for cell in cells)),
            datasets=tuple(dict.fromkeys(cell.dataset for cell in cells)),
            bit_error_rates=tuple(sorted({cell.bit_error_rate for cell in cells})),
        )
        for reason, cells in groups.items()
    ]
    return sorted(made, key=lambda group: -group.cells)


def _compare(cell: Published, points: Sequence[Point], record: Record) -> Comparison:
    datasets = {name for name in record.datasets if _WORDS[cell.dataset] in name.lower()}
    entries = [codec for codec in record.codecs if codec.name == cell.codec]
    true = [entry for entry in entries if entry.config.get("prior") not in SHIPPED]
    here = [point for point in points if point.dataset in datasets and _same_channel(point, cell)]
    stand_in = _nearest([point for point in here if _is_of(point, entries) and not _is_of(point, true)], cell)
    measured = _nearest([point for point in here if _is_of(point, true)], cell)
    reason = _reason(cell, measured, bool(datasets), entries, true, record)
    shown = stand_in if reason else measured
    marks = () if shown is None or not shown.files else tuple(_marks(cell, shown, record))
    return Comparison(cell, None if reason else measured, stand_in, reason, marks)


def _reason(
    cell: Published,
    measured: Point | None,
    dataset: bool,
    entries: Sequence[CodecEntry],
    true: Sequence[CodecEntry],
    record: Record,
) -> str:
    """Says why a cell has no value; empty where it has one."""
    if not dataset:
        return f"{cell.dataset} is not in this run"
    if not entries:
        return "not among the codecs of this run"
    if not true:
        return "only measured on the shipped prior, which is not the published codec"
    if all(entry.skipped for entry in true):
        return true[0].skipped
    if not any(_same_rate(bit_error_rate(channel), cell) for channel in record.channels):
        return "this bit error rate is not in this run"
    if measured is None:
        return "not measured yet"
    if not measured.files:
        return f"every cell of it ended in an error ({measured.errors})"
    if measured.decodable.get("psnr") is None:
        return f"none of its {measured.files} files gives a picture"
    rate = _nominal_rate(cell)
    if max(measured.bpp / rate, rate / measured.bpp) > _NEAR_RATE:
        return f"measured at {measured.bpp:.3g} bpp, published at {rate:.3g}"
    return ""


def _marks(cell: Published, point: Point, record: Record) -> Iterable[str]:
    if point.pictures != cell.pictures:
        yield f"{point.pictures} pictures in place of {cell.pictures}"
    trials = point.files / point.pictures
    if round(trials) != cell.trials:
        yield f"{trials:.3g} trials in place of {cell.trials}"
    if point.errors:
        yield f"{_cells(point.errors)} ended in an error"
    sizes = {(one.width, one.height) for one in record.pictures if one.dataset == point.dataset}
    if sizes != {(512, 512)}:
        width, height = min(sizes)
        yield f"pictures of {width}x{height} in place of 512x512" if len(sizes) == 1 else "pictures of several sizes"
    rate = _nominal_rate(cell)
    if max(point.bpp / rate, rate / point.bpp) > _SAME_RATE:
        yield f"{point.bpp:.3g} bpp in place of {rate:.3g}"


def _same_channel(point: Point, cell: Published) -> bool:
    return _same_rate(bit_error_rate(point.channel), cell)


def _same_rate(rate: float | None, cell: Published) -> bool:
    return rate is not None and math.isclose(rate, cell.bit_error_rate, rel_tol=1e-9)


def _is_of(point: Point, entries: Sequence[CodecEntry]) -> bool:
    return any(point.codec == entry.spelling for entry in entries)


def _nearest(points: Sequence[Point], cell: Published) -> Point | None:
    """Returns the point whose rate is nearest to the published one; those without a file come last."""
    rate = _nominal_rate(cell)
    return min(points, key=lambda point: abs(math.log(point.bpp / rate)) if point.bpp > 0 else math.inf, default=None)


def _nominal_rate(cell: Published) -> float:
    """Returns the rate of a cell, or where none is published that of the codec on other pictures."""
    rates = [one.bpp for one in published() if one.codec == cell.codec and one.bpp is not None]
    return rates[0] if cell.bpp is None else cell.bpp


def _cells(count: int) -> str:
    return "1 cell" if count == 1 else f"{count} cells"


def _names(attribute: str) -> set[str]:
    return {getattr(cell, attribute) for cell in published()}
