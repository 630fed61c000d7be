r"""Chunk seeds one by one, each on its own bits: one flipped bit, one chunk.

This is robust DiffC. What the published DiffC stores is the same seeds behind one entropy coder, see
:mod:`flipproof.protocol.zipf`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from flipproof.bits import BitArray, pack_numbers, unpack_numbers
from flipproof.errors import SpecError
from flipproof.selection.diffc import MOST_SEED_BITS, Seeds

__all__ = ["DiffCProtocol"]


@dataclass(frozen=True)
class DiffCProtocol:
    """Seeds of fixed length.

    Attributes:
        seed_bits: Bits of a seed, 1 to :data:`~flipproof.selection.diffc.MOST_SEED_BITS`.
        parts: Number of chunks of the step, at least 1.
        step: Which step of the chain, for :class:`~flipproof.selection.diffc.Seeds`.
        size: Samples n of the step, likewise.

    Raises:
        SpecError: If seed bits or parts are out of range.
    """

    seed_bits: int
    parts: int
    step: int
    size: int

    def __post_init__(self) -> None:
        if not 1 <= self.seed_bits <= MOST_SEED_BITS:
            raise SpecError(f"diffc: expected seed bits in [1, {MOST_SEED_BITS}], got {self.seed_bits}")
        if self.parts < 1:
            raise SpecError(f"diffc: expected at least 1 part, got {self.parts}")

    @property
    def bits(self) -> int:
        """Length of a step in bits."""
        return self.parts * self.seed_bits

    @property
    def sign_bits(self) -> int:
        """None: a seed stands for samples as they are."""
        return 0

    @property
    def atoms(self) -> int:
        """Candidates per chunk."""
        return 1 << self.seed_bits

    def write(self, selection: Seeds) -> BitArray:  # noqa: D102 (protocol)
        return pack_numbers(selection.seeds[0].cpu().numpy(), self.seed_bits).ravel()

    def read(self, bits: BitArray, known: NDArray[np.bool_]) -> Seeds:
        """Reads seeds; a chunk with an unknown bit is lost."""
        seeds = unpack_numbers(bits.reshape(len(bits), self.parts, self.seed_bits))
        lost = ~known.reshape(self.parts, self.seed_bits).all(axis=1)
        return Seeds(torch.from_numpy(seeds), torch.from_numpy(lost).expand(len(bits), -1), self.step, self.size)

    def doubt(self, steering: Seeds, reliability: NDArray[np.float32]) -> Seeds:
        """Returns what was read as it is: hard decisions are all that counts."""
        return steering

    def faults(self, bits: BitArray) -> NDArray[np.int64]:
        """Returns zeros (B,): every seed is one that an encoder may write."""
        return np.zeros(len(bits), np.int64)
