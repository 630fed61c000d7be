"""Options that training commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

__all__ = [
    "Batch",
    "Data",
    "Device",
    "Every",
    "FirstWeights",
    "HeldPairs",
    "LearningRate",
    "Minutes",
    "Out",
    "PairsFolder",
    "Patch",
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
PairsFolder: TypeAlias = Annotated[Path, typer.Option("--pairs", help="Folder that train pairs filled.")]
HeldPairs: TypeAlias = Annotated[Path | None, typer.Option(help="Folder of pairs to check on.")]
FirstWeights: TypeAlias = Annotated[
    Path | None, typer.Option(help="Weights of a last prior to go on from; without, those of the prior.")
]
Batch: TypeAlias = Annotated[int, typer.Option(min=1, help="Patches per step.")]
Patch: TypeAlias = Annotated[int, typer.Option(min=96, max=256, help="Side of a patch, a multiple of 16.")]
