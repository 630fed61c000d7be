"""How a selection becomes bits."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from flipproof.bits import BitArray
from flipproof.selection.base import Selection

__all__ = ["SelectionProtocol"]


class SelectionProtocol(Protocol):
    """Writes the selection of one step at a fixed length."""

    @property
    def bits(self) -> int:
        """Length of a step in bits."""

    def write(self, selection: Selection) -> BitArray:
        """Writes the selection of one chain (batch of 1) as an array (bits,)."""

    def read(self, bits: BitArray, known: NDArray[np.bool_]) -> Selection:
        """Reads selections from any bits whatever.

        Arguments:
            bits: Received bits with shape (B, bits).
            known: Which of them arrived, with shape (bits,); the others are ignored, and atoms that need them are
                lost (sign 0).
        """
