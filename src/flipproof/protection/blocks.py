"""Bytes split into blocks of a code, shortened evenly, and put together again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from flipproof.bits import BitArray
from flipproof.protection.code import Code, Decoded

__all__ = ["Recovered", "protect", "recover", "split_evenly"]


@dataclass(frozen=True, eq=False)
class Recovered:
    """What came out of the blocks of n data bits.

    Attributes:
        bits: The data (n,); as it came where a block was beyond repair.
        repaired: Bits that were put right, with shape (n,).
        suspect: Bits of blocks beyond repair, with shape (n,).
        reliability: Absolute log-likelihood ratio of each bit, float32 with shape (n,): infinite in good blocks and
            where nothing is known against a bit, 0 where a bit is lost.
        flips: Bits put right, parity included.
        failed: Blocks beyond repair.
    """

    bits: BitArray
    repaired: NDArray[np.bool_]
    suspect: NDArray[np.bool_]
    reliability: NDArray[np.float32]
    flips: int = 0
    failed: int = 0

    @classmethod
    def of(cls, received: BitArray, decoded: Decoded, llr: NDArray[np.float32] | None) -> Recovered:
        """Returns what came out of received blocks (B, n) with log-likelihood ratios, if there are any."""
        raw, length = received[:, : decoded.data.shape[1]], decoded.data.shape[1]
        suspect = np.repeat(decoded.failed[:, None], length, axis=1)
        reliability = np.full(raw.shape, np.inf, np.float32)
        if llr is not None:
            reliability = np.where(suspect, np.abs(llr[:, :length]), reliability)
        bits, repaired = decoded.data.ravel(), (decoded.data != raw).ravel()
        flips, failed = int(decoded.flips.sum()), int(decoded.failed.sum())
        return cls(bits, repaired, suspect.ravel(), reliability.ravel(), flips, failed)

    @classmethod
    def bare(cls, bits: BitArray, llr: NDArray[np.float32] | None) -> Recovered:
        """Returns bits (n,) that had no code."""
        none = np.zeros(len(bits), bool)
        return cls(bits, none, none, np.full(len(bits), np.inf, np.float32) if llr is None else np.abs(llr))

    @classmethod
    def joined(cls, parts: Sequence[Recovered]) -> Recovered:
        """Returns the bits of several parts, one after the other."""
        return cls(
            bits=np.concatenate([part.bits for part in parts]),
            repaired=np.concatenate([part.repaired for part in parts]),
            suspect=np.concatenate([part.suspect for part in parts]),
            reliability=np.concatenate([part.reliability for part in parts]),
            flips=sum(part.flips for part in parts),
            failed=sum(part.failed for part in parts),
        )

    @property
    def known(self) -> NDArray[np.bool_]:
        """Bits that arrived or were found again, with shape (n,)."""
        return self.reliability > 0

    def cut(self, start: int, size: int) -> Recovered:
        """Returns bits from a place on, at most so many; the counts stay."""
        place = slice(start, start + size)
        kept = (self.bits[place], self.repaired[place], self.suspect[place], self.reliability[place])
        return Recovered(*kept, self.flips, self.failed)


def split_evenly(size: int, most: int) -> tuple[int, ...]:
    """Returns the fewest parts of at most ``most`` that sum to ``size``, the larger ones first, all alike but for one.

    Example:
        >>> split_evenly(10, 4)
        (4, 3, 3)
    """
    count = -(-size // most)
    return tuple(size // count + (index < size % count) for index in range(count))


def protect(data: bytes, sizes: tuple[int, ...], code: Code) -> bytes:
    """Appends its parity to every block of data bytes."""
    bits, parts = np.unpackbits(np.frombuffer(data, np.uint8)), []
    for start, size, count in _runs(sizes):
        blocks = bits[8 * start : 8 * (start + size * count)].reshape(count, 8 * size)
        parts.append(np.packbits(code.encode(blocks), axis=1).tobytes())
    return b"".join(parts)


def recover(received: BitArray, llr: NDArray[np.float32] | None, sizes: tuple[int, ...], code: Code) -> Recovered:
    """Undoes :func:`protect` on received bits, and on their log-likelihood ratios where there are any."""
    parts, first = [], 0
    for _, size, count in _runs(sizes):
        length = 8 * size + code.parity_bits
        place, first = slice(first, first + count * length), first + count * length
        blocks = received[place].reshape(count, length)
        ratios = None if llr is None else llr[place].reshape(count, length)
        parts.append(Recovered.of(blocks, code.decode(blocks, ratios), ratios))
    return Recovered.joined(parts)


def _runs(sizes: tuple[int, ...]) -> list[tuple[int, int, int]]:
    """Returns first byte, size and number of the blocks of each size that follow one another."""
    runs, start = [], 0
    for size, members in groupby(sizes):
        count = len(list(members))
        runs.append((start, size, count))
        start += size * count
    return runs
