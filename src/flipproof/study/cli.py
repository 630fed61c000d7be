"""``flipproof study``: corrupts, decodes and measures, and reports."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from flipproof.errors import SpecError
from flipproof.image import RgbImage
from flipproof.study import photos, report
from flipproof.study.extras import check_extras
from flipproof.study.plan import Plan, preset, presets
from flipproof.study.run import Progress, codecs_of
from flipproof.study.run import run as run_plan
from flipproof.study.summary import summarise

__all__ = ["app"]

app = typer.Typer(help="Measure codecs under bit flips.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Measure codecs under bit flips."""


@app.command()
def run(
    name: Annotated[str, typer.Argument(metavar="PRESET", help=f"Which study: {', '.join(presets())}.")],
    out: Annotated[Path | None, typer.Option(help="Results folder.", show_default="out/PRESET")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of pictures to use instead of the bundled ones.")] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="Corrupted copies per file and rate.")] = None,
    codec: Annotated[list[str] | None, typer.Option(help="Codec to study instead of the preset's; repeat it.")] = None,
) -> None:
    """Run a study and write its report; a run that was stopped goes on where it was."""
    check_extras()
    plan = preset(name)
    plan = replace(plan, codecs=tuple(codec or plan.codecs), trials=trials or plan.trials)
    codecs = codecs_of(plan)
    plan, pictures = _pictures(plan, data)
    folder = out or Path("out") / plan.name
    with _Display() as display:
        rows = run_plan(plan, pictures, codecs, folder, _command(name, out, data, trials, codec), display)
    path = report.write(folder)
    console = Console()
    if not console.is_terminal:
        console = Console(width=120)
    console.print(report.table(summarise(rows, plan), plan))
    typer.echo(f"report: {path}")


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


def _pictures(plan: Plan, data: Path | None) -> tuple[Plan, dict[str, RgbImage]]:
    """Reads the pictures of a plan, or those of a folder, which then are the plan's photographs."""
    if data is None:
        missing = [name for name in plan.photographs if name not in photos.names()]
        if missing:
            raise SpecError(f"the study {plan.name} needs --data FOLDER with its pictures ({', '.join(missing)})")
        return plan, {name: photos.load(name) for name in plan.photographs}
    pictures = photos.load_folder(data)
    return replace(plan, photographs=tuple(pictures)), pictures


def _command(name: str, out: Path | None, data: Path | None, trials: int | None, codecs: list[str] | None) -> str:
    words = ["flipproof", "study", "run", name]
    words += ["--out", str(out)] if out else []
    words += ["--data", str(data)] if data else []
    words += ["--trials", str(trials)] if trials else []
    words += [word for spelling in codecs or [] for word in ("--codec", spelling)]
    return shlex.join(words)
