"""How ``ddcm`` writes a step."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from reference.bits import Received
from reference.codebook import Codebook, scaled
from reference.plan import Place, too_few


@dataclass(frozen=True)
class Pursuit:
    """An index on w bits, then pairs of a coefficient code on C bits and an index."""

    width: int
    atoms: int
    code_bits: int

    @property
    def bits(self) -> int:
        return self.atoms * self.width + (self.atoms - 1) * self.code_bits

    def steer(self, received: Received, place: Place) -> np.ndarray | None:
        first = received.number(self.width)
        pairs = [(received.number(self.code_bits), received.number(self.width)) for _ in range(self.atoms - 1)]
        usable = (first is not None) + sum(code is not None and atom is not None for code, atom in pairs)
        if too_few(usable, self.atoms):
            return None
        codebook = place.codebook()
        z = scaled(codebook.weighted_sum([] if first is None else [(first, 1.0)]), codebook)
        for code, atom in pairs:
            if code == 0:
                break
            if code is not None and atom is not None:
                z = self._mixture(z, code, atom, codebook)
        return z

    def _mixture(self, z: np.ndarray, code: int, atom: int, codebook: Codebook) -> np.ndarray:
        gamma = code / (2**self.code_bits - 1)
        return scaled(math.sqrt(gamma) * z + codebook.weighted_sum([(atom, math.sqrt(1 - gamma))]), codebook)
