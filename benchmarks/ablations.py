"""What each choice of the family is worth: steps, budgets, windows, tracks, codebooks, precision, reconstructions.

Damaged copies of five Kodak crops per codec, PSNR over all files, as in damage.py; then, for undamaged files, PSNR and
LPIPS (AlexNet) of both reconstructions, where its weights are there (flipproof weights fetch lpips).
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from flipproof import registry
from flipproof.codec.base import Codec
from flipproof.codec.rcc import ChainCodec
from flipproof.codec.spending import TrackSpending
from flipproof.codec.tracks import TracksCodec
from flipproof.metric.lpips import Lpips
from flipproof.metric.psnr import psnr
from flipproof.study.dataset import bundled as photos
from tables import add_options, measure, names, show

STEPS = (8, 16, 30, 60)


@dataclass(frozen=True)
class ConstantSpending(TrackSpending):
    """Spends the same number of tracks on every step."""

    tracks: int = 128

    def amount(self, size: int, gain: float) -> float:
        """Returns the constant number of tracks."""
        return self.tracks


@dataclass(frozen=True)
class ConstantTracks(TracksCodec):
    """Tracks with a constant budget; any tracks decoder reads its files."""

    tracks: ClassVar[int] = 128

    @classmethod
    def spending(cls, longest: int) -> ConstantSpending:
        """Returns what every step spends."""
        return ConstantSpending(longest, tracks=cls.tracks)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add_options(parser, "0,0.001,0.01")
    parser.add_argument("--bpp", type=float, default=0.1, help="bits per pixel (0.1)")
    parser.add_argument("--part", choices=("damage", "reconstruction"), help="one part only")
    options = parser.parse_args()
    if options.part != "reconstruction":
        show(measure(options, _codecs(options.bpp)))
    if options.part != "damage":
        _reconstructions(options)


def _codecs(bpp: float) -> dict[str, Codec]:
    spellings = [f"{name}[steps_per_octave={s}]" for name in ("trellis", "tracks") for s in (1, 2, 3, 5, 7)]
    spellings += [f"trellis[window={w}]" for w in (6, 8, 10, 12)]
    spellings += [f"tracks[track_bits={b}]" for b in (4, 6, 8, 10)]
    spellings += [f"{name}[steps={t}]" for name in ("robust-turbo-ddcm", "robust-diffc") for t in STEPS]
    spellings += [f"{name}[precision={p}]" for name in ("trellis", "tracks") for p in ("float32", "bfloat16")]
    codecs = {spelling: registry.codec(spelling, bpp=bpp) for spelling in spellings}
    constant = {f"tracks[every_step={m}]": _constant(bpp, m) for m in (32, 64, 128, 256)}
    return codecs | constant


def _constant(bpp: float, tracks: int) -> TracksCodec:
    return type("ConstantTracks", (ConstantTracks,), {"tracks": tracks})(bpp=bpp)


def _reconstructions(options: argparse.Namespace) -> None:
    pictures = photos.load_folder(options.data)
    crops = [photos.centre_crop(pictures[name], options.crop) for name in names(options)]
    distance = Lpips.load("alex")
    print("\n| codec | reconstruction | PSNR | LPIPS (Alex) |\n|---|---|---|---|")
    for name in ("trellis", "tracks", "robust-turbo-ddcm", "robust-diffc"):
        codec = registry.codec(name, bpp=options.bpp)
        files = [codec.encode(crop) for crop in crops]
        for kind in ("mse", "sharp"):
            decoder: ChainCodec = replace(codec, reconstruction=kind)
            shown = [decoder.decode(data).picture for data in files]
            quality = np.mean([psnr(a, b) for a, b in zip(shown, crops, strict=True)])
            print(f"| `{codec}` | {kind} | {quality:.2f} | {distance.many(shown, crops).mean():.3f} |", flush=True)


if __name__ == "__main__":
    main()
