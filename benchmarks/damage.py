"""What damage on the way costs a codec, in PSNR over all files.

Centre crops of photographs are encoded once per codec; copies of every whole file, header included, pass channels
(binary symmetric ones, unless others are named) and are decoded. A file without a picture counts as mid-gray; rates
count whole files. Without --pictures and --codec these are five Kodak crops with and without protection of the
payload, beside the prototype that the design was based on, which protected nothing and counted index bits alone.
With --out the rows stay, and a stopped run goes on; the folder also gets pictures and the files of
`flipproof study run`.

--details adds what others publish beside it: the share of files without a picture, with its exact 95 % interval, and
PSNR over the files that do have one, which says nothing about the others: a codec looks the better the more of its bad
files it loses. With --out there is LPIPS (AlexNet) of these too, over the first damaged copy of each file.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable

from flipproof import registry
from flipproof.image import to_rgb
from flipproof.metric.lpips import Lpips
from flipproof.study.store import Store
from flipproof.study.summary import Cell
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
    cells = measure(options, {spelling: registry.codec(spelling) for spelling in codecs})
    show(cells)
    if (options.pictures, codecs, options.ber, options.channel) == (FIVE, CODECS, RATES, None):
        print(PROTOTYPE)
    print(f"\nMean PSNR in dB over {len(names(options))} pictures, {options.trials} damaged copies each.")
    if any(cell.errors for line in cells.values() for cell in line):
        print("* of the files that the codec could make: comparable with no other mean.")
    if options.details:
        print("\nFiles without a picture, in percent, with the exact 95 % interval\n")
        show(cells, _lost)
        print("\nMean PSNR in dB over the files with a picture\n")
        show(cells, _decodable)
        if options.out:
            print("\nMean LPIPS (AlexNet) over the files with a picture, first copy of each\n")
            show(cells, _distance(options))


def _lost(cell: Cell) -> str:
    return f"{100 * cell.failure_rate:.1f} [{100 * cell.failure_low:.1f}, {100 * cell.failure_high:.1f}]"


def _decodable(cell: Cell) -> str:
    return GAP if cell.psnr_db is None else f"{cell.psnr_db:.2f} ({cell.files - cell.failures})"


def _distance(options: argparse.Namespace) -> Callable[[Cell], str]:
    """Makes what measures the pictures that a run keeps."""
    store, metric = Store(options.out), Lpips.load("alex")

    def text(cell: Cell) -> str:
        paths = {name: store.picture_path(name, cell.codec, cell.channel) for name in names(options)}
        pairs = [(to_rgb(path), to_rgb(store.original_path(name))) for name, path in paths.items() if path.is_file()]
        values = [metric(*pair) for pair in pairs]
        return f"{statistics.fmean(values):.3f} ({len(values)})" if values else GAP

    return text


if __name__ == "__main__":
    main()
