"""Bytes in blocks of a code."""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from typing import TypeAlias

import numpy as np

from reference.bits import Bits
from reference.blockcode import BlockCode
from reference.sums import SumCode

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
"""The codes of version 3, and the most data bytes of their blocks."""
PARITIES = [3, 6, 8, 12, 20, 34, 64, 128]
"""Parity of the codes of version 4, in 64ths of the data."""

Code: TypeAlias = BlockCode | SumCode


def tier_blocks(version: int, number: int, size: int) -> Iterator[tuple[int, Code]]:
    """Data bytes and code of each block of a tier of so many bytes."""
    if version == 3:
        code, most = LADDER[number]
        for data in split(size, most):
            yield data, code
    else:
        sizes = list(split(size, 4096))
        for data in sizes:
            yield data, SumCode(8 * data, 8 * max(4, -(-sizes[0] * PARITIES[number] // 64)))


def split(size: int, most: int) -> Iterator[int]:
    """Data bytes of the blocks of so many bytes."""
    count = -(-size // most)
    for index in range(count):
        yield size // count + (index < size % count)


def block_bits(size: int, code: Code) -> int:
    return 8 * (size + code.parity_bytes)


def repaired(block: Bits, code: Code) -> Bits:
    """The data of one block; as it came if beyond repair."""
    data = len(block) - 8 * code.parity_bytes
    word = block.cut(0, data + code.degree)
    found = code.repair(word.values, word.known)
    return block.cut(0, data) if found is None else Bits(found[:data], np.ones(data, bool))


def data_of(stream: Bits, blocks: list[tuple[int, Code]]) -> Bits:
    """The data of all blocks, given their data bytes and codes."""
    parts, place = [Bits.of(b"")], 0
    for size, code in blocks:
        parts.append(repaired(stream.cut(place, block_bits(size, code)), code))
        place += block_bits(size, code)
    return reduce(Bits.then, parts)
