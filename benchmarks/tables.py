"""What the benchmarks that damage files share: running codecs on crops of photographs, and tables of the results."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from flipproof import registry
from flipproof.codec.base import Codec
from flipproof.study import photos
from flipproof.study.plan import Plan
from flipproof.study.run import Progress, run
from flipproof.study.series import bsc_channels, series_of
from flipproof.study.summary import Cell, summarise

__all__ = ["FIVE", "GAP", "add_options", "channels", "decibels", "measure", "names", "show"]

GAP = "–"  # noqa: RUF001 (a dash, as tables have it)
FIVE = "03,05,08,15,20"


def add_options(parser: argparse.ArgumentParser, rates: str) -> None:
    """Adds the options that :func:`measure` reads."""
    parser.add_argument("--data", type=Path, required=True, help="folder of photographs, such as Kodak's 24")
    parser.add_argument("--pictures", default=FIVE, help=f"names, or all ({FIVE})")
    parser.add_argument("--ber", default=rates, help=f"bit error rates of binary symmetric channels, or none ({rates})")
    parser.add_argument("--channel", action="append", help="another channel; repeat it")
    parser.add_argument("--trials", type=int, default=4, help="damaged copies per file and rate (4)")
    parser.add_argument("--crop", type=int, default=512, help="side of the centre crop (512)")
    parser.add_argument("--out", type=Path, help="folder to keep rows and pictures in; a stopped run goes on there")


def names(options: argparse.Namespace) -> tuple[str, ...]:
    """Returns the names of the photographs that were asked for."""
    return tuple(photos.load_folder(options.data)) if options.pictures == "all" else tuple(options.pictures.split(","))


def channels(options: argparse.Namespace) -> tuple[str, ...]:
    """Returns the canonical spellings of the channels that were asked for."""
    asked = [*(() if options.ber == "none" else bsc_channels(options.ber)), *(options.channel or [])]
    return tuple(str(registry.channel(spelling)) for spelling in asked)


def measure(options: argparse.Namespace, codecs: Mapping[str, Codec]) -> dict[str, list[Cell]]:
    """Returns the cells of every codec, in a folder that is thrown away if none is given."""
    plan = Plan("damage", names(options), tuple(codecs), channels(options), options.trials, options.crop, seed=0)
    with tempfile.TemporaryDirectory() as folder:
        rows = run(plan, photos.load_folder(options.data), codecs, options.out or Path(folder), progress=_report)
    cells = summarise(rows, plan)
    return {codec: [cell for cell in cells if cell.codec == codec] for codec in codecs}


def decibels(cell: Cell) -> str:
    """Writes the mean PSNR over all files and how many are lost; marked where a codec could not make some of them."""
    if cell.psnr_all_db is None:
        return GAP
    lost = f" ({100 * cell.failure_rate:.1f} % lost)" if cell.failures else ""
    mark = f"* ({cell.files} of {cell.files + cell.errors})" if cell.errors else ""
    return f"{cell.psnr_all_db:.2f}{mark}{lost}"


def show(cells: Mapping[str, list[Cell]], text: Callable[[Cell], str] = decibels) -> None:
    """Prints a table per series of channels: a line per codec, with its rate and what ``text`` says of each cell."""
    found = {(cell.codec, cell.channel): cell for line in cells.values() for cell in line}
    for index, series in enumerate(series_of([cell.channel for cell in next(iter(cells.values()))])):
        if series.title != "bsc":
            print("\n" * bool(index) + f"`{series.title}`\n")
        print(f"| codec | bpp | {' | '.join(series.headings)} |")
        print("|---" * (2 + len(series.headings)) + "|")
        for codec in cells:
            line = [found[codec, channel] for channel in series.channels]
            print(" | ".join([f"| `{codec}`", f"{line[0].bpp:.4f}", *map(text, line)]) + " |", flush=True)


def _report(state: Progress) -> None:
    print(f"{state.done}/{state.total} {state.label}", file=sys.stderr, flush=True)
