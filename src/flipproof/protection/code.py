"""The contract of every error-correcting block code."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from flipproof.bits import BitArray
from flipproof.registry import spelled

__all__ = ["ByteCode", "Code", "Decoded"]


@dataclass(frozen=True, eq=False)
class Decoded:
    """What came out of B blocks.

    Attributes:
        data: Data bits with shape (B, k); where a block was beyond repair, the hard decisions as they came.
        flips: Bits of the whole block that were put right, parity included, with shape (B,); 0 where beyond repair.
        failed: Whether a block was beyond repair, with shape (B,).
    """

    data: BitArray
    flips: NDArray[np.int64]
    failed: NDArray[np.bool_]


class Code(ABC):
    """A block code; concrete codes are frozen dataclasses whose fields are their parameters.

    Blocks may be shortened: with k' < k data bits a block has ``k' + parity_bits`` bits.
    """

    name: ClassVar[str]

    @property
    @abstractmethod
    def data_bits(self) -> int:
        """Data bits k of a full block, a multiple of 8."""

    @property
    @abstractmethod
    def parity_bits(self) -> int:
        """Bits that a block has beyond its data, shortened or not, a multiple of 8."""

    @property
    def rate(self) -> float:
        """Data bits over all bits of a full block."""
        return self.data_bits / (self.data_bits + self.parity_bits)

    @abstractmethod
    def encode(self, data: BitArray) -> BitArray:
        """Encodes blocks of data bits (B, k'), 8 <= k' <= k, as blocks (B, k' + parity_bits)."""

    @abstractmethod
    def decode(self, received: BitArray, llr: NDArray[np.float32] | None = None) -> Decoded:
        """Decodes blocks of any bits whatever.

        Arguments:
            received: Hard decisions (B, k' + parity_bits).
            llr: Log-likelihood ratios of the same shape, positive for 0; 0 marks an erased bit. None if only the bits
                are known.
        """

    def __str__(self) -> str:
        """The canonical spelling, as in ``bch,t=7``."""
        return ",".join([self.name, *(f"{f.name}={spelled(getattr(self, f.name))}" for f in fields(self))])  # type: ignore[arg-type]


class ByteCode(Code):
    """A block code with whole bytes of data in a full block and of parity in every block, its parameters."""

    data: int
    parity: int

    @property
    def data_bits(self) -> int:
        """Data bits of a full block."""
        return 8 * self.data

    @property
    def parity_bits(self) -> int:
        """Bits that a block has beyond its data, shortened or not."""
        return 8 * self.parity
