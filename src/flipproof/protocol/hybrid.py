r"""The strongest B indices alone, the other M - B as one rank.

:math:`B \log_2 K + \lceil \log_2 \binom{K}{M - B} \rceil + M` bits a step: between the rank of Turbo-DDCM (B = 0) and
the independent indices of Robust Turbo-DDCM (B = M).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from flipproof.bits import BitArray
from flipproof.errors import SpecError
from flipproof.protocol.base import PlainProtocol, check_choice
from flipproof.protocol.independent import IndependentProtocol
from flipproof.protocol.lexicographic import LexicographicProtocol
from flipproof.selection.base import Selection

__all__ = ["HybridProtocol"]


@dataclass(frozen=True)
class HybridProtocol(PlainProtocol):
    """Indices and signs of the first B atoms of a selection one by one, then rank and signs of the others.

    Attributes:
        atoms: Codebook size K, a power of two from 2 to 2^20.
        count: Atoms M per step, from 1 to K.
        alone: Indices B written alone, from 0 to M.

    Raises:
        SpecError: If one of them is out of range.
    """

    atoms: int
    count: int
    alone: int

    def __post_init__(self) -> None:
        check_choice(self.atoms, self.count)
        if not 0 <= self.alone <= self.count:
            raise SpecError(f"expected the count B of atoms alone from 0 to {self.count}, got {self.alone}")

    @property
    def bits(self) -> int:
        """Length of a step in bits."""
        return sum(group.bits for group in self._groups)

    @property
    def sign_bits(self) -> int:
        """One for every atom."""
        return self.count

    def write(self, selection: Selection) -> BitArray:  # noqa: D102 (protocol)
        written, start = [], 0
        for group in self._groups:
            taken = slice(start, start + group.count)
            written.append(group.write(Selection(selection.atoms[:, taken], selection.signs[:, taken])))
            start += group.count
        return np.concatenate(written)

    def read(self, bits: BitArray, known: NDArray[np.bool_]) -> Selection:  # noqa: D102 (protocol)
        read = [group.read(bits[:, span], known[span]) for group, span in self._spans()]
        return Selection(torch.cat([part.atoms for part in read], 1), torch.cat([part.signs for part in read], 1))

    def faults(self, bits: BitArray) -> NDArray[np.int64]:
        """Counts the ranks out of range in received bits (B, bits), 0 or 1 each, as (B,)."""
        return sum((group.faults(bits[:, span]) for group, span in self._spans()), np.zeros(len(bits), np.int64))

    @cached_property
    def _groups(self) -> tuple[IndependentProtocol | LexicographicProtocol, ...]:
        """The atoms alone and the ranked ones, as far as there are any."""
        first = (IndependentProtocol(self.atoms, self.alone),) if self.alone else ()
        rest = (LexicographicProtocol(self.atoms, self.count - self.alone),) if self.alone < self.count else ()
        return first + rest

    def _spans(self) -> Iterator[tuple[IndependentProtocol | LexicographicProtocol, slice]]:
        start = 0
        for group in self._groups:
            yield group, slice(start, start + group.bits)
            start += group.bits
