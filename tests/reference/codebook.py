"""The two kinds of codebooks: weighted sums of their atoms, and their known noise."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist

import numpy as np

from reference.stream import signs, words

Terms = Iterable[tuple[int, float]]
"""Atoms with their weights."""


@dataclass(frozen=True)
class Rotated:
    """Rows of the Hartley transform with random signs, for atoms of a length and the number of a step."""

    size: int
    step: int

    def weighted_sum(self, terms: Terms) -> np.ndarray:
        blocks: dict[int, np.ndarray] = {}
        for atom, weight in terms:
            block, row = divmod(atom, self.size)
            blocks.setdefault(block, np.zeros(self.size))[row] += weight
        total = np.zeros(self.size)
        for block, weights in blocks.items():
            total += math.sqrt(self.size) * hartley(weights) * self._signs("rotated codebook", block)
        return total

    def known_noise(self) -> np.ndarray:
        return hartley(self._signs("known noise", 0))

    def _signs(self, purpose: str, block: int) -> np.ndarray:
        names = {"block": block} if block else {}
        return signs(self.size, purpose=purpose, seed=0, size=self.size, step=self.step, **names)


@dataclass(frozen=True)
class Gaussian:
    """Normal samples by hashing, for atoms of a length and the number of a step."""

    size: int
    step: int

    def weighted_sum(self, terms: Terms) -> np.ndarray:
        terms = list(terms)
        rows = self._words("gaussian codebook", "rows", 1 + max((atom for atom, _ in terms), default=0))
        columns = self._words("gaussian codebook", "columns", -(-self.size // 2))
        total = np.zeros(self.size)
        for atom, weight in terms:
            total += weight * self._samples(rows[atom], columns)
        return total

    def known_noise(self) -> np.ndarray:
        row = self._words("known noise", "rows", 1)[0]
        return self._samples(row, self._words("known noise", "columns", -(-self.size // 2)))

    def _words(self, purpose: str, axis: str, count: int) -> np.ndarray:
        return words(count, purpose=purpose, axis=axis, seed=0, size=self.size, step=self.step)

    def _samples(self, row: np.uint64, columns: np.ndarray) -> np.ndarray:
        a, m = _low(row), _high(row) | np.uint32(1)
        c, d = _low(columns), _high(columns)
        x = (c ^ a) * m
        x ^= x >> np.uint32(16)
        x = (x + d) * np.uint32(0x7FEB352D)
        x ^= x >> np.uint32(15)
        x = x * np.uint32(0x846CA68B)
        x ^= x >> np.uint32(16)
        table = quantiles()
        return np.concatenate([table[x & np.uint32(0xFFFF)], table[x >> np.uint32(16)]])[: self.size]


Codebook = Rotated | Gaussian


def scaled(vector: np.ndarray, codebook: Codebook) -> np.ndarray:
    """Divides by the root mean square; known noise replaces what has cancelled."""
    if _deviation(vector) <= 0.001:
        vector = codebook.known_noise()
    return vector / _deviation(vector)


def hartley(x: np.ndarray) -> np.ndarray:
    transformed = np.fft.fft(x)
    return (transformed.real - transformed.imag) / math.sqrt(len(x))


@cache
def quantiles() -> np.ndarray:
    normal = NormalDist()
    return np.array([normal.inv_cdf((i + 0.5) / 65536) for i in range(65536)], np.float32)


def _deviation(vector: np.ndarray) -> float:
    return math.sqrt(np.mean(np.square(vector, dtype=np.float64)))


def _low(word: np.ndarray) -> np.ndarray:
    return (word & np.uint64(0xFFFFFFFF)).astype(np.uint32)


def _high(word: np.ndarray) -> np.ndarray:
    return (word >> np.uint64(32)).astype(np.uint32)
