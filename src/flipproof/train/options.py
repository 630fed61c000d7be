"""Options that training commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

__all__ = [
    "Data",
    "Device",
    "Every",
    "LearningRate",
    "Minutes",
    "Out",
    "Resume",
    "Seed",
    "Threads",
]

Data: TypeAlias = Annotated[Path, typer.Option(help="Folder with index.tsv and *.tar of photographs.")]
Out: TypeAlias = Annotated[Path, typer.Option(help="Folder for checkpoint, weights and log.")]
Resume: TypeAlias = Annotated[bool, typer.Option(help="Go on from the checkpoint in the output folder.")]
Minutes: TypeAlias = Annotated[float, typer.Option(min=0, help="Time to train for, over all runs of a folder.")]
LearningRate: TypeAlias = Annotated[float, typer.Option(min=0, help="Peak of the schedule.")]
Seed: TypeAlias = Annotated[int, typer.Option(min=0)]
Every: TypeAlias = Annotated[float, typer.Option(min=0, help="Seconds between checkpoints.")]
Threads: TypeAlias = Annotated[int, typer.Option(min=1, help="CPU threads.")]
Device: TypeAlias = Annotated[str, typer.Option(help="cpu or cuda.")]
