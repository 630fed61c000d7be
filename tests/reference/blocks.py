"""Bytes in blocks of a code."""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce

import numpy as np

from reference.bits import Bits
from reference.blockcode import BlockCode

HEADER = BlockCode(10, 64), 43
LADDER = [
    (BlockCode(10, 8), 117),
    (BlockCode(10, 12), 112),
    (BlockCode(10, 14), 110),
    (BlockCode(10, 16), 107),
    (BlockCode(10, 20), 103),
    (BlockCode(10, 28), 93),
    (BlockCode(10, 40), 81),
    HEADER,
]
"""The codes, and the most data bytes of their blocks."""


def split(size: int, most: int) -> Iterator[int]:
    """Data bytes of the blocks of so many bytes."""
    count = -(-size // most)
    for index in range(count):
        yield size // count + (index < size % count)


def block_bits(size: int, code: BlockCode) -> int:
    return 8 * (size + code.parity_bytes)


def repaired(block: Bits, code: BlockCode) -> Bits:
    """The data of one block; as it came if beyond repair."""
    data = len(block) - 8 * code.parity_bytes
    word = block.cut(0, data + code.degree)
    found = code.repair(word.values, word.known)
    return block.cut(0, data) if found is None else Bits(found[:data], np.ones(data, bool))


def data_of(stream: Bits, sizes: list[int], code: BlockCode) -> Bits:
    """The data of all blocks, given their data bytes."""
    parts, place = [Bits.of(b"")], 0
    for size in sizes:
        parts.append(repaired(stream.cut(place, block_bits(size, code)), code))
        place += block_bits(size, code)
    return reduce(Bits.then, parts)
