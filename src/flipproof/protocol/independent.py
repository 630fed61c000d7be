r"""Every index alone, on :math:`\lceil \log_2 K \rceil` bits: one flipped bit, one atom.

This is the protocol of Robust Turbo-DDCM: :math:`M (\lceil \log_2 K \rceil + 1)` bits a step.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from flipproof.bits import BitArray, pack_numbers, unpack_numbers
from flipproof.selection.base import Selection

__all__ = ["IndependentProtocol"]


@dataclass(frozen=True)
class IndependentProtocol:
    """Indices one by one, then signs.

    Attributes:
        atoms: Codebook size K; a received index of K or more is a lost atom.
        count: Atoms M per step.
    """

    atoms: int
    count: int

    @property
    def bits(self) -> int:
        """Length of a step in bits."""
        return self.count * (self._width + 1)

    def write(self, selection: Selection) -> BitArray:  # noqa: D102 (protocol)
        indices = pack_numbers(selection.atoms[0].cpu().numpy(), self._width)
        negative = (selection.signs[0] < 0).cpu().numpy().astype(np.uint8)
        return np.concatenate([indices.ravel(), negative])

    def read(self, bits: BitArray, known: NDArray[np.bool_]) -> Selection:  # noqa: D102 (protocol)
        split = self.count * self._width
        indices = unpack_numbers(bits[:, :split].reshape(len(bits), self.count, self._width))
        whole = known[:split].reshape(self.count, self._width).all(axis=1) & known[split:]
        signs = np.where(whole & (indices < self.atoms), 1.0 - 2.0 * bits[:, split:], 0.0)
        atoms = torch.from_numpy(np.minimum(indices, self.atoms - 1))
        return Selection(atoms, torch.from_numpy(signs.astype(np.float32)))

    @property
    def _width(self) -> int:
        return (self.atoms - 1).bit_length()
