"""Blocks of error-correcting codes, and what becomes of them on their way."""

from __future__ import annotations

import numpy as np
from scipy.stats import norm

from flipproof.protection.code import Code


def draw(code: Code, blocks: int, seed: int = 0, size: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Random data and their blocks."""
    shape = (blocks, code.data_bits if size is None else size)
    data = np.random.default_rng(seed).integers(0, 2, shape, dtype=np.uint8)
    return data, code.encode(data)


def noisy(words: np.ndarray, ber: float, seed: int = 1) -> np.ndarray:
    return words ^ (np.random.default_rng(seed).random(words.shape) < ber).astype(np.uint8)


def with_flips(words: np.ndarray, count: int, units: int = 1, seed: int = 2) -> np.ndarray:
    """Words with exactly so many wrong bits each, or so many wrong groups of bits."""
    rng, received = np.random.default_rng(seed), words.copy().reshape(len(words), -1, units)
    for word in received:
        for place in rng.choice(word.shape[0], count, replace=False):
            pattern = rng.integers(1, 1 << units)
            word[place] ^= (pattern >> np.arange(units) & 1).astype(np.uint8)
    return received.reshape(words.shape)


def over_air(words: np.ndarray, ber: float, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Hard decisions and log-likelihood ratios after white Gaussian noise that makes so many of them wrong."""
    deviation = 1 / norm.isf(ber)
    signal = 1 - 2.0 * words + deviation * np.random.default_rng(seed).standard_normal(words.shape)
    return (signal < 0).astype(np.uint8), (2 * signal / deviation**2).astype(np.float32)
