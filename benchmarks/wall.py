"""A wall of photographs through the default codec: the least squared error, sharpened, and with flipped bits.

Rows are photographs; columns the original, the decoded file, the same with reconstruction=sharp, and decoded after
flips at a bit error rate of 0.001 and of 0.01. Files are of centre crops of 512x512; the middle of each is shown.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

import flipproof
from flipproof import registry, seeds
from flipproof.channel.bsc import BinarySymmetricChannel
from flipproof.image import RgbImage
from flipproof.study.dataset import bundled as photos

RATES = (1e-3, 1e-2)
GAP = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of photographs")
    parser.add_argument("--pictures", required=True, help="names separated by commas")
    parser.add_argument("--codec", default="trellis[bpp=0.1]", help="a codec that steers a chain (trellis[bpp=0.1])")
    parser.add_argument("--side", type=int, default=288, help="pixels of each crop that are shown (288)")
    parser.add_argument("--out", type=Path, default=Path("wall.png"))
    options = parser.parse_args()
    pictures = photos.load_folder(options.data)
    rows = [row(photos.centre_crop(pictures[name], 512), name, options) for name in options.pictures.split(",")]
    Image.fromarray(np.concatenate(rows)).quantize(256).save(options.out, optimize=True)


def row(crop: RgbImage, name: str, options: argparse.Namespace) -> RgbImage:
    """Returns the columns of a photograph side by side."""
    data = registry.codec(options.codec).encode(crop)
    shown = [crop, flipproof.decode(data).picture, flipproof.decode(data, reconstruction="sharp").picture]
    for rate in RATES:
        rng = seeds.generator(purpose="wall", photograph=name, rate=rate)
        shown.append(flipproof.decode(BinarySymmetricChannel(rate).corrupt(data, rng)).picture)
    cells = [np.pad(photos.centre_crop(picture, options.side), ((0, GAP), (0, GAP), (0, 0))) for picture in shown]
    return np.concatenate(cells, axis=1)


if __name__ == "__main__":
    main()
