"""How the Turbo-DDCM codecs write a step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from reference.bits import Received
from reference.codebook import scaled
from reference.plan import Place, too_few


@dataclass(frozen=True)
class Turbo:
    """M of 2^w atoms: ``alone`` of them one by one, index and sign, then the rank of the others and their signs."""

    width: int
    atoms: int
    alone: int

    @property
    def ranked(self) -> int:
        return self.atoms - self.alone

    @cached_property
    def sets(self) -> int:
        return math.comb(1 << self.width, self.ranked)

    @property
    def bits(self) -> int:
        return self.alone * (self.width + 1) + self._rank_bits + self.ranked

    def steer(self, received: Received, place: Place) -> np.ndarray | None:
        terms = self._terms_alone(received) + self._terms_ranked(received)
        if too_few(len(terms), self.atoms):
            return None
        codebook = place.codebook()
        return scaled(codebook.weighted_sum(terms), codebook)

    @property
    def _rank_bits(self) -> int:
        return (self.sets - 1).bit_length()

    def _terms_alone(self, received: Received) -> list[tuple[int, float]]:
        pairs = [(received.number(self.width), received.number(1)) for _ in range(self.alone)]
        return [(index, 1 - 2 * sign) for index, sign in pairs if index is not None and sign is not None]

    def _terms_ranked(self, received: Received) -> list[tuple[int, float]]:
        rank = received.number(self._rank_bits)
        signs = [received.number(1) for _ in range(self.ranked)]
        if rank is None:
            return []
        indices = unrank(rank % self.sets, 1 << self.width, self.ranked)
        return [(index, 1 - 2 * sign) for index, sign in zip(indices, signs, strict=True) if sign is not None]


def unrank(rank: int, atoms: int, count: int) -> list[int]:
    """The ascending set of a lexicographic rank: sets that start with the lowest atom come first."""
    indices, atom = [], 0
    while count:
        starting_here = math.comb(atoms - atom - 1, count - 1)
        if rank < starting_here:
            indices.append(atom)
            count -= 1
        else:
            rank -= starting_here
        atom += 1
    return indices
