"""How often a file can no longer be opened after every one of its bits met a binary symmetric channel.

One tracks file of a photograph is corrupted many times as a whole and opened with `container.unpack`. A trial fails if
that raises or returns other fields or another plan than were written; blocks of the payload beyond repair are counted
beside it. The upper bound is the upper end of the exact (Clopper-Pearson) 95 % interval. "computed" bounds the
probability that a block of the header has more flips than its code repairs; a file of the right length opens without
its magic and length.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from pathlib import Path

from flipproof import container, registry
from flipproof.channel.bsc import BinarySymmetricChannel
from flipproof.errors import DecodeError
from flipproof.seeds import generator
from flipproof.study.dataset import bundled as photos
from flipproof.study.statistics.interval import binomial_interval


@dataclass(frozen=True)
class Counts:
    """What became of the trials at one bit error rate.

    Attributes:
        failures: Files that do not open, or open with another header.
        damaged: Files that open, with at least one protected block of the payload beyond repair.
    """

    failures: int
    damaged: int


def main() -> None:
    options = _options()
    image = options.image or photos.load("astronaut")
    sent = registry.codec("tracks", bpp=options.bpp).encode(image)
    blocks = len(container.unpack(sent).head)
    print(f"File of {len(sent)} bytes, {blocks} block{'s' if blocks > 1 else ''} of header.\n")
    print("| bit error rate | trials | do not open | upper bound (95 %) | computed | opens, payload blocks lost |")
    print("|---|---|---|---|---|---|")
    for rate, trials in [(options.ber, options.trials), (3e-2, options.more), (5e-2, options.more)]:
        counts = survive(sent, rate, trials)
        bound = binomial_interval(counts.failures, trials).high
        cells = [f"{rate:g}", f"{trials}", f"{counts.failures}", f"{bound:.2g}", f"{computed(blocks, rate):.2g}"]
        print("| " + " | ".join([*cells, f"{counts.damaged / trials:.2%}"]) + " |", flush=True)


def survive(sent: bytes, rate: float, trials: int) -> Counts:
    """Corrupts and opens a file many times."""
    channel, written = BinarySymmetricChannel(rate), container.unpack(sent)
    payload = container.payload_room(len(written.fields), len(sent), written.plan)
    rng = generator(purpose="header survival", ber=rate)
    failures = damaged = 0
    for _ in range(trials):
        try:
            file = container.unpack(channel.corrupt(sent, rng))
        except DecodeError:
            failures += 1
            continue
        same = (file.fields, file.plan) == (written.fields, written.plan)
        failures += not same
        damaged += same and file.payload(payload).failed > 0
    return Counts(failures, damaged)


def computed(blocks: int, rate: float) -> float:
    """Bounds the probability that at least one of the blocks of a header is lost."""
    return blocks * tail(container.BLOCK_BITS, container.HEADER_CODE.t, rate)


def tail(bits: int, most: int, rate: float) -> float:
    """Returns the probability of more than ``most`` flips among ``bits``."""
    return sum(math.comb(bits, k) * rate**k * (1 - rate) ** (bits - k) for k in range(most + 1, bits + 1))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--image", type=Path, help="photograph (scikit-image's astronaut)")
    parser.add_argument("--bpp", type=float, default=0.1, help="rate of the file (0.1)")
    parser.add_argument("--ber", type=float, default=1e-2, help="bit error rate of the long run (1e-2)")
    parser.add_argument("--trials", type=int, default=100_000, help="trials of the long run (100000)")
    parser.add_argument("--more", type=int, default=10_000, help="trials at 3e-2 and at 5e-2 (10000)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
