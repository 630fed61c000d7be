r"""All M indices of a step as ONE number: the rank of the set among all sets, in lexicographic order.

This is the protocol of Turbo-DDCM (https://arxiv.org/abs/2511.06424): :math:`\lceil \log_2 \binom{K}{M} \rceil + M`
bits a step. It is short, and one flipped bit of the rank changes many atoms.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import comb

import numpy as np
import torch
from numpy.typing import NDArray

from flipproof.bits import BitArray
from flipproof.selection.base import Selection

__all__ = ["LexicographicProtocol", "rank", "unrank"]


def rank(indices: list[int], atoms: int) -> int:
    """Returns the lexicographic rank of an ascending list among all lists of its length below ``atoms``.

    Example:
        >>> rank([0, 1, 2], 8), rank([1, 4, 7], 8)
        (0, 32)
    """
    total, start = 0, 0
    for position, index in enumerate(indices):
        rest = len(indices) - position
        total += comb(atoms - start, rest) - comb(atoms - index, rest)
        start = index + 1
    return total


def unrank(number: int, atoms: int, count: int) -> list[int]:
    """Inverts :func:`rank`.

    Walks the atoms once, updating the number of sets that hold the atom at hand by one multiplication and division.

    Example:
        >>> unrank(32, 8, 3)
        [1, 4, 7]
    """
    indices: list[int] = []
    if not count:
        return indices
    holding, rest = comb(atoms - 1, count - 1), count
    for index in range(atoms):
        left = atoms - index - 1
        if number < holding:
            indices.append(index)
            rest -= 1
            if not rest:
                break
            holding = holding * rest // left
        else:
            number -= holding
            holding = holding * (left - rest + 1) // left
    return indices


@dataclass(frozen=True)
class LexicographicProtocol:
    """One rank, then the signs in ascending order of their atoms.

    Attributes:
        atoms: Codebook size K.
        count: Atoms M per step, at most K.
    """

    atoms: int
    count: int

    @cached_property
    def sets(self) -> int:
        """Number of different sets; ranks from here on name none."""
        return comb(self.atoms, self.count)

    @property
    def bits(self) -> int:
        """Length of a step in bits."""
        return self._width + self.count

    def write(self, selection: Selection) -> BitArray:  # noqa: D102 (protocol)
        atoms, order = selection.atoms[0].sort()
        number = rank(atoms.tolist(), self.atoms)
        negative = (selection.signs[0][order] < 0).cpu().numpy().astype(np.uint8)
        digits = np.frombuffer(format(number, f"0{self._width}b").encode(), np.uint8) - ord("0")
        return np.concatenate([digits[: self._width], negative])

    def read(self, bits: BitArray, known: NDArray[np.bool_]) -> Selection:
        """Reads selections; an impossible rank wraps around, an incomplete one loses every atom of the step."""
        sets = [unrank(self._number(row) % self.sets, self.atoms, self.count) for row in bits]
        whole = known[: self._width].all() & known[self._width :]
        signs = (1.0 - 2.0 * bits[:, self._width :]) * whole
        return Selection(torch.tensor(sets, dtype=torch.int64), torch.from_numpy(signs.astype(np.float32)))

    @property
    def _width(self) -> int:
        return (self.sets - 1).bit_length()

    def _number(self, row: BitArray) -> int:
        digits = row[: self._width]
        return int.from_bytes(np.packbits(digits).tobytes(), "big") >> (-self._width % 8)
