"""What the reconstruction a decoder is asked for makes of undamaged files: PSNR, LPIPS on AlexNet, and DISTS.

    python benchmarks/reconstructions.py --data KODAK --codec 'trellis[bpp=0.1]' --codec 'trellis[bpp=0.1,protect=none]'

Metrics need their weights (flipproof weights fetch lpips, flipproof weights fetch dists).
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from flipproof import registry
from flipproof.codec.rcc import ChainCodec
from flipproof.metric.dists import Dists
from flipproof.metric.lpips import Lpips
from flipproof.metric.psnr import psnr
from flipproof.study.dataset import bundled as photos
from tables import names


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of photographs, such as Kodak's 24")
    parser.add_argument("--codec", action="append", required=True, help="a codec that steers a chain; repeat it")
    parser.add_argument("--kinds", default="mse,crisp,sharp", help="reconstructions (mse,crisp,sharp)")
    parser.add_argument("--pictures", default="all", help="names, or all (all)")
    parser.add_argument("--crop", type=int, default=512, help="side of the centre crop (512)")
    options = parser.parse_args()
    pictures = photos.load_folder(options.data)
    crops = [photos.centre_crop(pictures[name], options.crop) for name in names(options)]
    distances = Lpips.load("alex"), Dists.load()
    print("| codec | reconstruction | PSNR (dB) | LPIPS (Alex) | DISTS |\n|---|---|---|---|---|")
    for spelling in options.codec:
        codec: ChainCodec = registry.codec(spelling)
        files = [codec.encode(crop) for crop in crops]
        for kind in options.kinds.split(","):
            decoder = replace(codec, reconstruction=kind)
            shown = [decoder.decode(data).picture for data in files]
            quality = np.mean([psnr(a, b) for a, b in zip(shown, crops, strict=True)])
            cells = [f"{distance.many(shown, crops).mean():.3f}" for distance in distances]
            print(f"| `{spelling}` | {kind} | {quality:.2f} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
