"""Progress of a study on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as Bar

if TYPE_CHECKING:
    from flipproof.study.run.progress import Progress

__all__ = ["Display", "Downloads"]


class Display:
    """A progress bar on standard error with the time left and the files lost so far; a context manager."""

    def __init__(self) -> None:
        self.bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[losses]}"),
            console=Console(stderr=True),
            speed_estimate_period=600,
        )
        self.task: TaskID | None = None

    def __enter__(self) -> Display:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def __call__(self, state: Progress) -> None:
        """Shows where the study stands."""
        if self.task is None:
            # What an earlier run did must not count into the speed, so the task starts at it.
            self.task = self.bar.add_task("", total=state.total, completed=state.earlier, losses="")
        losses = f"{state.failures} without a picture" + (f", {state.errors} errors" if state.errors else "")
        self.bar.update(
            self.task, description=escape(state.label), total=state.total, completed=state.done, losses=losses
        )


class Downloads:
    """A progress bar on standard error for each file that is downloaded; a context manager."""

    def __init__(self) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        self.bar = Bar(*columns, console=Console(stderr=True))
        self.tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Downloads:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def __call__(self, file: str, have: int, total: int) -> None:
        """Shows how much of a file is here."""
        if file not in self.tasks:
            self.tasks[file] = self.bar.add_task(escape(file), total=total)
        self.bar.update(self.tasks[file], completed=have)
