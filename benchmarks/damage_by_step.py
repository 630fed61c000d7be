"""What flips at each place of a payload cost a codec: the table that unequal protection is solved from.

Centre crops of photographs are encoded once without protection. In copies of every payload the bits of one
thirty-second, in coding order, are flipped with a given probability, and the copies decoded. The table has the squared
error that a flip of every bit of the thirty-second would add, in units of the squared error without flips, extrapolated
from the flips made.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from flipproof import registry, seeds
from flipproof.codec.rcc import ChainCodec
from flipproof.codec.reception import spans
from flipproof.codec.target import to_picture
from flipproof.container import unpack
from flipproof.image import RgbImage
from flipproof.study.dataset import bundled as photos

BINS = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of photographs")
    parser.add_argument("--pictures", help="names separated by commas; all if missing")
    parser.add_argument("--crop", type=int, default=512)
    parser.add_argument("--codec", default="tracks[bpp=0.075,protect=none]", help="a codec without protection")
    parser.add_argument("--ber", type=float, default=0.02, help="flips within the thirty-second")
    parser.add_argument("--trials", type=int, default=2)
    options = parser.parse_args()
    codec = registry.codec(options.codec)
    pictures = photos.load_folder(options.data)
    names = options.pictures.split(",") if options.pictures else sorted(pictures)
    rows = []
    for name in names:
        crop = photos.centre_crop(pictures[name], options.crop)
        rows.append(added(codec, crop, options.ber, options.trials, name))
        print(name, " ".join(f"{value:.2f}" for value in rows[-1]), flush=True)
    print("mean ", " ".join(f"{value:.3f}" for value in np.mean(rows, axis=0)))
    print("geometric mean", " ".join(f"{value:.3f}" for value in np.exp(np.log(np.maximum(rows, 0.05)).mean(axis=0))))
    print("error", " ".join(f"{value:.3f}" for value in np.std(rows, axis=0, ddof=1) / len(rows) ** 0.5))


def added(codec: ChainCodec, crop: RgbImage, ber: float, trials: int, name: str) -> list[float]:
    """Returns the squared error per flip rate that each thirty-second adds, over that without flips."""
    file = unpack(codec.encode(crop))
    _, script = codec.open(file)
    bits = file.payload(script.payload_size).bits[: spans(script)[-1][1]]
    clean = _errors(codec, script, bits[None], crop)[0]
    edges = np.linspace(0, len(bits), BINS + 1).astype(int)
    values = []
    for index in range(BINS):
        copies = np.repeat(bits[None], trials, axis=0)
        rng = seeds.generator(purpose="damage by step", photograph=name, index=index)
        part = copies[:, edges[index] : edges[index + 1]]
        flips = rng.random(part.shape) < ber
        part ^= flips
        values.append(float((_errors(codec, script, copies, crop).mean() / clean - 1) / max(flips.mean(), 1e-9)))
    return values


def _errors(codec: ChainCodec, script: object, bits: np.ndarray, crop: RgbImage) -> np.ndarray:
    pictures = codec.replay(script, bits, np.ones(bits.shape[1], bool))
    differences = (to_picture(picture).astype(float) - crop for picture in pictures)
    return np.array([np.mean(difference**2) for difference in differences])


if __name__ == "__main__":
    main()
