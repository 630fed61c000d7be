"""``flipproof study``: damages, decodes and measures, and reports."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from flipproof import registry
from flipproof.errors import SpecError
from flipproof.image import RgbImage
from flipproof.study import photos, report
from flipproof.study.extras import check_extras
from flipproof.study.join import join as join_studies
from flipproof.study.plan import Plan, preset, presets
from flipproof.study.run import Progress, channels_of, codecs_of
from flipproof.study.run import run as run_plan
from flipproof.study.series import bsc_channels
from flipproof.study.store import Store
from flipproof.study.summary import summarise

__all__ = ["app"]

app = typer.Typer(help="Measure codecs on channels that damage files.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Measure codecs on channels that damage files."""


@app.command()
def run(
    name: Annotated[str, typer.Argument(metavar="PRESET", help=f"Which study: {', '.join(presets())}.")],
    out: Annotated[Path | None, typer.Option(help="Results folder.", show_default="out/PRESET")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of pictures to use instead of the bundled ones.")] = None,
    photographs: Annotated[str | None, typer.Option(help="Names of those to use, as in 01,02; else all.")] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="Damaged copies per file and channel.")] = None,
    codec: Annotated[list[str] | None, typer.Option(help="Codec to study instead of the preset's; repeat it.")] = None,
    channel: Annotated[list[str] | None, typer.Option(help="Channel instead of the preset's; repeat it.")] = None,
    ber: Annotated[str | None, typer.Option(help="Short for bsc channels, as in 0,1e-3; before any --channel.")] = None,
) -> None:
    """Run a study and write its report; a run that was stopped goes on where it was."""
    check_extras()
    plan = preset(name)
    channels = _channels(ber, channel or []) or plan.channels
    plan = replace(plan, codecs=tuple(codec or plan.codecs), channels=channels, trials=trials or plan.trials)
    codecs, built = codecs_of(plan), channels_of(plan)
    plan, pictures = _pictures(plan, data, photographs.split(",") if photographs else [])
    options = {"out": out, "data": data, "photographs": photographs, "trials": trials, "codec": codec}
    options |= {"channel": channel, "ber": ber}
    folder = out or Path("out") / plan.name
    with _Display() as display:
        run_plan(plan, pictures, codecs, folder, _command("run", [name], options), display, built)
    _report(Store(folder))


@app.command()
def join(
    folders: Annotated[list[Path], typer.Argument(help="Folders of finished studies.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder for the whole.", show_default=False)],
) -> None:
    """Join studies that differ in their photographs alone, and report on the whole."""
    check_extras()
    _report(join_studies(folders, out, _command("join", folders, {"out": out})))


class _Display:
    """A progress bar on standard error with the time left and the files lost so far."""

    def __init__(self) -> None:
        self.bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[failures]} files without a picture"),
            console=Console(stderr=True),
            speed_estimate_period=3600,
        )
        self.task: TaskID | None = None

    def __enter__(self) -> _Display:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def __call__(self, state: Progress) -> None:
        text = escape(state.label)
        if self.task is None:
            # What an earlier run did must not count into the speed, so the task starts at it.
            self.task = self.bar.add_task(text, total=state.total, completed=state.done, failures=0)
        self.bar.update(self.task, description=text, completed=state.done, failures=state.failures)


def _channels(ber: str | None, spellings: Sequence[str]) -> tuple[str, ...]:
    """Returns the canonical spellings of the channels asked for, those of ``--ber`` first."""
    asked = [*(bsc_channels(ber) if ber else ()), *spellings]
    return tuple(str(registry.channel(spelling)) for spelling in asked)


def _pictures(plan: Plan, data: Path | None, wanted: Sequence[str]) -> tuple[Plan, dict[str, RgbImage]]:
    """Reads the pictures of a plan, or those of a folder, which then are the plan's photographs."""
    folder = None if data is None else photos.load_folder(data)
    names = tuple(wanted) or (plan.photographs if folder is None else tuple(folder))
    missing = [name for name in names if name not in (photos.names() if folder is None else folder)]
    if missing and folder is None:
        raise SpecError(f"the study {plan.name} needs --data FOLDER with its pictures ({', '.join(missing)})")
    if missing:
        raise SpecError(f"expected photographs that are in {data}, got {', '.join(missing)}")
    pictures = {name: photos.load(name) if folder is None else folder[name] for name in names}
    return replace(plan, photographs=names), pictures


def _report(store: Store) -> None:
    """Writes the report of a study, and its tables to the terminal."""
    path = report.write(store.folder)
    plan = store.record().plan
    console = Console()
    if not console.is_terminal:
        console = Console(width=120)
    console.print(*report.tables(summarise(store.rows(), plan), plan))
    typer.echo(f"report: {path}")


def _command(verb: str, arguments: Sequence[object], options: Mapping[str, object]) -> str:
    words = ["flipproof", "study", verb, *map(str, arguments)]
    for name, value in options.items():
        for each in value if isinstance(value, list) else [value]:
            words += [f"--{name}", str(each)] if each is not None else []
    return shlex.join(words)
