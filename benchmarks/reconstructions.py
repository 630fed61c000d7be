"""What the reconstruction a decoder is asked for makes of undamaged files: PSNR, LPIPS on AlexNet, and DISTS.

    python benchmarks/reconstructions.py --data KODAK --codec 'trellis[bpp=0.1]' --codec 'trellis[bpp=0.1,protect=none]'

Metrics need their weights (flipproof weights fetch lpips, flipproof weights fetch dists).
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np

from flipproof import registry
from flipproof.codec.rcc import ChainCodec
from flipproof.metric.dists import Dists
from flipproof.metric.lpips import Lpips
from flipproof.metric.psnr import psnr
from tables import add_crops, centre_crops


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add_crops(parser)
    parser.add_argument("--kinds", default="mse,crisp,sharp", help="reconstructions (mse,crisp,sharp)")
    options = parser.parse_args()
    crops = centre_crops(options)
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
