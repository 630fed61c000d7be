"""Choices made by bytes, so that a fuzzer's mutations of the bytes are mutations of the choices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from flipproof.errors import SpecError
from flipproof.received import File, Received

Item = TypeVar("Item")

MOST_MUTATIONS = 8


class Source:
    """Numbers and runs from the front of a byte string, zeros once it is used up."""

    def __init__(self, data: bytes) -> None:
        self._data, self._place = data, 0

    def take(self, size: int) -> bytes:
        """Returns the next bytes."""
        part = self._data[self._place : self._place + size]
        self._place += size
        return part.ljust(size, b"\0")

    def below(self, limit: int) -> int:
        """Returns a number from 0 to limit - 1."""
        return int.from_bytes(self.take(-(-(limit - 1).bit_length() // 8)), "big") % limit

    def one_of(self, items: Sequence[Item]) -> Item:
        """Returns one of some items."""
        return items[self.below(len(items))]

    def rest(self) -> bytes:
        """Returns what is left."""
        part = self._data[self._place :]
        self._place = len(self._data)
        return part


def mutated(source: Source, data: bytes) -> bytes:
    """Returns bytes with flips, cuts, insertions, doubled runs and blanks, as many as the source says."""
    for _ in range(source.below(MOST_MUTATIONS + 1)):
        kind, start = source.below(6), source.below(max(1, min(len(data), 2**16)))
        run = 1 + source.below(256)
        match kind:
            case 0:
                flips = bytes(a ^ b for a, b in zip(data[start : start + 4], source.take(4), strict=False))
                data = data[:start] + flips + data[start + 4 :]
            case 1:
                data = data[:start] + data[start + run :]
            case 2:
                data = data[:start] + source.take(run % 16) + data[start:]
            case 3:
                data = data[: start + run] + data[start:]
            case 4:
                data = data[:start] + bytes(len(data[start : start + run])) + data[start + run :]
            case _:
                data = data[:start]
    return data


def perhaps_soft(source: Source, data: bytes) -> File:
    """Returns bytes alone, or with log-likelihood ratios."""
    return data if source.below(4) else soft(source, data)


def soft(source: Source, data: bytes) -> File:
    """Returns bytes with ratios that the source repeats, for or against them; alone where those are impossible."""
    pattern = np.frombuffer(source.take(4 * (1 + source.below(8))), ">f4").astype(np.float32)
    llr = np.resize(pattern, 8 * len(data) if source.below(4) else len(data))
    if source.below(2):
        llr = np.where(np.resize(np.unpackbits(np.frombuffer(data, np.uint8)), len(llr)), -llr, llr)
    try:
        return Received(data, llr)
    except SpecError:
        return data
