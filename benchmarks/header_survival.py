"""How often a file can no longer be opened after every one of its bits met a binary symmetric channel.

One tracks file of a photograph is corrupted many times and opened with `container.unpack`. A trial fails if that raises
or returns other header fields than were written; blocks of the payload beyond repair are counted beside it. Opening
looks at nothing behind the protected part, and flips are independent per bit, so only the magic and the protected part
are sent through the channel: the outcome is that of corrupting the whole file. The upper bound is the upper end of the
exact (Clopper-Pearson) 95 % interval. "computed" bounds the failure probability from the design of the code: more than
7 flips in the magic, or more than 28 in a (full) block that holds a part of the header.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from pathlib import Path

from flipproof import container, registry
from flipproof.channel.bsc import BinarySymmetricChannel
from flipproof.errors import DecodeError
from flipproof.protection.bch import BLOCK_DATA, protected_size
from flipproof.seeds import generator
from flipproof.study import photos
from flipproof.study.summary import binomial_interval

PARITY_BITS, REPAIRED = 234, 28
MAGIC_BITS, MAGIC_FLIPS = 32, 7


@dataclass(frozen=True)
class Counts:
    """What became of the trials at one bit error rate.

    Attributes:
        failures: Files that do not open, or open with other fields.
        damaged: Files that open, with at least one protected block of the payload beyond repair.
    """

    failures: int
    damaged: int


def main() -> None:
    options = _options()
    image = options.image or photos.load("astronaut")
    data = registry.codec("tracks", bpp=options.bpp).encode(image)
    sent = data[: _protected_end(container.unpack(data))]
    header = len(container.unpack(data).fields) + container.HEADER_OVERHEAD // 8
    print(f"File of {len(data)} bytes, {len(sent)} of them magic and protected part, header {header} bytes.\n")
    print("| bit error rate | trials | do not open | upper bound (95 %) | computed | opens, payload blocks lost |")
    print("|---|---|---|---|---|---|")
    for rate, trials in [(options.ber, options.trials), (3e-2, options.more), (5e-2, options.more)]:
        counts = survive(sent, rate, trials)
        bound = binomial_interval(counts.failures, trials).high
        cells = [f"{rate:g}", f"{trials}", f"{counts.failures}", f"{bound:.2g}", f"{computed(header, rate):.2g}"]
        print("| " + " | ".join([*cells, f"{counts.damaged / trials:.2%}"]) + " |", flush=True)


def survive(sent: bytes, rate: float, trials: int) -> Counts:
    """Corrupts and opens the protected part of a file many times."""
    channel, fields = BinarySymmetricChannel(rate), container.unpack(sent).fields
    rng = generator(purpose="header survival", bit_error_rate=rate)
    failures = damaged = 0
    for _ in range(trials):
        try:
            file = container.unpack(channel.corrupt(sent, rng))
        except DecodeError:
            failures += 1
        else:
            failures += file.fields != fields
            damaged += file.fields == fields and file.failed_blocks > 0
    return Counts(failures, damaged)


def computed(header: int, rate: float) -> float:
    """Bounds the probability that a header of so many bytes is lost."""
    blocks = -(-header // BLOCK_DATA)
    block = tail(8 * BLOCK_DATA + PARITY_BITS, REPAIRED, rate)
    return tail(MAGIC_BITS, MAGIC_FLIPS, rate) + blocks * block


def tail(bits: int, most: int, rate: float) -> float:
    """Returns the probability of more than ``most`` flips among ``bits``."""
    return sum(math.comb(bits, k) * rate**k * (1 - rate) ** (bits - k) for k in range(most + 1, bits + 1))


def _protected_end(file: container.Container) -> int:
    protected = len(file.fields) + container.HEADER_OVERHEAD // 8 + len(file.safe)
    return len(container.MAGIC) + protected_size(protected)


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
