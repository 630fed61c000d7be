r"""Every index alone, on :math:`\log_2 K` bits: one flipped bit, one atom.

This is the protocol of Robust Turbo-DDCM (https://arxiv.org/abs/2604.05743): :math:`M (\log_2 K + 1)` bits a step.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from flipproof.bits import BitArray, pack_numbers, unpack_numbers
from flipproof.protocol.base import PlainProtocol, check_choice
from flipproof.selection.base import Selection

__all__ = ["IndependentProtocol"]


@dataclass(frozen=True)
class IndependentProtocol(PlainProtocol):
    """Atoms one by one, index and then sign (1 is negative), in the order of the selection; every value is legal.

    Attributes:
        atoms: Codebook size K, a power of two from 2 to 2^20.
        count: Atoms M per step, from 1 to K.

    Raises:
        SpecError: If one of them is out of range.
    """

    atoms: int
    count: int

    def __post_init__(self) -> None:
        check_choice(self.atoms, self.count)

    @property
    def bits(self) -> int:
        """Length of a step in bits."""
        return self.count * (self._width + 1)

    @property
    def sign_bits(self) -> int:
        """One for every atom."""
        return self.count

    def write(self, selection: Selection) -> BitArray:  # noqa: D102 (protocol)
        indices, negative = selection.atoms[0].cpu().numpy(), (selection.signs[0] < 0).cpu().numpy()
        return pack_numbers(indices << 1 | negative, self._width + 1).ravel()

    def read(self, bits: BitArray, known: NDArray[np.bool_]) -> Selection:  # noqa: D102 (protocol)
        words = unpack_numbers(bits.reshape(len(bits), self.count, self._width + 1))
        whole = known.reshape(self.count, self._width + 1).all(axis=1)
        signs = (1.0 - 2.0 * (words & 1)) * whole
        return Selection(torch.from_numpy(words >> 1), torch.from_numpy(signs.astype(np.float32)))

    @property
    def _width(self) -> int:
        return self.atoms.bit_length() - 1
