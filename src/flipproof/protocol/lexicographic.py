r"""All M indices of a step as ONE number: the rank of the set among all sets, in lexicographic order.

This is the protocol of Turbo-DDCM (https://arxiv.org/abs/2511.06424): :math:`\lceil \log_2 \binom{K}{M} \rceil + M`
bits a step. It is short, and one flipped bit of the rank changes many atoms.

Mirrored indices :math:`d_i = K - 1 - k_i` turn lexicographic order into the combinatorial number system (Knuth, The
Art of Computer Programming 4A, 7.2.1.3): for :math:`k_1 < \dots < k_M` the rank is

.. math:: \binom{K}{M} - 1 - \sum_{i=1}^{M} \binom{d_i}{M - i + 1},

and :math:`d_i` is the largest number whose binomial fits what the terms before it leave. Binomials follow from one
another by a product and a division, and logarithms say where to look, so no atom between two of the set is visited.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import comb, lgamma, log

import numpy as np
import torch
from numpy.typing import NDArray

from flipproof.bits import BitArray
from flipproof.protocol.base import PlainProtocol, check_choice
from flipproof.selection.base import Selection

__all__ = ["LexicographicProtocol", "rank", "unrank"]

MOST_ITERATIONS = 50
"""Of Newton's method, which needs 2 to 4 on average and fewer than 30."""


def rank(indices: Sequence[int], atoms: int) -> int:
    """Returns the lexicographic rank of an ascending list among all lists of its length below ``atoms``.

    Example:
        >>> rank([0, 1, 2], 8), rank([1, 4, 7], 8)
        (0, 32)
    """
    top, rest = atoms, len(indices)
    sets = comb(top, rest)
    number = sets - 1
    for index in indices:
        mirrored = atoms - 1 - index
        sets = _lowered(sets, top, rest, mirrored)
        if not sets:
            break
        number -= sets
        sets = sets * rest // (mirrored - rest + 1)
        top, rest = mirrored, rest - 1
    return number


def unrank(number: int, atoms: int, count: int) -> list[int]:
    """Inverts :func:`rank`, for numbers from 0 to C(atoms, count) - 1.

    The arithmetic is exact; estimates from logarithms only say where it starts.

    Example:
        >>> unrank(32, 8, 3)
        [1, 4, 7]
    """
    top, sets = atoms, comb(atoms, count)
    left = sets - 1 - number
    indices: list[int] = []
    for rest in range(count, 0, -1):
        # From here on sets = C(top, rest) > left: the next mirrored index is below top.
        if not left:
            return [*indices, *range(atoms - rest, atoms)]
        mirrored = _estimate(log(left), rest, top)
        sets = _lowered(sets, top, rest, mirrored)
        while sets > left:
            sets = sets * (mirrored - rest) // mirrored
            mirrored -= 1
        left -= sets
        sets = sets * rest // (mirrored - rest + 1)
        while left >= sets:
            left -= sets
            mirrored += 1
            sets = sets * mirrored // (mirrored - rest + 1)
        indices.append(atoms - 1 - mirrored)
        top = mirrored
    return indices


def _lowered(sets: int, top: int, count: int, lower: int) -> int:
    """Returns C(lower, count), given sets = C(top, count)."""
    gap = top - lower
    if gap < count:
        return sets * comb(top - count, gap) // comb(top, gap)
    return comb(lower, count)


def _estimate(target: float, count: int, top: int) -> int:
    """Returns the largest d with log C(d, count) <= target, from ``count`` to top - 1, give or take one or two.

    Newton's method; the function is concave, so all iterates but the first are on the same side.
    """
    target += lgamma(count + 1)
    guess = float(top - 1)
    for _ in range(MOST_ITERATIONS):
        excess = lgamma(guess + 1) - lgamma(guess - count + 1) - target
        slope = log(guess + 1) - log(guess - count + 0.5)
        before, guess = guess, min(max(guess - excess / slope, count), top - 1)
        if abs(guess - before) < 0.1:
            break
    return int(guess)


@dataclass(frozen=True)
class LexicographicProtocol(PlainProtocol):
    """One rank, then the signs (1 is negative) in ascending order of their atoms.

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

    @cached_property
    def sets(self) -> int:
        """Number C(K, M) of different sets; ranks from here on name none."""
        return comb(self.atoms, self.count)

    @property
    def bits(self) -> int:
        """Length of a step in bits."""
        return self._width + self.count

    @property
    def sign_bits(self) -> int:
        """One for every atom."""
        return self.count

    def write(self, selection: Selection) -> BitArray:  # noqa: D102 (protocol)
        atoms, order = selection.atoms[0].sort()
        number = rank(atoms.tolist(), self.atoms)
        negative = (selection.signs[0][order] < 0).cpu().numpy().astype(np.uint8)
        digits = np.frombuffer(format(number, f"0{self._width}b").encode(), np.uint8) - ord("0")
        return np.concatenate([digits[: self._width], negative])

    def read(self, bits: BitArray, known: NDArray[np.bool_]) -> Selection:
        """Reads selections; an impossible rank wraps around, an incomplete one loses every atom of the step."""
        numbers = [self._number(row) % self.sets for row in bits]
        sets = {number: unrank(number, self.atoms, self.count) for number in set(numbers)}
        whole = known[: self._width].all() & known[self._width :]
        signs = (1.0 - 2.0 * bits[:, self._width :]) * whole
        return Selection(torch.tensor([sets[number] for number in numbers]), torch.from_numpy(signs.astype(np.float32)))

    def faults(self, bits: BitArray) -> NDArray[np.int64]:
        """Counts the ranks out of range in received bits (B, bits), 0 or 1 each, as (B,)."""
        return np.array([self._number(row) >= self.sets for row in bits], np.int64)

    @property
    def _width(self) -> int:
        return (self.sets - 1).bit_length()

    def _number(self, row: BitArray) -> int:
        digits = row[: self._width]
        return int.from_bytes(np.packbits(digits).tobytes(), "big") >> (-self._width % 8)
