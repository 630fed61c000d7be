"""What the benchmarks that damage files share: running codecs on crops of photographs, and tables of the results."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from flipproof import registry
from flipproof.codec.base import Codec
from flipproof.image import RgbImage
from flipproof.study.dataset import bundled as photos
from flipproof.study.dataset.collection import open_collection
from flipproof.study.plan import Plan, Trials
from flipproof.study.run.engine import SerialEngine
from flipproof.study.run.progress import Progress
from flipproof.study.run.runner import run
from flipproof.study.run.study import prepare
from flipproof.study.series import bsc_channels, series_of
from flipproof.study.statistics.summary import Point, summarise
from flipproof.study.store.store import Store

__all__ = [
    "FIVE",
    "GAP",
    "add_crops",
    "add_options",
    "centre_crops",
    "channels",
    "decibels",
    "measure",
    "names",
    "show",
]

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


def add_crops(parser: argparse.ArgumentParser) -> None:
    """Adds the codecs to compare, and the options that :func:`centre_crops` reads."""
    parser.add_argument("--data", type=Path, required=True, help="folder of photographs, such as Kodak's 24")
    parser.add_argument("--codec", action="append", required=True, help="a codec that steers a chain; repeat it")
    parser.add_argument("--pictures", default="all", help="names, or all (all)")
    parser.add_argument("--crop", type=int, default=512, help="side of the centre crop (512)")


def centre_crops(options: argparse.Namespace) -> list[RgbImage]:
    """Returns the crops (H, W, 3) of the photographs that were asked for."""
    pictures = photos.load_folder(options.data)
    return [photos.centre_crop(pictures[name], options.crop) for name in names(options)]


def channels(options: argparse.Namespace) -> tuple[str, ...]:
    """Returns the canonical spellings of the channels that were asked for."""
    asked = [*(() if options.ber == "none" else bsc_channels(options.ber)), *(options.channel or [])]
    return tuple(str(registry.channel(spelling)) for spelling in asked)


def measure(
    options: argparse.Namespace, codecs: Mapping[str, Codec], metrics: tuple[str, ...] = ("psnr",)
) -> dict[str, list[Point]]:
    """Returns the points of every codec, in a folder that is thrown away if none is given."""
    plan = Plan(
        name="damage",
        pictures=(str(options.data),),
        only=names(options),
        frame=f"centre[{options.crop}]",
        codecs=tuple(codecs),
        channels=channels(options),
        trials=Trials(least=options.trials),
        metrics=metrics,
        gallery=0,
    )
    study = prepare(plan, open_collection(plan.pictures, only=plan.only, frame=plan.frame), codecs=codecs)
    with tempfile.TemporaryDirectory() as folder:
        store = Store(options.out or folder)
        run(study, store, SerialEngine(), _report)
        points = summarise(store.table(), study.record)
    return {codec: [point for point in points if point.codec == codec] for codec in codecs}


def decibels(point: Point) -> str:
    """Writes the mean PSNR over all files and how many are lost; marked where a codec could not make some of them."""
    mean = point.all_files["psnr"]
    if mean is None:
        return GAP
    lost = f" ({100 * point.failure_rate:.1f} % lost)" if point.failures else ""
    mark = f"* ({point.files} of {point.files + point.errors})" if point.errors else ""
    return f"{mean.mean:.2f}{mark}{lost}"


def show(points: Mapping[str, list[Point]], text: Callable[[Point], str] = decibels) -> None:
    """Prints a table per series of channels: a line per codec, with its rate and what ``text`` says of each cell."""
    found = {(point.codec, point.channel): point for line in points.values() for point in line}
    for index, series in enumerate(series_of([point.channel for point in next(iter(points.values()))])):
        if series.title != "bsc":
            print("\n" * bool(index) + f"`{series.title}`\n")
        print(f"| codec | bpp | {' | '.join(series.headings)} |")
        print("|---" * (2 + len(series.headings)) + "|")
        for codec in points:
            line = [found[codec, channel] for channel in series.channels]
            rate = f"{line[0].bpp:.4f}" if line[0].files else GAP
            print(" | ".join([f"| `{codec}`", rate, *map(text, line)]) + " |", flush=True)


def _report(state: Progress) -> None:
    print(f"{state.done}/{state.total} {state.label}", file=sys.stderr, flush=True)
