"""How a selection becomes bits."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from flipproof.bits import BitArray
from flipproof.errors import SpecError
from flipproof.selection.base import Steering

__all__ = ["MOST_ATOMS", "PlainProtocol", "SelectionProtocol", "check_choice"]

MOST_ATOMS = 2**20
"""Largest codebook size K whose indices are written as such."""


class SelectionProtocol(Protocol):
    """Writes what is selected at one step, at a fixed length; concrete protocols are frozen dataclasses."""

    @property
    def bits(self) -> int:
        """Length of a step in bits."""

    @property
    def sign_bits(self) -> int:
        """How many of them are signs or coefficients; the others say which atoms."""

    @property
    def atoms(self) -> int:
        """Size K of the codebook that a step needs."""

    @property
    def parts(self) -> int:
        """Chunks that the n samples of a step are split into, all coded with one codebook of size ceil(n / parts)."""

    def write(self, selection: Any) -> BitArray:  # noqa: ANN401 (each protocol writes its own kind)
        """Writes the selection of one chain (batch of 1) as an array (bits,)."""

    def read(self, bits: BitArray, known: NDArray[np.bool_]) -> Steering:
        """Reads what was selected from any bits whatever.

        Arguments:
            bits: Received bits with shape (B, bits).
            known: Which of them arrived, with shape (bits,); the others are ignored, and atoms that need them are
                lost, but no more than those.
        """

    def doubt(self, steering: Any, reliability: NDArray[np.float32]) -> Steering:  # noqa: ANN401 (as for write)
        """Returns what was read, the less of it the less its bits can be trusted.

        Arguments:
            steering: What :meth:`read` returned.
            reliability: Absolute log-likelihood ratios of the bits, with shape (B, bits).
        """

    def faults(self, bits: BitArray) -> NDArray[np.int64]:
        """Counts the values in received bits (B, bits) that no encoder writes, as (B,)."""


class PlainProtocol:
    """What most protocols have in common: a step in one part, every value of which an encoder may write."""

    @property
    def parts(self) -> int:
        """Chunks that the samples of a step are split into: 1."""
        return 1

    def doubt(self, steering: Any, reliability: NDArray[np.float32]) -> Steering:  # noqa: ANN401 (as for write)
        """Returns what was read as it is: hard decisions are all that counts."""
        kept: Steering = steering
        return kept

    def faults(self, bits: BitArray) -> NDArray[np.int64]:
        """Counts the values in received bits (B, bits) that no encoder writes, as (B,): none."""
        return np.zeros(len(bits), np.int64)


def check_choice(atoms: int, count: int) -> None:
    """Checks that a step can take ``count`` of ``atoms`` atoms, with indices of a whole number of bits.

    Raises:
        SpecError: If K is not a power of two from 2 to 2^20, or M is not from 1 to K.
    """
    if not 2 <= atoms <= MOST_ATOMS or atoms & (atoms - 1):
        raise SpecError(f"expected atoms K to be a power of two from 2 to {MOST_ATOMS}, got {atoms}")
    if not 1 <= count <= atoms:
        raise SpecError(f"expected the count M of atoms from 1 to {atoms}, got {count}")
