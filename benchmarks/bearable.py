r"""Up to which bit error rate each long code of the ladder repairs a block, beside what capacity allows.

For every draw of a block, one uniform number per bit says at which rates the bit is flipped; a search by halves finds
the rate up to which the decoder repairs the block. The mean b of that rate, its deviation in units of
:math:`\sqrt{b (1 - b) / n}`, and :math:`b / (1 - 3 / \sqrt n)`, which the ladder of
:mod:`flipproof.protection.ladder` has for each code.
"""

from __future__ import annotations

import argparse
import math

import numpy as np
from scipy.optimize import brentq
from scipy.special import entr

from flipproof.protection.code import Code
from flipproof.protection.ladder import LONG, SHORTNESS
from flipproof.seeds import generator

HALVINGS = 8


def main() -> None:
    options = _options()
    print("| parity in 64ths | data bytes | rate | repaired up to | deviation | in long blocks | capacity |")
    print("|---" * 7 + "|")
    for rung in LONG.rungs:
        for size in options.sizes:
            (data,), code = rung.blocks(size)
            bits = 8 * data + code.parity_bits
            limit = _limit(8 * data / bits)
            found = np.array([_repaired_up_to(code, 8 * data, limit, draw) for draw in range(options.draws)])
            mean, deviation = found.mean(), found.std() / math.sqrt(found.mean() * (1 - found.mean()) / bits)
            cells = (rung.parity, data, f"{8 * data / bits:.3f}", f"{mean:.4f}", f"{deviation:.2f}")
            cells += (f"{mean / (1 - SHORTNESS / math.sqrt(bits)):.4f}", f"{limit:.4f}")
            print(f"| {' | '.join(map(str, cells))} |", flush=True)


def _repaired_up_to(code: Code, data: int, limit: float, draw: int) -> float:
    """Returns the bit error rate up to which a block of zeros is repaired, with the flips of one draw."""
    ranks = generator(purpose="bearable", code=str(code), draw=draw).random(data + code.parity_bits)
    low, high = 0.4 * limit, 1.2 * limit
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        decoded = code.decode((ranks < middle)[None].astype(np.uint8))
        lost = decoded.failed[0] or decoded.data.any()
        low, high = (low, middle) if lost else (middle, high)
    return (low + high) / 2


def _limit(rate: float) -> float:
    """Returns the bit error rate of the binary symmetric channel with a capacity."""
    return float(brentq(lambda p: 1 - (entr(p) + entr(1 - p)) / math.log(2) - rate, 1e-9, 0.5 - 1e-9))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--draws", type=int, default=40, help="blocks of each code and size (40)")
    parser.add_argument("--sizes", type=lambda text: [int(size) for size in text.split(",")], default=[400, 4096])
    return parser.parse_args()


if __name__ == "__main__":
    main()
