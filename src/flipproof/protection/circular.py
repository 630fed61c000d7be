"""Rate matching by a circular buffer: a word fills a longer block by starting again from its first bit."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flipproof.bits import BitArray

__all__ = ["combine", "repeat"]


def repeat(words: BitArray, size: int) -> BitArray:
    """Fills blocks (B, size) with words (B, n): bit i of a block is bit i mod n of its word.

    Example:
        >>> repeat(np.array([[0, 1, 1]], np.uint8), 5).tolist()
        [[0, 1, 1, 0, 1]]
    """
    return words[:, np.arange(size) % words.shape[1]]


def combine(llr: NDArray[np.float32], period: int) -> NDArray[np.float32]:
    """Adds up the log-likelihood ratios (B, size) of bits that were sent again, to (B, period); 0 where never sent.

    Example:
        >>> combine(np.array([[1, 2, 3, 4, 5]], np.float32), 3).tolist()
        [[5.0, 7.0, 3.0]]
    """
    turns = -(-llr.shape[1] // period)
    padded = np.pad(llr, ((0, 0), (0, turns * period - llr.shape[1])))
    total: NDArray[np.float32] = padded.reshape(len(llr), turns, period).sum(axis=1)
    return total
