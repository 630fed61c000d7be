r"""DDCM's protocol (https://arxiv.org/abs/2502.01189): every index alone, and C bits for every coefficient.

:math:`M \log_2 K + (M - 1) C` bits a step, as the paper has it. The published code writes :math:`\lceil \log_2 K
\rceil` bits an index; here K is a power of two, so they agree. One flipped bit changes one index or one coefficient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from flipproof.bits import BitArray, pack_numbers, unpack_numbers
from flipproof.errors import SpecError
from flipproof.protocol.base import PlainProtocol, check_choice
from flipproof.selection.pursuit import LOST, Pursuit

__all__ = ["PursuitProtocol"]

MOST_COEFFICIENT_BITS = 8


@dataclass(frozen=True)
class PursuitProtocol(PlainProtocol):
    """The first index, then coefficient and index of every further atom, in the order of the published files.

    All values are read, but some are never written: see :meth:`faults`.

    Attributes:
        atoms: Codebook size K, a power of two from 2 to 2^20.
        count: Atoms M per step, from 1 to K.
        coefficient_bits: Bits C of a coefficient, from 1 to 8; with 1 no atom but the first is ever of use.

    Raises:
        SpecError: If one of them is out of range.
    """

    atoms: int
    count: int
    coefficient_bits: int

    def __post_init__(self) -> None:
        check_choice(self.atoms, self.count)
        if not 1 <= self.coefficient_bits <= MOST_COEFFICIENT_BITS:
            raise SpecError(
                f"expected the bits C of a coefficient from 1 to {MOST_COEFFICIENT_BITS}, got {self.coefficient_bits}"
            )

    @property
    def bits(self) -> int:
        """Length of a step in bits."""
        return self.count * self._width + (self.count - 1) * self.coefficient_bits

    @property
    def sign_bits(self) -> int:
        """Those of the coefficients of all atoms but the first."""
        return (self.count - 1) * self.coefficient_bits

    def write(self, selection: Pursuit) -> BitArray:  # noqa: D102 (protocol)
        atoms = pack_numbers(selection.atoms[0].cpu().numpy(), self._width)
        codes = pack_numbers(selection.codes[0].cpu().numpy(), self.coefficient_bits)
        return np.concatenate([atoms[0], np.concatenate([codes, atoms[1:]], axis=1).ravel()])

    def read(self, bits: BitArray, known: NDArray[np.bool_]) -> Pursuit:
        """Reads pursuits; an index or a coefficient that misses a bit is lost."""
        table, arrived, split = self._table(bits), self._table(known[None]), self.coefficient_bits
        codes = np.where(arrived[..., :split].all(axis=-1), unpack_numbers(table[..., :split]), LOST)
        atoms = np.where(arrived[..., split:].all(axis=-1), unpack_numbers(table[..., split:]), LOST)
        return Pursuit(torch.from_numpy(atoms), torch.from_numpy(codes[:, 1:]), self.coefficient_bits)

    def faults(self, bits: BitArray) -> NDArray[np.int64]:
        """Counts the further atoms in received bits (B, bits) that no encoder writes, as (B,).

        They have the highest code, which never improves, or are not zero although a code was before or is now.
        """
        read = self.read(bits, np.ones(self.bits, bool))
        atoms, codes = read.atoms.numpy()[:, 1:], read.codes.numpy()
        ended = np.logical_or.accumulate(codes == 0, axis=1)
        wrong = (codes == (1 << self.coefficient_bits) - 1) | (ended & ((atoms | codes) != 0))
        counts: NDArray[np.int64] = wrong.sum(axis=1)
        return counts

    def _table(self, values: NDArray[Any]) -> NDArray[Any]:
        """Arranges values (B, bits) as (B, M, C + log2 K), with zeros for the coefficient that the first atom lacks."""
        padded = np.pad(values, ((0, 0), (self.coefficient_bits, 0)))
        return padded.reshape(len(values), self.count, self.coefficient_bits + self._width)

    @property
    def _width(self) -> int:
        return self.atoms.bit_length() - 1
