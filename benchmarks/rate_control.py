"""What a prefix of a file is worth, and what it costs to hit a PSNR.

One file per photograph is decoded from prefixes of several lengths and compared with files encoded for those lengths.
Then photographs are encoded at wanted PSNRs; rates tried and denoiser calls are counted, beside those of one encoding.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np

from flipproof import registry
from flipproof.image import RgbImage
from flipproof.metric.psnr import psnr
from flipproof.prior.small import SmallPrior
from flipproof.rate import encode_at_psnr
from flipproof.study.dataset import bundled as photos

PICTURES = "03,05,08,15,20"
RATE = 0.5
SHARES = (0.1, 0.2, 0.35, 0.5, 0.7, 1.0)
TARGETS = (24.0, 27.0, 30.0)


@dataclass
class Calls:
    """Calls of the denoiser, in evaluations of one picture at full resolution."""

    pixels: float = 0.0

    def of(self, picture: RgbImage) -> float:
        """Returns how many evaluations of a picture they are worth."""
        return self.pixels / (picture.shape[0] * picture.shape[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of photographs, such as Kodak's 24")
    parser.add_argument("--pictures", default=PICTURES, help=f"names ({PICTURES})")
    parser.add_argument("--codec", default="tracks[protect=none]", help="codec with a parameter bpp")
    parser.add_argument("--crop", type=int, default=512, help="side of the centre crop (512)")
    options = parser.parse_args()
    folder = photos.load_folder(options.data)
    crops = [photos.centre_crop(folder[name], options.crop) for name in options.pictures.split(",")]
    _prefixes(options.codec, crops)
    _targets(options.codec, crops)


def _prefixes(name: str, crops: list[RgbImage]) -> None:
    codec = registry.codec(name, bpp=RATE)
    files = [codec.encode(crop) for crop in crops]
    print(f"| share of a file of {RATE:g} bpp | bpp | prefix | encoded for it |\n|---|---|---|---|")
    for share in SHARES:
        prefix = [psnr(codec.decode(data, share).picture, crop) for data, crop in zip(files, crops, strict=True)]
        own = codec.with_rate(share * RATE)
        fresh = [psnr(own.decode(own.encode(crop)).picture, crop) for crop in crops]
        print(f"| {share:.2f} | {share * RATE:.3f} | {np.mean(prefix):.2f} | {np.mean(fresh):.2f} |", flush=True)


def _targets(name: str, crops: list[RgbImage]) -> None:
    print("\n| wanted dB | got dB | bpp | rates tried | denoiser calls | of one encoding |\n|---|---|---|---|---|---|")
    for target in TARGETS:
        rows = [_target(name, crop, target) for crop in crops]
        got, bpp, trials, calls, single = np.mean(rows, axis=0)
        print(f"| {target:g} | {got:.2f} | {bpp:.3f} | {trials:.1f} | {calls:.1f} | {single:.1f} |", flush=True)


def _target(name: str, crop: RgbImage, target: float) -> tuple[float, ...]:
    codec = registry.codec(name)
    with counting() as calls:
        found = encode_at_psnr(codec, crop, target)
    with counting() as single:
        codec.with_rate(found.bpp).encode(crop)
    return found.psnr, found.bpp, found.trials, calls.of(crop), single.of(crop)


@contextmanager
def counting() -> Iterator[Calls]:
    """Counts the pixels that the shipped prior works on."""
    calls, evaluate = Calls(), SmallPrior._evaluate

    def counted(self: SmallPrior, y: object, sigma: float, refine: float) -> object:
        calls.pixels += y.shape[0] * y.shape[2] * y.shape[3] * (4 if refine else 1)
        return evaluate(self, y, sigma, refine)

    with mock.patch.object(SmallPrior, "_evaluate", counted):
        yield calls


if __name__ == "__main__":
    main()
