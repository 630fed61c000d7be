r"""The strongest B indices alone, the other M - B as one rank.

:math:`B \lceil \log_2 K \rceil + \lceil \log_2 \binom{K}{M - B} \rceil + M` bits a step: between the rank of Turbo-DDCM
(B = 0) and the independent indices of Robust Turbo-DDCM (B = M).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from flipproof.bits import BitArray
from flipproof.protocol.independent import IndependentProtocol
from flipproof.protocol.lexicographic import LexicographicProtocol
from flipproof.selection.base import Selection

__all__ = ["HybridProtocol"]


@dataclass(frozen=True)
class HybridProtocol:
    """Indices and signs of the first B atoms of a selection one by one, then rank and signs of the others.

    Attributes:
        atoms: Codebook size K.
        count: Atoms M per step, at most K.
        alone: Indices B written alone, at most M.
    """

    atoms: int
    count: int
    alone: int

    @property
    def bits(self) -> int:
        """Length of a step in bits."""
        return self._first.bits + self._rest.bits

    def write(self, selection: Selection) -> BitArray:  # noqa: D102 (protocol)
        first = Selection(selection.atoms[:, : self.alone], selection.signs[:, : self.alone])
        rest = Selection(selection.atoms[:, self.alone :], selection.signs[:, self.alone :])
        return np.concatenate([self._first.write(first), self._rest.write(rest)])

    def read(self, bits: BitArray, known: NDArray[np.bool_]) -> Selection:  # noqa: D102 (protocol)
        split = self._first.bits
        first = self._first.read(bits[:, :split], known[:split])
        rest = self._rest.read(bits[:, split:], known[split:])
        return Selection(torch.cat([first.atoms, rest.atoms], 1), torch.cat([first.signs, rest.signs], 1))

    @property
    def _first(self) -> IndependentProtocol:
        return IndependentProtocol(self.atoms, self.alone)

    @property
    def _rest(self) -> LexicographicProtocol:
        return LexicographicProtocol(self.atoms, self.count - self.alone)
