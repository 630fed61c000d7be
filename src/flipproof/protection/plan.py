"""Which error-correcting code each part of a payload gets.

A plan cuts a payload into tiers at thirty-seconds of its bytes, in coding order. Every tier has a code of one of the
two ladders; what lies behind the last tier is left bare.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from flipproof.errors import SpecError
from flipproof.protection.code import Code
from flipproof.protection.ladder import BLOCKS, Ladder, Rung

__all__ = ["PARTS", "UNPROTECTED", "Plan", "Span", "Tier"]

PARTS = 32
"""Tiers end at multiples of one over this share of the payload."""
MOST_TIERS = 7
MARGIN = 40
"""How many more parity checks a block has than bits that are found again for certain."""


@dataclass(frozen=True)
class Tier:
    """A stretch of a payload under one code.

    Attributes:
        code: Its place in the ladder, 0 to 7.
        end: Where the stretch ends, in thirty-seconds of the payload, 1 to 32.
    """

    code: int
    end: int


@dataclass(frozen=True)
class Span:
    """Bytes of a payload that share a code.

    Attributes:
        start: First byte.
        sizes: Data bytes of each block; of one block without parity if bare.
        rung: Where the code stands on the ladder; None for bare bytes.
        code: The code; None for bare bytes.
    """

    start: int
    sizes: tuple[int, ...]
    rung: Rung | None = None
    code: Code | None = None

    @property
    def size(self) -> int:
        """Data bytes."""
        return sum(self.sizes)

    @property
    def coded(self) -> int:
        """Bytes with parity."""
        return self.size + (len(self.sizes) * self.code.parity_bits // 8 if self.code else 0)

    def residual(self, ber: float) -> float:
        """Returns the share of its bits that are wrong after the code, at a bit error rate."""
        if self.rung is None or self.code is None:
            return ber
        return self.rung.residual(8 * self.sizes[0] + self.code.parity_bits, ber)

    def lost(self, loss: float) -> float:
        r"""Returns the probability that a block of it is not found again, where a known share of all bits is lost.

        Of n bits with r of parity, r - 40 may be missing; n p are on average, with a deviation of
        :math:`\sqrt{n p (1 - p)}`. Bare bytes are not.
        """
        if self.code is None:
            return 1.0
        bits = 8 * self.sizes[0] + self.code.parity_bits
        left, deviation = self.code.parity_bits - MARGIN - bits * loss, math.sqrt(bits * loss * (1 - loss))
        return math.erfc(left / deviation / math.sqrt(2)) / 2


@dataclass(frozen=True)
class Plan:
    """The protection of a payload.

    Attributes:
        tiers: At most 7, with ascending ends.
        interleaved: Whether the file's bits are permuted.
        ladder: Where the codes of the tiers are from.

    Raises:
        SpecError: There are more tiers, or their ends do not ascend from 1 to 32.
    """

    tiers: tuple[Tier, ...] = ()
    interleaved: bool = False
    ladder: Ladder = BLOCKS

    def __post_init__(self) -> None:
        edges = [0, *(tier.end for tier in self.tiers)]
        if len(self.tiers) > MOST_TIERS or edges[-1] > PARTS or not all(a < b for a, b in pairwise(edges)):
            expected = f"at most {MOST_TIERS} tiers with ends ascending from 1 to {PARTS}"
            raise SpecError(f"expected {expected}, got {self.tiers}")

    def spans(self, size: int, safe: int = 0) -> Iterator[Span]:
        """Yields the stretches of a payload of a size in bytes, but for its first ``safe`` ones."""
        for start, length, rung in self._stretches(size, safe):
            if rung is None:
                yield Span(start, (length,))
            else:
                sizes, code = rung.blocks(length)
                yield Span(start, sizes, rung, code)

    def coded_size(self, size: int, safe: int = 0) -> int:
        """Returns the bytes that a payload takes with parity, but for its first ``safe`` ones."""
        return sum(rung.coded_size(length) if rung else length for _, length, rung in self._stretches(size, safe))

    def _stretches(self, size: int, safe: int) -> Iterator[tuple[int, int, Rung | None]]:
        """Yields the first byte of each, its bytes, and how they are coded."""
        ends = [-(-size * tier.end // PARTS) for tier in self.tiers]
        edges = [min(max(safe, end), size) for end in (0, *ends, size)]
        rungs = [self.ladder.rungs[tier.code] for tier in self.tiers]
        for (start, end), rung in zip(pairwise(edges), (*rungs, None), strict=True):
            if end > start:
                yield start, end - start, rung


UNPROTECTED = Plan()
"""No protection but for the header."""
