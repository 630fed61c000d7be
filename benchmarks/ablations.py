"""What each choice of the family is worth: steps, budgets, windows, tracks, precision, views, detail left out.

Damaged copies of five Kodak crops per codec, PSNR over all files, as in damage.py.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import ClassVar

from flipproof import registry
from flipproof.codec.base import Codec
from flipproof.codec.spending import TrackSpending
from flipproof.codec.tracks import TracksCodec
from tables import add_options, measure, show

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
    options = parser.parse_args()
    show(measure(options, _codecs(options.bpp)))


def _codecs(bpp: float) -> dict[str, Codec]:
    spellings = [f"{name}[steps_per_octave={s}]" for name in ("trellis", "tracks") for s in (1, 2, 3, 5, 7)]
    spellings += [f"trellis[window={w}]" for w in (6, 8, 10, 12)]
    spellings += [f"trellis[{choice}]" for choice in ("faint=0", "faint=0.25", "views=2", "views=8", "prior=small-2")]
    spellings += [f"tracks[track_bits={b}]" for b in (4, 6, 8, 10)]
    spellings += [f"{name}[steps={t}]" for name in ("robust-turbo-ddcm", "robust-diffc") for t in STEPS]
    spellings += [f"{name}[precision={p}]" for name in ("trellis", "tracks") for p in ("float32", "bfloat16")]
    codecs = {spelling: registry.codec(spelling, bpp=bpp) for spelling in spellings}
    constant = {f"tracks[every_step={m}]": _constant(bpp, m) for m in (32, 64, 128, 256)}
    return codecs | constant


def _constant(bpp: float, tracks: int) -> TracksCodec:
    return type("ConstantTracks", (ConstantTracks,), {"tracks": tracks})(bpp=bpp)


if __name__ == "__main__":
    main()
