"""``flipproof study``: measures codecs on channels that damage files, and reports."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from flipproof.errors import SpecError, StoreError
from flipproof.study import completion
from flipproof.study.extras import check_extras

if TYPE_CHECKING:
    from flipproof.study.plan import Plan
    from flipproof.study.record import CodecEntry, MetricEntry, Unreadable
    from flipproof.study.run.engine import Engine
    from flipproof.study.run.study import Study
    from flipproof.study.store.store import Store

__all__ = ["app"]

app = typer.Typer(help="Measure codecs on channels that damage files.", no_args_is_help=True)
out, err = Console(), Console(stderr=True)

_RESULTS = Path("out")
_INTERRUPTED = 130

Name = Annotated[
    str,
    typer.Argument(
        metavar="PLAN",
        help="A plan file, or a preset's name.",
        autocompletion=completion.complete_plans,
        show_default=False,
    ),
]
Folder = Annotated[
    str | None,
    typer.Argument(metavar="[STUDY]", help="Folder or URL of a study.", show_default="the newest in out/"),
]
Data = Annotated[
    list[str] | None,
    typer.Option(metavar="[NAME=]FOLDER", help="Folder that stands in for a data set; repeat it.", show_default=False),
]


@app.callback()
def _group() -> None:
    """Measure codecs on channels that damage files."""


@app.command()
def new(
    preset: Annotated[
        str | None,
        typer.Argument(help="Preset to start from.", autocompletion=completion.complete_presets, show_default=False),
    ] = None,
    path: Annotated[Path, typer.Option("--out", help="File to write.")] = Path("study.toml"),
) -> None:
    """Write a plan file with comments, to be edited."""
    check_extras()
    from flipproof.study.preset import preset_text

    if path.exists():
        raise SpecError(f"expected a file that does not exist yet, got {path}")
    path.write_text(preset_text(preset or "template"), encoding="utf-8")
    err.print(f"{path} written; edit it, then: flipproof study run {path}", highlight=False, soft_wrap=True)


@app.command()
def presets() -> None:
    """List the plans that come with flipproof."""
    check_extras()
    from flipproof.study import preset

    for name in preset.presets():
        out.print(f"[bold]{name:10}[/bold] {preset.summary(name)}", highlight=False)


@app.command()
def run(
    plan: Name,
    results: Annotated[str | None, typer.Option("--out", help="Folder or URL.", show_default="out/NAME")] = None,
    data: Data = None,
    only: Annotated[str | None, typer.Option(help="Pictures to use, as in 01,02.", show_default=False)] = None,
    codec: Annotated[
        list[str] | None,
        typer.Option(
            help="Codec instead of the plan's; repeat it.",
            autocompletion=completion.complete_codecs,
            show_default=False,
        ),
    ] = None,
    rate: Annotated[str | None, typer.Option(help="Rates in bpp, as in 0.1,0.25.", show_default=False)] = None,
    channel: Annotated[
        list[str] | None,
        typer.Option(
            help="Channel instead of the plan's; repeat it.",
            autocompletion=completion.complete_channels,
            show_default=False,
        ),
    ] = None,
    ber: Annotated[
        str | None, typer.Option(help="Short for bsc channels, as in 0,1e-3; before any --channel.", show_default=False)
    ] = None,
    trials: Annotated[
        int | None, typer.Option(min=1, help="Damaged copies per file and channel.", show_default=False)
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            help="Metric instead of the plan's; repeat it.",
            autocompletion=completion.complete_metrics,
            show_default=False,
        ),
    ] = None,
    frame: Annotated[
        str | None, typer.Option(help="Part that is coded, as in centre[256].", show_default=False)
    ] = None,
    engine: Annotated[
        str, typer.Option(help="local, ray or serial.", autocompletion=completion.complete_engines)
    ] = "local",
    workers: Annotated[int | None, typer.Option(min=1, help="Processes.", show_default="one a processor")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of each.", show_default="an even share")] = None,
    gpus: Annotated[float, typer.Option(min=0, help="GPUs of each worker (ray).")] = 0.0,
    address: Annotated[
        str | None, typer.Option(help="Of a Ray cluster, as in 10.0.0.1:6379 or auto.", show_default="start one here")
    ] = None,
    extend: Annotated[bool, typer.Option(help="Let the plan replace that of the folder, keeping rows.")] = False,
    reporting: Annotated[bool, typer.Option("--report/--no-report", help="Write the report at the end.")] = True,
) -> None:
    """Run a study and write its report; a run that was stopped goes on where it was."""
    check_extras()
    from flipproof.study.dataset.choice import choose
    from flipproof.study.dataset.collection import open_collection
    from flipproof.study.display import Downloads
    from flipproof.study.plan import check, reduce
    from flipproof.study.run.engines import Placement, make_engine
    from flipproof.study.run.study import prepare
    from flipproof.study.series import bsc_channels
    from flipproof.study.store.store import Store

    whole = _plan(plan)
    chosen = choose(whole.pictures, data or ())
    reduced = reduce(
        whole,
        data=chosen.names,
        only=_texts(only),
        frame=frame,
        codecs=codec or (),
        rates=_numbers(rate),
        channels=[*(bsc_channels(ber) if ber else ()), *(channel or [])],
        trials=trials,
        metrics=metric or (),
    )
    check(reduced, tuple(chosen.folders))
    with Downloads() as progress:
        collection = open_collection(
            reduced.pictures, folders=chosen.folders, only=reduced.only, frame=reduced.frame, progress=progress
        )
    study = prepare(reduced, collection, _command(sys.argv))
    store = Store(results or _RESULTS / reduced.name)
    _announce(study)
    _measure(study, store, make_engine(engine, Placement(workers, threads, gpus, address)), extend)
    if reporting:
        _report(store)


@app.command()
def status(folder: Folder = None) -> None:
    """Say what a study is and how much of it is done."""
    check_extras()
    store = _store(folder)
    record = store.record()
    table = store.table()
    wrong = sum(value == "error" for value in table["status"].to_pylist())
    pictures, codecs = len(record.pictures), len(record.measured_codecs)
    out.print(
        f"{record.plan.name}: {pictures} pictures, {codecs} codecs, {len(record.channels)} channels; "
        f"{len(table) - wrong} cells done, {wrong} with errors",
        highlight=False,
    )
    _skipped(record.codecs, record.metrics, record.unreadable)


@app.command()
def report(folder: Folder = None) -> None:
    """Write the report of a study again, and its tables to the terminal."""
    check_extras()
    _report(_store(folder))


@app.command()
def sql(
    query: Annotated[
        str, typer.Argument(help="DuckDB's SQL over rows, points, pictures, codecs, channels.", show_default=False)
    ],
    folder: Folder = None,
    form: Annotated[str, typer.Option("--format", help="table, csv or json.")] = "table",
) -> None:
    """Ask a study's rows a question."""
    check_extras()
    from flipproof.study.store.layout import render
    from flipproof.study.store.query import sql as ask

    out.print(render(ask(_store(folder), query), form), soft_wrap=form != "table", highlight=False, markup=False)


@app.command()
def export(
    form: Annotated[str, typer.Argument(metavar="FORMAT", help="csv, compressai, codec-compare or latex.")],
    folder: Folder = None,
    path: Annotated[Path, typer.Option("--out", help="Folder to write to.")] = Path("export"),
) -> None:
    """Write a study's results in a format of others."""
    check_extras()
    from flipproof.study.export import export as write

    store = _store(folder)
    for written in write(form, store.table(), store.record(), path):
        out.print(str(written), highlight=False, soft_wrap=True)


@app.command()
def replay(
    key: Annotated[str, typer.Argument(help="Key of a cell, or how it begins.", show_default=False)],
    folder: Folder = None,
    path: Annotated[Path, typer.Option("--out", help="PNG file to write.")] = Path("replay.png"),
    file: Annotated[
        Path | None, typer.Option(help="Where to write the file as it was received.", show_default=False)
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(help="The picture, where the study keeps no copy.", show_default=False)
    ] = None,
) -> None:
    """Do one cell of a study again, and keep what arrived and what it decoded to."""
    check_extras()
    from PIL import Image

    from flipproof.image import to_rgb
    from flipproof.study.dataset.frame import parse
    from flipproof.study.run.replay import replay as again

    store = _store(folder)
    image = None if picture is None else parse(store.record().plan.frame).apply(to_rgb(picture))
    done = again(store, key, image)
    if file is not None:
        file.write_bytes(done.received)
    if done.result.image is None:
        err.print(f"{done.key}: no picture: {done.result.error}", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(1)
    Image.fromarray(done.result.image).save(path)
    err.print(f"{path}: {done.key}, {done.result.status}, {done.result.damage}", highlight=False, soft_wrap=True)


@app.command()
def join(
    folders: Annotated[list[str], typer.Argument(help="Folders of studies.", show_default=False)],
    results: Annotated[str, typer.Option("--out", help="Folder or URL for the whole.", show_default=False)],
) -> None:
    """Join studies that differ in their pictures alone, and report on the whole."""
    check_extras()
    from flipproof.study.store.join import join as join_studies
    from flipproof.study.store.store import Store

    _report(join_studies([Store(each) for each in folders], Store(results), _command(sys.argv)))


@app.command()
def datasets() -> None:
    """List the data sets that are known by name."""
    check_extras()
    from flipproof.study.dataset import catalogue
    from flipproof.study.dataset.fetch import ready

    for name in catalogue.names():
        one = catalogue.find(name)
        state = "here" if name == catalogue.BUNDLED or ready(one) else f"{one.megabytes:.0f} MB to download"
        out.print(f"[bold]{name}[/bold]: {one.title} ({one.terms}); {state}", highlight=False, soft_wrap=True)


@app.command()
def fetch(
    names: Annotated[
        list[str],
        typer.Argument(help="Names of data sets.", autocompletion=completion.complete_datasets, show_default=False),
    ],
) -> None:
    """Download data sets, check them, and keep them in the cache."""
    check_extras()
    from flipproof.study.dataset import catalogue
    from flipproof.study.dataset.fetch import fetch as bring
    from flipproof.study.display import Downloads

    for dataset in [catalogue.find(name) for name in names]:
        with Downloads() as progress:
            folder = bring(dataset, progress=progress)
        out.print(f"{dataset.name}: {folder}", highlight=False, soft_wrap=True)


def _plan(name: str) -> Plan:
    """Reads a plan file, or takes a preset."""
    from flipproof.study.plan import read_plan
    from flipproof.study.preset import preset

    return read_plan(name) if Path(name).suffix == ".toml" else preset(name)


def _measure(study: Study, store: Store, engine: Engine, extend: bool) -> None:
    from flipproof.study.display import Display
    from flipproof.study.run.runner import run as run_study

    try:
        with Display() as display:
            run_study(study, store, engine, display, extend=extend)
    except KeyboardInterrupt:
        err.print(
            f"stopped; what is done is in {store.folder}, and the same command goes on", highlight=False, soft_wrap=True
        )
        raise typer.Exit(_INTERRUPTED) from None


def _announce(study: Study) -> None:
    record = study.record
    _skipped(record.codecs, record.metrics, record.unreadable)
    if not study.codecs:
        raise SpecError(f"study {record.plan.name}: expected a codec that can work here, got none")


def _skipped(codecs: Sequence[CodecEntry], metrics: Sequence[MetricEntry], files: Sequence[Unreadable]) -> None:
    for codec in codecs:
        if codec.skipped:
            err.print(f"skipped: {codec.spelling}: {codec.skipped}", highlight=False, markup=False, soft_wrap=True)
    for metric in metrics:
        if metric.skipped:
            err.print(f"skipped: {metric.name}: {metric.skipped}", highlight=False, markup=False, soft_wrap=True)
    for file in files:
        err.print(f"unreadable: {file.name}: {file.reason}", highlight=False, markup=False, soft_wrap=True)


def _report(store: Store) -> None:
    """Writes the report of a study, and its tables to the terminal."""
    from flipproof.study.report.comparison import comparison
    from flipproof.study.report.page import write
    from flipproof.study.report.terminal import tables
    from flipproof.study.statistics.published import beside
    from flipproof.study.statistics.summary import summarise

    record = store.record()
    points = summarise(store.table(), record)
    console = out if out.is_terminal else Console(width=140)
    console.print(*tables(points, record), *comparison(beside(points, record)), sep="\n", highlight=False)
    folder = Path(store.root) if store.local else _RESULTS / record.plan.name
    typer.echo(f"report: {write(store, folder)}")


def _store(folder: str | None) -> Store:
    """Opens a study: the one named, or the newest under ``out``."""
    from flipproof.study.store.store import Store

    if folder is not None:
        return Store(folder)
    found = sorted(_RESULTS.glob("*/study.json"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise StoreError(f"expected the folder of a study, or one under {_RESULTS}/, got none")
    return Store(found[-1].parent)


def _texts(text: str | None) -> list[str]:
    return text.split(",") if text else []


def _numbers(text: str | None) -> list[float]:
    try:
        return [float(part) for part in _texts(text)]
    except ValueError as error:
        raise SpecError(f"expected rates as in 0.1,0.25, got {text!r}") from error


def _command(words: Sequence[str]) -> str:
    """Returns the command as it was given."""
    return shlex.join(["flipproof", *words[1:]])
