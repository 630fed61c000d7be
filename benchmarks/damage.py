"""What damage on the way costs a codec, in PSNR over all files.

Centre crops of photographs are encoded once per codec; copies of every whole file, header included, pass channels
(binary symmetric ones, unless others are named) and are decoded. A file without a picture counts as mid-gray; rates
count whole files. Without --pictures and --codec these are five Kodak crops with and without protection of the
payload, beside the prototype that the design was based on, which protected nothing and counted index bits alone.
With --out the rows stay, and a stopped run goes on; the folder also gets pictures and the files of
`flipproof study run`.

--details adds what others publish beside it: the share of files without a picture, with its exact 95 % interval, and
PSNR over the files that do have one, which says nothing about the others: a codec looks the better the more of its bad
files it loses; and LPIPS (AlexNet) over all files, one without a picture counting as mid-gray.
"""

from __future__ import annotations

import argparse

from flipproof import registry
from flipproof.study.statistics.summary import Point
from tables import FIVE, GAP, add_options, measure, names, show

CODECS = ("tracks[bpp=0.088]", "tracks[bpp=0.088,protect=none]")
RATES = "0,0.001,0.01,0.03"
PROTOTYPE = "| prototype, no protection | 0.088 | 24.75 | 24.46 | 22.05 | 18.15 |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add_options(parser, RATES)
    parser.add_argument("--codec", action="append", help="codec instead of the two defaults; repeat it")
    parser.add_argument("--details", action="store_true", help="also lost files, and the quality of the others")
    options = parser.parse_args()
    codecs = tuple(options.codec or CODECS)
    metrics = ("psnr", "lpips-alex") if options.details else ("psnr",)
    points = measure(options, {spelling: registry.codec(spelling) for spelling in codecs}, metrics)
    show(points)
    if (options.pictures, codecs, options.ber, options.channel) == (FIVE, CODECS, RATES, None):
        print(PROTOTYPE)
    print(f"\nMean PSNR in dB over {len(names(options))} pictures, {options.trials} damaged copies each.")
    if any(point.errors for line in points.values() for point in line):
        print("* of the files that the codec could make: comparable with no other mean.")
    if options.details:
        print("\nFiles without a picture, in percent, with the exact 95 % interval\n")
        show(points, _lost)
        print("\nMean PSNR in dB over the files with a picture\n")
        show(points, _decodable)
        print("\nMean LPIPS (AlexNet) over all files\n")
        show(points, _distance)


def _lost(point: Point) -> str:
    return f"{100 * point.failure_rate:.1f} [{100 * point.failure_low:.1f}, {100 * point.failure_high:.1f}]"


def _decodable(point: Point) -> str:
    mean = point.decodable["psnr"]
    return GAP if mean is None else f"{mean.mean:.2f} ({point.files - point.failures})"


def _distance(point: Point) -> str:
    mean = point.all_files.get("lpips-alex")
    return GAP if mean is None else f"{mean.mean:.3f}"


if __name__ == "__main__":
    main()
