"""The range decoder of ``diffc``."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import chain, repeat

import numpy as np

from reference.bits import Bits
from reference.diffc import Seeds

MODULUS = 2**64
WORD = 2**32
TOTAL = 2**24


class RangeDecoder:
    """Decodes bytes followed by one byte without end."""

    def __init__(self, data: bytes, then: int):
        self.bytes = chain(data, repeat(then))
        self.low, self.range = 0, MODULUS - 1
        self.point = self._word() << 32 | self._word()

    def seed(self, edges: np.ndarray) -> int | None:
        """Returns the next seed, given the left edges of all and the end; None if the decoder halts."""
        unit = self.range // TOTAL
        value = (self.point - self.low) % MODULUS // unit
        if value >= TOTAL:
            return None
        seed = int(np.searchsorted(edges, value, side="right")) - 1
        self.low = (self.low + int(edges[seed]) * unit) % MODULUS
        self.range = int(edges[seed + 1] - edges[seed]) * unit
        if self.range < WORD:
            self.low = self.low * WORD % MODULUS
            self.range *= WORD
            self.point = (self.point * WORD + self._word()) % MODULUS
        return seed

    def _word(self) -> int:
        return int.from_bytes(bytes(next(self.bytes) for _ in range(4)), "big")


def left_edges(coding: Seeds) -> np.ndarray:
    """The probabilities of a step: left edges of its seeds, and the end."""
    exponent = 1 + 1 / (coding.kl / coding.parts + math.log2(math.e) / math.e + 1)
    rounded = round(256 * exponent)
    seeds = 2**coding.seed_bits
    h = np.arange(1.0, seeds + 1)
    g = h.copy()
    for bit in range(7, -1, -1):
        h = np.sqrt(h)
        if rounded >> bit & 1:
            g = g * h
    weights = np.rint(2**32 / g)
    before = np.cumsum(weights) - weights
    edges = np.floor(before * ((TOTAL - seeds) / weights.sum())).astype(np.int64) + np.arange(seeds)
    return np.append(edges, TOTAL)


def decode_seeds(data: bytes, codings: list[Seeds]) -> Bits:
    """Returns the bits of all seeds at fixed length, and which of them are known."""
    tables = [left_edges(coding) for coding in codings]
    after_zeros, after_ones = (list(_seeds(data, then, codings, tables)) for then in (0, 255))
    same = [a == b for a, b in zip(after_zeros, after_ones, strict=False)]
    complete = same.index(False) if False in same else len(same)
    widths = [coding.seed_bits for coding in codings for _ in range(coding.parts)]
    seeds = after_zeros[:complete] + [0] * (len(widths) - complete)
    digits = "".join(f"{seed:0{width}b}" for seed, width in zip(seeds, widths, strict=True))
    bits = np.array([int(digit) for digit in digits], np.uint8)
    return Bits(bits, np.arange(len(bits)) < sum(widths[:complete]))


def _seeds(data: bytes, then: int, codings: list[Seeds], tables: list[np.ndarray]) -> Iterator[int]:
    decoder = RangeDecoder(data, then)
    for coding, edges in zip(codings, tables, strict=True):
        for _ in range(coding.parts):
            seed = decoder.seed(edges)
            if seed is None:
                return
            yield seed
