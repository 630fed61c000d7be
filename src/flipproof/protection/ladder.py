r"""The codes that parts of a payload may have, on two ladders; the format version of a file says which one is its own.

Rungs of :data:`BLOCKS` are BCH codes with blocks of about a thousand bits, which repair a number of flips for certain.
Those of :data:`LONG` are repeat-accumulate codes with blocks as long as the part, up to 4096 bytes of data: they repair
more flips with less parity, the more so the longer the part.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cache

import numpy as np

from flipproof.protection.accumulate import RepeatAccumulate
from flipproof.protection.bch import BCH
from flipproof.protection.blocks import split_evenly
from flipproof.protection.code import Code

__all__ = ["BLOCKS", "HEADER", "LADDERS", "LONG", "BlockRung", "Ladder", "LongRung", "Rung"]

MOST_DATA = 4096
"""Most bytes of data in a block of a repeat-accumulate code."""
LEAST_PARITY = 4
"""Bytes of parity that such a block has at least."""
PARITY_UNIT = 64
SPREAD = 1.2
"""How much more the flips that such a block bears vary than the flips that it gets."""
SHORTNESS = 3.0
"""How much fewer a short block bears than a long one, in units of one over the root of its bits."""


class Rung(ABC):
    """A code that a part of a payload may have."""

    @abstractmethod
    def blocks(self, size: int) -> tuple[tuple[int, ...], Code]:
        """Returns the data bytes of each block of a part of ``size`` bytes, and the code of all of them."""

    @abstractmethod
    def coded_size(self, size: int) -> int:
        """Returns the bytes of such a part with parity."""

    @abstractmethod
    def residual(self, bits: int, ber: float) -> float:
        """Returns the share of bits that are wrong after the code on a binary symmetric channel.

        Arguments:
            bits: Of a block, with parity.
            ber: Bit error rate of the channel.
        """

    @property
    @abstractmethod
    def title(self) -> str:
        """What people read of it."""


@dataclass(frozen=True)
class BlockRung(Rung):
    """A BCH code.

    Attributes:
        code: The code.
        data: Most bytes of data in one of its blocks.
    """

    code: BCH
    data: int

    @property
    def title(self) -> str:  # noqa: D102 (inherited)
        return f"BCH t={self.code.t}"

    def blocks(self, size: int) -> tuple[tuple[int, ...], Code]:  # noqa: D102 (inherited)
        return split_evenly(size, self.data), self.code

    def coded_size(self, size: int) -> int:  # noqa: D102 (inherited)
        return size + -(-size // self.data) * self.code.parity_bits // 8

    def residual(self, bits: int, ber: float) -> float:
        r"""Returns the share of wrong bits.

        A block of n bits with at most t flips is repaired, any other is left as it is: with
        :math:`P_e = \binom{n}{e} p^e (1-p)^{n-e}` that is

        .. math:: \sum_{e>t} P_e\, \frac{e}{n} = p \sum_{e=t}^{n-1} \binom{n-1}{e} p^e (1-p)^{n-1-e}.
        """
        return _beyond(self.code.t, bits, ber)


@dataclass(frozen=True)
class LongRung(Rung):
    """Repeat-accumulate codes of one rate.

    Attributes:
        parity: Parity, in 64ths of the data.
        bearable: Bit error rate at which one in two blocks is lost, if they are very long, by simulation
            (`benchmarks/bearable.py`).
    """

    parity: int
    bearable: float

    @property
    def title(self) -> str:  # noqa: D102 (inherited)
        return f"IRA rate {PARITY_UNIT / (PARITY_UNIT + self.parity):.2f}"

    def blocks(self, size: int) -> tuple[tuple[int, ...], Code]:  # noqa: D102 (inherited)
        sizes = split_evenly(size, MOST_DATA)
        return sizes, RepeatAccumulate(sizes[0], self._parity(sizes[0]))

    def coded_size(self, size: int) -> int:  # noqa: D102 (inherited)
        count = -(-size // MOST_DATA)
        return size + count * self._parity(-(-size // count))

    def residual(self, bits: int, ber: float) -> float:
        r"""Returns the share of wrong bits: those of blocks that are lost, which keep what came.

        The flips that a block of n bits bears are taken for normal, with a mean of :math:`n b`, where
        :math:`b = b_\infty (1 - 3 / \sqrt n)`, and 1.2 times the deviation of the flips that it gets at that rate b. It
        is lost with the probability

        .. math:: Q\Big( \frac{b - p}{1.2 \sqrt{b (1 - b) / n}} \Big).
        """
        bearable = self.bearable * (1 - SHORTNESS / math.sqrt(bits))
        deviation = SPREAD * math.sqrt(bearable * (1 - bearable) / bits)
        return ber * math.erfc((bearable - ber) / deviation / math.sqrt(2)) / 2

    def _parity(self, data: int) -> int:
        return max(LEAST_PARITY, -(-data * self.parity // PARITY_UNIT))


@dataclass(frozen=True)
class Ladder:
    """Eight codes.

    Attributes:
        version: Format version of the files whose parts have them.
        rungs: The codes, the weakest first.
    """

    version: int
    rungs: tuple[Rung, ...]


@cache
def _beyond(flips: int, bits: int, ber: float) -> float:
    """Returns the share of bits that are wrong because their blocks have more flips than that."""
    if ber <= 0:
        return 0.0
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, bits)))])
    others = np.arange(flips, bits)
    choices = logs[-1] - logs[others] - logs[::-1][others]
    return float(ber * np.exp(choices + others * math.log(ber) + (bits - 1 - others) * math.log1p(-ber)).sum())


HEADER = BlockRung(BCH(64), 43)
"""The code of headers."""
BLOCKS = Ladder(3, (*(BlockRung(BCH(t), BCH(t).data_bits // 8) for t in (8, 12, 14, 16, 20, 28, 40)), HEADER))
_BEARABLE = {3: 0.0039, 6: 0.0092, 8: 0.0125, 12: 0.0197, 20: 0.0345, 34: 0.0575, 64: 0.1, 128: 0.156}
LONG = Ladder(4, tuple(LongRung(parity, ber) for parity, ber in _BEARABLE.items()))
LADDERS = {ladder.version: ladder for ladder in (BLOCKS, LONG)}
"""The ladders by format version."""
