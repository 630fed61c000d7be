r"""LaTeX tables (booktabs): quality of every codec over the channels, and files lost.

A cell has the mean over all files and, as super- and subscript, what leads to the ends of its 95 % bootstrap interval.
Codecs asked for one rate stand together. The best of them is bold only where the interval of its paired difference to
each of the others, on the same pictures and noise, excludes zero. Means that are not over every file of the plan have
an asterisk and never count as best.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from flipproof.study.export.name import file_name
from flipproof.study.record import MetricEntry, Record
from flipproof.study.series import Series, bit_error_rate, series_of
from flipproof.study.statistics.difference import Difference, differences
from flipproof.study.statistics.summary import Estimate, Point, summarise

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["contents", "escape"]

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "·": r"\textperiodcentered{}",
    "∞": r"$\infty$",
    "×": r"$\times$",  # noqa: RUF001 (the sign itself)
}
_RAISED = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
_DIGITS = {"psnr": 2, "ssimulacra2": 1}

_Key = tuple[str, str, str]


def contents(table: pa.Table, record: Record) -> dict[str, str]:
    """Returns a table for every data set, series of channels and metric, one of the files lost, and ``study.tex``.

    ``study.tex`` is a document with all of them; the others go into a paper that loads ``booktabs``.
    """
    points = {(point.dataset, point.codec, point.channel): point for point in summarise(table, record)}
    made: dict[str, str] = {}
    for metric in record.measured_metrics:
        best = _best(points, differences(table, record, metric.name), metric)
        for dataset, series in _places(points, record):
            name = file_name((dataset, series.title, metric.name), ".tex", made)
            made[name] = _quality_table(points, best, metric, dataset, series, record)
    for dataset, series in _places(points, record):
        name = file_name((dataset, series.title, "lost"), ".tex", made)
        made[name] = _loss_table(points, dataset, series, record)
    return made | {"study.tex": _document(made)}


def escape(text: str) -> str:
    r"""Writes text so that LaTeX shows it as it is.

    Example:
        >>> escape("jpeg[bpp=0.5] & 10⁻³")
        'jpeg[bpp=0.5] \\& 10\\textsuperscript{-3}'
    """
    plain = "".join(_SPECIAL.get(letter, letter) for letter in text)
    return re.sub("[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+", lambda match: rf"\textsuperscript{{{match[0].translate(_RAISED)}}}", plain)


def _places(points: Mapping[_Key, Point], record: Record) -> list[tuple[str, Series]]:
    """Returns the data sets and series of channels that have points."""
    places = ((dataset, series) for dataset in record.datasets for series in series_of(record.channels))
    return [
        (dataset, series)
        for dataset, series in places
        if any(key[0] == dataset and key[2] in series.channels for key in points)
    ]


def _best(points: Mapping[_Key, Point], found: Iterable[Difference], metric: MetricEntry) -> set[_Key]:
    """Returns the points that are better than every other of their rate, as far as their intervals say."""
    sign = 1 if metric.higher_is_better else -1
    wins: set[tuple[_Key, str]] = set()
    for each in found:
        if each.decided:
            first, second = (each.codec, each.other) if sign * each.mean > 0 else (each.other, each.codec)
            wins.add(((each.dataset, first, each.channel), second))
    best = set()
    for key, point in points.items():
        rivals = [
            other.codec
            for other in points.values()
            if (other.dataset, other.channel, other.asked_bpp) == (point.dataset, point.channel, point.asked_bpp)
            and other.codec != point.codec
            and other.files
        ]
        estimate = point.all_files.get(metric.name)
        if rivals and estimate and estimate.complete and all((key, rival) in wins for rival in rivals):
            best.add(key)
    return best


def _quality_table(
    points: Mapping[_Key, Point],
    best: set[_Key],
    metric: MetricEntry,
    dataset: str,
    series: Series,
    record: Record,
) -> str:
    digits = _DIGITS.get(metric.name, 3)

    def cell(key: _Key) -> str:
        estimate = points[key].all_files.get(metric.name) if key in points else None
        return "--" if estimate is None else _number(estimate, digits, key in best)

    direction = "higher" if metric.higher_is_better else "lower"
    marked = any(
        estimate is not None and not estimate.complete
        for key, point in points.items()
        if key[0] == dataset and key[2] in series.channels
        for estimate in [point.all_files.get(metric.name)]
    )
    caption = (
        f"{escape(_title(metric))} on {escape(dataset)}, {direction} is better: means over all files, those without a "
        "picture as mid-gray, and what leads to the ends of 95\\,\\% bootstrap intervals over pictures. Bold: better "
        "than every codec of the same rate, by paired differences whose intervals exclude zero."
    )
    caption += " $^*$: not over every picture and file of the plan." if marked else ""
    return _table(points, dataset, series, record, (caption, f"{dataset}-{series.title}-{metric.name}"), cell)


def _loss_table(points: Mapping[_Key, Point], dataset: str, series: Series, record: Record) -> str:
    def cell(key: _Key) -> str:
        point = points.get(key)
        if point is None or not point.files:
            return "--"
        ends = f"{100 * point.failure_low:.1f}, {100 * point.failure_high:.1f}"
        return f"{100 * point.failure_rate:.1f} [{ends}]"

    caption = (
        f"Files without a picture on {escape(dataset)}, in percent, and exact (Clopper--Pearson) 95\\,\\% intervals."
    )
    return _table(points, dataset, series, record, (caption, f"{dataset}-{series.title}-lost"), cell)


def _table(
    points: Mapping[_Key, Point],
    dataset: str,
    series: Series,
    record: Record,
    labels: tuple[str, str],
    cell: Callable[[_Key], str],
) -> str:
    """Makes a table of codecs by channels; ``labels`` are its caption and what it is referred to by."""
    heads = ["Codec", "bpp", *map(_heading, series.channels, series.headings)]
    lines = [
        r"\begin{table}",
        r"\centering",
        r"\small",
        r"\renewcommand{\arraystretch}{1.25}",
        rf"\caption{{{labels[0]}}}",
        rf"\label{{tab:{re.sub('[^A-Za-z0-9.-]+', '-', labels[1])}}}",
        rf"\begin{{tabular}}{{l{'r' * (len(heads) - 1)}}}",
        r"\toprule",
        " & ".join(heads) + r" \\",
    ]
    for group in _groups(points, dataset, series, record):
        lines.append(r"\midrule")
        for codec in group:
            own = [points[dataset, codec, c] for c in series.channels if (dataset, codec, c) in points]
            rates = [point.bpp for point in own if point.files]
            cells = [escape(codec), f"{sum(rates) / len(rates):.3f}" if rates else "--"]
            cells += [cell((dataset, codec, channel)) for channel in series.channels]
            lines.append(" & ".join(cells) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    return "\n".join(lines) + "\n"


def _groups(points: Mapping[_Key, Point], dataset: str, series: Series, record: Record) -> list[list[str]]:
    """Returns the codecs that have points here, those asked for one rate together."""
    groups: dict[float | None, list[str]] = {}
    for codec in record.codecs:
        if any((dataset, codec.spelling, channel) in points for channel in series.channels):
            groups.setdefault(codec.asked_bpp, []).append(codec.spelling)
    return list(groups.values())


def _number(estimate: Estimate, digits: int, bold: bool) -> str:
    mean = f"{estimate.mean:.{digits}f}"
    text = rf"\mathbf{{{mean}}}" if bold else mean
    if estimate.low is not None and estimate.high is not None:
        above, below = estimate.high - estimate.mean, estimate.mean - estimate.low
        text += rf"^{{+{max(above, 0):.{digits}f}}}_{{-{max(below, 0):.{digits}f}}}"
    return f"${text}$" if estimate.complete else f"${text}$\\textsuperscript{{*}}"


def _heading(channel: str, heading: str) -> str:
    rate = bit_error_rate(channel)
    if not rate:
        return escape(heading)
    return f"BER {escape(heading.removeprefix('BER '))}"


def _title(metric: MetricEntry) -> str:
    return {"psnr": "PSNR (dB)", "ms-ssim": "MS-SSIM", "lpips-alex": "LPIPS (Alex)"}.get(metric.name, metric.name)


def _document(names: Sequence[str] | Mapping[str, str]) -> str:
    inputs = "\n".join(rf"\input{{{name}}}" for name in names)
    return (
        "\\documentclass{article}\n\\usepackage[T1]{fontenc}\n\\usepackage{booktabs}\n"
        "\\usepackage[landscape,margin=1cm]{geometry}\n\\begin{document}\n" + inputs + "\n\\end{document}\n"
    )
