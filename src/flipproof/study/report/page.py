"""The report: one HTML page that needs nothing but itself, figures for papers, and the points as CSV.

Everything is made from a study's folder alone, so a report can be made again at any time.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from flipproof.study import labels
from flipproof.study.extras import needs_extra
from flipproof.study.record import Record
from flipproof.study.report.gallery import Album, Pictures, gallery, worst_pictures
from flipproof.study.report.methods import to_toml
from flipproof.study.report.pairs import curve_gaps, paired
from flipproof.study.report.paper import write_figures
from flipproof.study.report.payload import embed, study
from flipproof.study.report.rows import damage_by_step, devices, errors, first_trials, worst_files
from flipproof.study.report.terminal import MARK, headline
from flipproof.study.series import is_clean
from flipproof.study.statistics.published import beside, unfilled
from flipproof.study.statistics.summary import Estimate, Point, summarise
from flipproof.study.statistics.table import points_table

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Source", "render", "write"]

_SHEETS = ("page.css", "viewer.css", "print.css")
_LIBRARIES = ("d3.min.js", "plot.umd.min.js")
_SCRIPTS: tuple[str, ...] = (
    *("dom", "format", "state", "data", "table", "legend", "chart", "curves", "summary", "damage", "cost"),
    *("compare", "wall", "worst", "zoom", "viewer", "page"),
)


class Source(Pictures, Protocol):
    """What a report is made from: a :class:`flipproof.study.store.store.Store`."""

    def record(self) -> Record:
        """Returns what the study is."""

    def table(self) -> pa.Table:
        """Returns its rows."""


def write(store: Source, folder: Path) -> Path:
    """Writes ``report.html``, ``points.csv`` and ``figures/`` into a folder on this machine.

    Returns:
        Path of ``report.html``.

    Raises:
        StoreError: There is no study, or the folder cannot be written.
        MissingExtraError: A package of the extra ``study`` is not installed.
    """
    with needs_extra():
        from pyarrow import csv
    record, table = store.record(), store.table()
    points = summarise(table, record)
    folder.mkdir(parents=True, exist_ok=True)
    csv.write_csv(points_table(points, record.measured_metrics), folder / "points.csv")
    first = first_trials(table, [picture.name for picture in record.pictures[:1]])
    write_figures(store, record, points, damage_by_step(table), first, folder / "figures")
    path = folder / "report.html"
    path.write_text(render(store, record, table, points), encoding="utf-8")
    return path


def render(pictures: Pictures, record: Record, table: pa.Table, points: Sequence[Point]) -> str:
    """Returns the page.

    Arguments:
        pictures: Where its pictures are.
        record: The study.
        table: Its rows.
        points: What :func:`~flipproof.study.statistics.summary.summarise` makes of them.

    Raises:
        MissingExtraError: Jinja2 or DuckDB is not installed.
    """
    with needs_extra():
        import jinja2
        from markupsafe import Markup
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("flipproof.study.report", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    album = Album()
    worst = _worst(pictures, record, table, album)
    shown = gallery(pictures, record, album)
    data = _data(record, table, points, shown) | {"worst": worst, "images": album.images}
    failed = errors(table)
    compared = beside(points, record)
    known = [each for each in compared if each.measured or each.shipped_prior]
    return environment.get_template("page.html.j2").render(
        plan=record.plan,
        record=record,
        headline=headline(points, record),
        clean=all(map(is_clean, record.channels)),
        files=sum(point.files for point in points),
        left_out=_left_out(record, failed),
        skipped=_skipped(record),
        errors=failed,
        gallery=shown,
        published=known,
        unfilled=unfilled(compared) if known else [],
        weights=_weights(record),
        plan_toml=to_toml(record.plan),
        labels=labels,
        counted=_counted,
        estimate=_estimate,
        data=Markup(embed(data)),
        sheets=[Markup(_asset(name)) for name in _SHEETS],
        libraries=[Markup(_asset(f"vendor/{name}")) for name in _LIBRARIES],
        scripts=[Markup(_asset(f"{name}.js")) for name in _SCRIPTS],
    )


def _asset(name: str) -> str:
    return (files(__package__) / "assets" / name).read_text(encoding="utf-8")


def _data(record: Record, table: pa.Table, points: Sequence[Point], shown: dict[str, Any]) -> dict[str, Any]:
    """Returns what the page knows, but for the pictures themselves."""
    return {
        "study": study(points, record),
        "steps": [_indexed(bin_, record) for bin_ in damage_by_step(table)],
        "devices": [_indexed(device, record) for device in devices(table)],
        "differences": paired(table, record),
        "gaps": curve_gaps(points, record),
        "gallery": shown,
        "first": _first(record, table, [picture["name"] for picture in shown["pictures"]]),
    }


def _first(record: Record, table: pa.Table, names: Sequence[str]) -> list[list[Any]]:
    """Returns first trials as ``[picture, codec, channel, status, psnr, flips, error]``, the first three as indices."""
    codecs = {codec.spelling: index for index, codec in enumerate(record.codecs)}
    return [
        [names.index(row["picture"]), codecs[row["codec"]], record.channels.index(row["channel"])]
        + [row[name] for name in ("status", "psnr", "flips", "error")]
        for row in first_trials(table, names)
    ]


def _worst(pictures: Pictures, record: Record, table: pa.Table, album: Album) -> list[dict[str, Any]]:
    found = worst_files(table, record)
    places = worst_pictures(pictures, found, album)
    return [_indexed(file, record) | {"image": places.get(file["key"])} for file in found]


def _indexed(item: dict[str, Any], record: Record) -> dict[str, Any]:
    """Puts indices in the place of the names of data set, codec and channel."""
    codecs = [codec.spelling for codec in record.codecs]
    made = item | {"dataset": record.datasets.index(item["dataset"]), "codec": codecs.index(item["codec"])}
    return made | ({"channel": record.channels.index(item["channel"])} if "channel" in item else {})


def _skipped(record: Record) -> list[tuple[str, str]]:
    codecs = [(codec.spelling, codec.skipped) for codec in record.codecs if codec.skipped]
    return codecs + [(metric.name, metric.skipped) for metric in record.metrics if metric.skipped]


def _weights(record: Record) -> list[tuple[str, str]]:
    """Returns names and digests of all weights behind the measured codecs."""
    parts = {part for codec in record.measured_codecs for part in codec.weights.split(",") if part}
    return [(name, digest) for name, _, digest in (part.rpartition(":") for part in sorted(parts))]


def _left_out(record: Record, failed: Sequence[dict[str, Any]]) -> list[str]:
    codecs = sum(bool(codec.skipped) for codec in record.codecs)
    metrics = sum(bool(metric.skipped) for metric in record.metrics)
    cells = sum(each["cells"] for each in failed)
    return [
        text
        for count, text in (
            (codecs, f"{_counted(codecs, 'codec')} skipped"),
            (metrics, f"{_counted(metrics, 'metric')} skipped"),
            (len(record.unreadable), f"{_counted(len(record.unreadable), 'file')} without a picture"),
            (cells, f"{_counted(cells, 'cell')} with an error"),
        )
        if count
    ]


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _estimate(estimate: Estimate | None, digits: int) -> str:
    if estimate is None:
        return labels.decibels(None)
    return f"{estimate.mean:.{digits}f}{'' if estimate.complete else MARK}"
