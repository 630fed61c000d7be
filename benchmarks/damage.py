"""What a channel that flips bits costs a codec, in PSNR over all files.

Centre crops of photographs are encoded once per codec; copies of every whole file, header included, pass a binary
symmetric channel and are decoded. A file without a picture counts as mid-gray; rates count whole files. Without
--pictures and --codec these are five Kodak crops with and without the protection of the first steps, beside the
prototype that the design was based on, which protected nothing and counted index bits alone. With --out the rows stay,
and a stopped run goes on; the folder also gets pictures and the files of `flipproof study run`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from flipproof.image import RgbImage
from flipproof.study import photos
from flipproof.study.plan import Plan
from flipproof.study.run import Progress, codecs_of, run
from flipproof.study.summary import Cell, summarise

PICTURES = ("03", "05", "08", "15", "20")
CODECS = ("tracks[bpp=0.088]", "tracks[bpp=0.088,protected_share=0]")
RATES = (0.0, 1e-3, 1e-2, 3e-2)
PROTOTYPE = "| prototype, no protection | 0.088 | 24.75 | 24.46 | 22.05 | 18.15 |"


def main() -> None:
    options = _options()
    pictures = photos.load_folder(options.data)
    names = tuple(pictures) if options.pictures == "all" else tuple(options.pictures.split(","))
    codecs, rates = tuple(options.codec or CODECS), tuple(map(float, options.ber.split(",")))
    plan = Plan("damage", names, codecs, rates, options.trials, options.crop, seed=0)
    cells = _cells(plan, pictures, options.out)
    print(f"| codec | bpp | {' | '.join('no errors' if not rate else f'BER {rate:g}' for rate in rates)} |")
    print("|---" * (2 + len(rates)) + "|")
    for codec in codecs:
        print(_line([cell for cell in cells if cell.codec == codec]))
    if (names, codecs, rates) == (PICTURES, CODECS, RATES):
        print(PROTOTYPE)
    print(f"\nMean PSNR in dB over {len(names)} pictures, {options.trials} damaged copies each.")


def _cells(plan: Plan, pictures: dict[str, RgbImage], out: Path | None) -> list[Cell]:
    """Runs the plan, in a folder that is thrown away if none is given."""
    with tempfile.TemporaryDirectory() as folder:
        rows = run(plan, pictures, codecs_of(plan), out or Path(folder), progress=_report)
    return summarise(rows, plan)


def _line(cells: list[Cell]) -> str:
    values = ["–" if cell.psnr_all_db is None else _decibels(cell) for cell in cells]  # noqa: RUF001 (a dash)
    return " | ".join([f"| `{cells[0].codec}`", f"{cells[0].bpp:.4f}", *values]) + " |"


def _decibels(cell: Cell) -> str:
    lost = f" ({100 * cell.failure_rate:.1f} % lost)" if cell.failures else ""
    return f"{cell.psnr_all_db:.2f}{lost}"


def _report(state: Progress) -> None:
    print(f"{state.done}/{state.total} {state.label}", file=sys.stderr, flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of photographs, such as Kodak's 24")
    parser.add_argument("--pictures", default=",".join(PICTURES), help="names, or all (03,05,08,15,20)")
    parser.add_argument("--codec", action="append", help="codec instead of the two defaults; repeat it")
    parser.add_argument("--ber", default=",".join(f"{rate:g}" for rate in RATES), help="ascending bit error rates")
    parser.add_argument("--trials", type=int, default=4, help="damaged copies per file and rate (4)")
    parser.add_argument("--crop", type=int, default=512, help="side of the centre crop (512)")
    parser.add_argument("--out", type=Path, help="folder to keep rows and pictures in")
    return parser.parse_args()


if __name__ == "__main__":
    main()
