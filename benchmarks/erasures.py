"""How many lost bits each long code of the ladder finds again, and in what time.

For every draw of a block its bits are lost in a drawn order; a search by halves finds how many of them the decoder
finds again. "Spare" are the parity checks beyond that number: the mean, and the most of any draw. Times are of the
block with nine tenths of the number lost, one thread.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from numpy.typing import NDArray

from flipproof.bits import BitArray
from flipproof.protection.code import Code
from flipproof.protection.ladder import LONG
from flipproof.seeds import generator


def main() -> None:
    options = _options()
    print("| parity in 64ths | data bytes | parity of all bits | found again | spare, most | ms a block |")
    print("|---" * 6 + "|")
    for rung in LONG.rungs:
        for size in options.sizes:
            (data,), code = rung.blocks(size)
            bits = 8 * data + code.parity_bits
            orders = [
                generator(purpose="erasures", code=str(code), draw=draw).permutation(bits)
                for draw in range(options.draws)
            ]
            found = np.array([_found(code, order) for order in orders])
            seconds = [_seconds(code, order[: 9 * most // 10], bits) for order, most in zip(orders, found, strict=True)]
            spare = code.parity_bits - found
            cells = (rung.parity, data, f"{code.parity_bits / bits:.3f}", f"{found.mean() / bits:.3f}")
            cells += (f"{spare.mean():.0f}, {spare.max()}", f"{1000 * np.median(seconds):.0f}")
            print(f"| {' | '.join(map(str, cells))} |", flush=True)


def _found(code: Code, order: NDArray[np.int64]) -> int:
    """Returns how many bits of a block of zeros, lost in an order, are found again."""
    low, high = 0, code.parity_bits
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (low, middle - 1) if _fails(code, order[:middle], len(order)) else (middle, high)
    return low


def _fails(code: Code, lost: NDArray[np.int64], bits: int) -> bool:
    return bool(code.decode(*_received(lost, bits)).failed[0])


def _seconds(code: Code, lost: NDArray[np.int64], bits: int) -> float:
    received = _received(lost, bits)
    start = time.perf_counter()
    code.decode(*received)
    return time.perf_counter() - start


def _received(lost: NDArray[np.int64], bits: int) -> tuple[BitArray, NDArray[np.float32]]:
    """Returns a block of zeros, with log-likelihood ratios, of which some bits are lost."""
    llr = np.full((1, bits), np.inf, np.float32)
    llr[0, lost] = 0
    return np.zeros((1, bits), np.uint8), llr


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--draws", type=int, default=8, help="blocks of each code and size (8)")
    parser.add_argument("--sizes", type=lambda text: [int(size) for size in text.split(",")], default=[400, 4096])
    return parser.parse_args()


if __name__ == "__main__":
    main()
