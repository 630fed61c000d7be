"""The codec ``trellis``."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np

from reference.bits import FieldReader, Received
from reference.codebook import Gaussian, scaled
from reference.grown import CodingOf, read_grown
from reference.header import Header
from reference.plan import Place, Plan, too_few
from reference.refusal import require
from reference.stream import signs

LONGEST = 32
"""Samples of a codeword before it repeats."""


@dataclass(frozen=True)
class Trellis:
    """A circle of bits, of which each and the ones before it name the codeword of a block."""

    bits: int
    window: int

    def steer(self, received: Received, place: Place) -> np.ndarray | None:
        circle = [received.number(1) for _ in range(self.bits)]
        numbers = [self._number(circle, t) for t in range(self.bits)]
        if too_few(sum(number is not None for number in numbers), self.bits):
            return None
        sizes = self._sizes(place.samples)
        c = np.concatenate([_block(number, size) for number, size in zip(numbers, sizes, strict=True)])
        if max(sizes) > LONGEST:
            c = c * signs(len(c), purpose="trellis signs", size=len(c))
        codebook = place.codebook()
        return scaled(codebook.weighted_sum(enumerate(c)), codebook)

    def _number(self, circle: list[int | None], t: int) -> int | None:
        """The window of bit t; None where a bit of it is unknown."""
        bits = [circle[(t - j) % self.bits] for j in range(self.window)]
        return None if None in bits else sum(bit << j for j, bit in enumerate(bits))

    def _sizes(self, samples: int) -> list[int]:
        size, longer = divmod(samples, self.bits)
        return [size + (t < longer) for t in range(self.bits)]


def _block(number: int | None, size: int) -> np.ndarray:
    return np.zeros(size) if number is None else np.resize(_codeword(number, min(size, LONGEST)), size)


@cache
def _codeword(number: int, size: int) -> np.ndarray:
    atom = Gaussian(size, step=0).weighted_sum([(number, 1.0)])
    return math.sqrt(size) * atom / np.linalg.norm(atom)


def read_trellis(reader: FieldReader, header: Header) -> Plan:
    require(not header.gaussian)
    return read_grown(reader, header, _trellis_of_window)


def _trellis_of_window(window: int) -> CodingOf:
    require(window >= 2)
    return lambda samples, budget: Trellis(max(1, min(budget, samples // 2)), window)
