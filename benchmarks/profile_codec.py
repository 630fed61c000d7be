"""Where the time of encoding and decoding goes, by what is called.

A photograph is encoded and decoded under cProfile, after once to warm up. The lines are times of calls with all that
they call in turn, of parts that do not overlap, and what is left. Whole seconds are medians without the profiler.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from flipproof import registry
from flipproof.codec.base import Codec
from flipproof.image import RgbImage
from flipproof.study.dataset import bundled as photos

PARTS = {
    "denoiser, fine and coarse": ("small.py", ("denoise", "refine")),
    "search of the trellis": ("trellis.py", ("select_trellis",)),
    "codewords to samples": ("trellis.py", ("spread",)),
    "rotations": ("rotated.py", ("analyse", "combine")),
    "header, codes and interleaving": ("container.py", ("pack", "unpack", "payload")),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of photographs")
    parser.add_argument("--picture", default="01", help="name of the photograph, taken whole (01)")
    parser.add_argument("--codec", default="trellis", help="codec with a parameter bpp (trellis)")
    parser.add_argument("--bpp", default="0.1,0.5", help="rates (0.1,0.5)")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    picture = photos.load_folder(options.data)[options.picture]
    print(f"| bpp | | {' | '.join(PARTS)} | rest | whole s |\n|---|---|{'---|' * len(PARTS)}---|---|")
    for bpp in map(float, options.bpp.split(",")):
        _print_rate(registry.codec(options.codec, bpp=bpp), picture, bpp, options.repeats)


def _print_rate(codec: Codec, picture: RgbImage, bpp: float, repeats: int) -> None:
    data = codec.encode(picture)
    for name, call in (("encode", lambda: codec.encode(picture)), ("decode", lambda: codec.decode(data))):
        shares = _shares(call)
        cells = [f"{100 * share:.0f} %" for share in (*shares, 1 - sum(shares))]
        print(f"| {bpp:g} | {name} | {' | '.join(cells)} | {_median(call, repeats):.2f} |", flush=True)


def _shares(call: Callable[[], object]) -> list[float]:
    """Returns the share of every part in one call."""
    profile = cProfile.Profile()
    profile.runcall(call)
    stats = pstats.Stats(profile)
    rows = {(Path(file).name, name): row[3] for (file, _, name), row in stats.stats.items()}  # type: ignore[attr-defined]
    whole = stats.total_tt  # type: ignore[attr-defined]
    return [sum(rows.get((file, name), 0.0) for name in names) / whole for file, names in PARTS.values()]


def _median(call: Callable[[], object], repeats: int) -> float:
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


if __name__ == "__main__":
    main()
