"""What files made in one precision become in another: mean PSNR over photographs, rows made in, columns decoded in.

python benchmarks/precisions.py --data KODAK --codec 'trellis[bpp=0.1]' --codec 'trellis[bpp=0.5]'
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np

from flipproof import registry
from flipproof.codec.rcc import ChainCodec
from flipproof.metric.psnr import psnr
from tables import add_crops, centre_crops


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add_crops(parser)
    parser.add_argument("--precisions", default="float32,bfloat16,int8", help="(float32,bfloat16,int8)")
    options = parser.parse_args()
    crops = centre_crops(options)
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
