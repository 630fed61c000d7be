"""How often a block of each error-correcting code is lost at equal rates, and what encoding and decoding cost.

Blocks of random data are sent through a binary symmetric channel, and as +1 and -1 through white Gaussian noise that
gives as many wrong hard decisions, where the receiver keeps the exact log-likelihood ratios ("soft"). A block counts as
lost if its data are wrong, whether or not the decoder says so; the share that it does not say so is in brackets where
it is not zero. Soft decoding costs more where an algebraic decoder tries again. CPU milliseconds per 1000 bits of data;
decoding at the middle bit error rate, hard.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from flipproof import registry
from flipproof.bits import BitArray
from flipproof.protection.code import Code
from flipproof.seeds import generator

TABLES = {
    0.8: (
        "bch[t=20]",
        "rs[data=204,parity=51]",
        "ldpc[data=102,parity=25]",
        "ldpc[data=816,parity=204]",
        "ira[data=102,parity=25]",
        "ira[data=816,parity=204]",
    ),
    0.5: (
        "bch[t=57]",
        "rs[data=127,parity=128]",
        "ldpc[data=64,parity=63]",
        "ldpc[data=512,parity=512]",
        "ira[data=64,parity=63]",
        "ira[data=512,parity=512]",
        "convolutional[data=64]",
        "convolutional[data=512]",
    ),
}
RATES = {0.8: (3e-3, 5e-3, 1e-2, 1.5e-2, 2e-2, 3e-2), 0.5: (1e-2, 2e-2, 3e-2, 5e-2, 7e-2, 9e-2)}


@dataclass(frozen=True)
class Losses:
    """What became of the blocks of a code at one bit error rate.

    Attributes:
        blocks: How many were sent.
        lost: Those whose data were wrong.
        unseen: Those of them that the decoder took for right.
        seconds: CPU time to decode all.
    """

    blocks: int
    lost: int
    unseen: int
    seconds: float

    def __str__(self) -> str:
        """The shares, as a table has them."""
        unseen = f" ({self.unseen / self.blocks:.2g})" if self.unseen else ""
        return (f"{self.lost / self.blocks:.2g}" if self.lost else f"<{3 / self.blocks:.1g}") + unseen


def main() -> None:
    options = _options()
    for rate, spellings in TABLES.items():
        bers = RATES[rate]
        columns = [f"{ber:g}{', soft' if soft else ''}" for ber in bers for soft in (False, True)]
        print(f"Rate about {rate}\n\n| code | data bits | rate | {' | '.join(columns)} | encode | decode |")
        print("|---" * (5 + len(columns)) + "|")
        for spelling in spellings:
            code = registry.code(spelling)
            print("| " + " | ".join(_cells(code, bers, options.bits)) + " |", flush=True)
        print()


def _cells(code: Code, bers: Sequence[float], bits: int) -> list[str]:
    blocks = max(20, bits // code.data_bits)
    rng = generator(purpose="benchmark of codes", code=str(code))
    data = rng.integers(0, 2, (blocks, code.data_bits), dtype=np.uint8)
    code.decode(code.encode(data[:1]))  # what is made once
    started = time.process_time()
    words = code.encode(data)
    encoding = time.process_time() - started
    losses = {(ber, soft): _send(code, data, words, ber, soft, rng) for ber in bers for soft in (False, True)}
    costs = (encoding, losses[bers[len(bers) // 2], False].seconds)
    return [
        f"`{code}`",
        str(code.data_bits),
        f"{code.rate:.3f}",
        *map(str, losses.values()),
        *(f"{1e6 * seconds / data.size:.2f}" for seconds in costs),
    ]


def _send(code: Code, data: BitArray, words: BitArray, ber: float, soft: bool, rng: np.random.Generator) -> Losses:
    """Sends codewords through a channel with a bit error rate and counts what is lost."""
    if soft:
        deviation = 1 / norm.isf(ber)
        signal = 1 - 2.0 * words + deviation * rng.standard_normal(words.shape)
        received, llr = (signal < 0).astype(np.uint8), (2 * signal / deviation**2).astype(np.float32)
    else:
        received, llr = words ^ (rng.random(words.shape) < ber).astype(np.uint8), None
    started = time.process_time()
    decoded = code.decode(received, llr)
    seconds = time.process_time() - started
    wrong = (decoded.data != data).any(axis=1)
    return Losses(len(data), int(wrong.sum()), int((wrong & ~decoded.failed).sum()), seconds)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--bits", type=int, default=1_000_000, help="data bits per cell of the table (1000000)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
