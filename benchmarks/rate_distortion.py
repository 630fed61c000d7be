"""Rate and distortion without errors on the way: what each codec makes of each bit.

    python benchmarks/rate_distortion.py --data KODAK --out out/rd --codec jpeg --codec 'tracks[precision=bfloat16]'

Centre crops of photographs are encoded at each rate and decoded again; rates count whole files. Every measured file
is a line of `points.csv` in the folder --out, and is not measured again: a stopped run goes on, and the work can be
shared between processes that each have a folder, and joined by naming all folders in one more call (new lines go to
the first). A rate that a codec cannot reach is a gap: nothing is put in its place. Last come tables of means, of
Bjontegaard deltas against the anchors, and a figure.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
from collections.abc import Mapping
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path
from time import perf_counter
from typing import get_args, get_type_hints

from flipproof import registry
from flipproof.errors import DecodeError, RateError
from flipproof.image import RgbImage
from flipproof.metric.lpips import lpips_alex
from flipproof.metric.ms_ssim import ms_ssim
from flipproof.metric.psnr import psnr
from flipproof.metric.ssimulacra2 import ssimulacra2
from flipproof.study.dataset import bundled as photos
from flipproof.study.report.figures import save_png
from rate_tables import Point, draw, show
from tables import names

RATES = "0.1,0.15,0.25,0.5,1.0"
ANCHORS = "jpeg,bpg"
FILE = "points.csv"


@dataclass(frozen=True)
class Folder:
    """Where measured points are kept."""

    path: Path

    def points(self) -> list[Point]:
        """Reads them; a last line that was cut off in writing is left out."""
        if not self._file.exists():
            return []
        text = self._file.read_text(encoding="utf-8")
        return [_point(line) for line in csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1]))]

    def open(self) -> None:
        """Makes the file, or drops the line of it that was cut off."""
        self.path.mkdir(parents=True, exist_ok=True)
        points = self.points()
        with self._file.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerows([[each.name for each in fields(Point)], *map(astuple, points)])

    def append(self, point: Point) -> None:
        """Adds a point; it is on disk when this returns."""
        with self._file.open("a", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerow(astuple(point))

    @property
    def _file(self) -> Path:
        return self.path / FILE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of photographs, such as Kodak's 24")
    parser.add_argument("--codec", action="append", required=True, help="codec with a parameter bpp; repeat it")
    parser.add_argument("--bpp", default=RATES, help=f"rates of whole files, in bits per pixel ({RATES})")
    parser.add_argument("--pictures", default="all", help="names, or all (all)")
    parser.add_argument("--crop", type=int, default=512, help="side of the centre crop (512)")
    parser.add_argument("--out", type=Path, action="append", required=True, help="folder of points; repeat it to join")
    parser.add_argument("--anchor", default=ANCHORS, help=f"codecs to compare with, if measured ({ANCHORS})")
    parser.add_argument("--figure", type=Path, help="where the figure goes (rate_distortion.png in the first folder)")
    options = parser.parse_args()
    points = collect(options)
    show(points, options.codec, names(options), options.anchor.split(","))
    save_png(draw(points, options.codec, names(options)), options.figure or options.out[0] / "rate_distortion.png")


def collect(options: argparse.Namespace) -> list[Point]:
    """Returns the points that were asked for, measuring those that no folder has."""
    wanted = [
        Point(codec, picture, options.crop, float(rate))
        for picture in names(options)
        for codec in options.codec
        for rate in options.bpp.split(",")
    ]
    for point in wanted:
        registry.codec(point.codec, bpp=point.asked)
    folders = [Folder(path) for path in options.out]
    folders[0].open()
    found = {point.key: point for folder in folders for point in folder.points()}
    missing = [point for point in wanted if point.key not in found]
    crops = {name: photos.centre_crop(image, options.crop) for name, image in photos.load_folder(options.data).items()}
    for index, point in enumerate(missing):
        print(f"{index}/{len(missing)} {point.codec} at {point.asked} bpp on {point.picture}", file=sys.stderr)
        found[point.key] = measure(point, crops)
        folders[0].append(found[point.key])
    return [found[point.key] for point in wanted]


def measure(point: Point, crops: Mapping[str, RgbImage]) -> Point:
    """Returns a point with what is measured, or with the reason why it cannot be."""
    codec, crop = registry.codec(point.codec, bpp=point.asked), crops[point.picture]
    start = perf_counter()
    try:
        data = codec.encode(crop)
    except RateError as error:
        return replace(point, error=f"rate: {error}")
    encoded = perf_counter()
    try:
        picture = codec.decode(data).picture
    except DecodeError as error:
        return replace(point, error=f"decoding: {error}")
    decoded = perf_counter()
    return replace(
        point,
        file_bytes=len(data),
        bpp=8 * len(data) / (crop.shape[0] * crop.shape[1]),
        psnr=psnr(picture, crop),
        ms_ssim=ms_ssim(picture, crop),
        lpips=lpips_alex(picture, crop),
        ssimulacra2=ssimulacra2(picture, crop),
        encode_seconds=encoded - start,
        decode_seconds=decoded - encoded,
    )


def _point(line: Mapping[str, str]) -> Point:
    values = {}
    for name, hint in get_type_hints(Point).items():
        kind = get_args(hint)[0] if get_args(hint) else hint
        values[name] = None if line[name] == "" and kind is not str else kind(line[name])
    return Point(**values)


if __name__ == "__main__":
    main()
