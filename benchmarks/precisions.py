"""What files made in one precision become in another: mean PSNR over photographs, rows made in, columns decoded in.

python benchmarks/precisions.py --data KODAK --codec 'trellis[bpp=0.1]' --codec 'trellis[bpp=0.5]'
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from flipproof import registry
from flipproof.codec.rcc import ChainCodec
from flipproof.metric.psnr import psnr
from flipproof.study.dataset import bundled as photos
from tables import names


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of photographs, such as Kodak's 24")
    parser.add_argument("--codec", action="append", required=True, help="a codec that steers a chain; repeat it")
    parser.add_argument("--precisions", default="float32,bfloat16,int8", help="(float32,bfloat16,int8)")
    parser.add_argument("--pictures", default="all", help="names, or all (all)")
    parser.add_argument("--crop", type=int, default=512, help="side of the centre crop (512)")
    options = parser.parse_args()
    pictures = photos.load_folder(options.data)
    crops = [photos.centre_crop(pictures[name], options.crop) for name in names(options)]
    precisions = options.precisions.split(",")
    print(f"| codec | made in | {' | '.join(precisions)} |\n|---|---|{'---|' * len(precisions)}")
    for spelling in options.codec:
        codec: ChainCodec = registry.codec(spelling)
        for made in precisions:
            files = [replace(codec, precision=made).encode(crop) for crop in crops]
            quality = []
            for precision in precisions:
                shown = [replace(codec, precision=precision).decode(data).picture for data in files]
                quality.append(np.mean([psnr(a, b) for a, b in zip(shown, crops, strict=True)]))
            print(f"| `{spelling}` | {made} | {' | '.join(f'{mean:.2f}' for mean in quality)} |", flush=True)


if __name__ == "__main__":
    main()
