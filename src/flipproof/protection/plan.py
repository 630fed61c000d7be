"""Which error-correcting code each part of a payload gets.

A plan cuts a payload into tiers at thirty-seconds of its bytes, in coding order. Every tier is split into blocks of a
BCH code from a ladder of eight; what lies behind the last tier is left bare.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from flipproof.errors import SpecError
from flipproof.protection.bch import BCH
from flipproof.protection.blocks import split_evenly

__all__ = ["HEADER", "LADDER", "PARTS", "UNPROTECTED", "Plan", "Rung", "Span", "Tier"]


@dataclass(frozen=True)
class Rung:
    """A code that a tier may have.

    Attributes:
        code: The code.
        data: Most bytes of data in one of its blocks.
    """

    code: BCH
    data: int


HEADER = Rung(BCH(64), 43)
"""The code of headers."""
LADDER = (*(Rung(BCH(t), BCH(t).data_bits // 8) for t in (8, 12, 14, 16, 20, 28, 40)), HEADER)
"""The codes a tier may have, the weakest first; the strongest is that of the header."""
PARTS = 32
"""Tiers end at multiples of one over this share of the payload."""
MOST_TIERS = 7


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
        code: The code; None for bare bytes.
    """

    start: int
    sizes: tuple[int, ...]
    code: BCH | None

    @property
    def size(self) -> int:
        """Data bytes."""
        return sum(self.sizes)

    @property
    def coded(self) -> int:
        """Bytes with parity."""
        return self.size + (len(self.sizes) * self.code.parity_bits // 8 if self.code else 0)


@dataclass(frozen=True)
class Plan:
    """The protection of a payload.

    Attributes:
        tiers: At most 7, with ascending ends.
        interleaved: Whether the file's bits are permuted.

    Raises:
        SpecError: There are more tiers, or their ends do not ascend from 1 to 32.
    """

    tiers: tuple[Tier, ...] = ()
    interleaved: bool = False

    def __post_init__(self) -> None:
        edges = [0, *(tier.end for tier in self.tiers)]
        if len(self.tiers) > MOST_TIERS or edges[-1] > PARTS or not all(a < b for a, b in pairwise(edges)):
            expected = f"at most {MOST_TIERS} tiers with ends ascending from 1 to {PARTS}"
            raise SpecError(f"expected {expected}, got {self.tiers}")

    def spans(self, size: int, safe: int = 0) -> Iterator[Span]:
        """Yields the stretches of a payload of a size in bytes, but for its first ``safe`` ones."""
        for start, length, rung in self._stretches(size, safe):
            sizes = split_evenly(length, rung.data) if rung else (length,)
            yield Span(start, sizes, rung.code if rung else None)

    def coded_size(self, size: int, safe: int = 0) -> int:
        """Returns the bytes that a payload takes with parity, but for its first ``safe`` ones."""
        return sum(
            length + (-(-length // rung.data) * rung.code.parity_bits // 8 if rung else 0)
            for _, length, rung in self._stretches(size, safe)
        )

    def _stretches(self, size: int, safe: int) -> Iterator[tuple[int, int, Rung | None]]:
        """Yields the first byte of each, its bytes, and how they are coded."""
        ends = [-(-size * tier.end // PARTS) for tier in self.tiers]
        edges = [min(max(safe, end), size) for end in (0, *ends, size)]
        rungs = [LADDER[tier.code] for tier in self.tiers]
        for (start, end), rung in zip(pairwise(edges), (*rungs, None), strict=True):
            if end > start:
                yield start, end - start, rung


UNPROTECTED = Plan()
"""No protection but for the header."""
