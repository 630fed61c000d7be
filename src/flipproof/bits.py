"""Bits: header fields written and read by name, and arrays of equal-width numbers.

Everything is most significant bit first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flipproof.errors import HeaderError

__all__ = ["BitArray", "BitReader", "BitWriter", "Field", "pack_numbers", "unpack_numbers"]

BitArray = NDArray[np.uint8]
"""An array of 0 and 1."""


@dataclass(frozen=True)
class Field:
    """One header field.

    Attributes:
        name: What it is.
        value: Its number.
        bits: Its length.
    """

    name: str
    value: int
    bits: int


class BitWriter:
    """Collects named fields into bytes.

    Example:
        >>> writer = BitWriter()
        >>> writer.write("width", 5, 4)
        >>> writer.write_signed("difference", -2)
        >>> writer.getvalue().hex(), writer.bits
        ('5a', 7)
    """

    def __init__(self) -> None:
        self.bits = 0
        self._value = 0

    def write(self, name: str, value: int, bits: int) -> None:
        """Appends a number of fixed length.

        Raises:
            ValueError: The value does not fit.
        """
        if not 0 <= value < 1 << bits:
            raise ValueError(f"expected {name} to fit {bits} bits, got {value}")
        self._value = self._value << bits | value
        self.bits += bits

    def write_signed(self, name: str, value: int) -> None:
        """Appends a small signed number: zigzag, then a Golomb-Rice code of parameter 1."""
        zigzag = 2 * value if value >= 0 else -2 * value - 1
        self.write(name, (2 << (zigzag >> 1)) - 2, (zigzag >> 1) + 1)
        self.write(name, zigzag & 1, 1)

    def append(self, other: BitWriter) -> None:
        """Appends all fields of another writer."""
        self._value = self._value << other.bits | other._value
        self.bits += other.bits

    def getvalue(self) -> bytes:
        """Returns the bytes so far, filled up with zeros."""
        size = -(-self.bits // 8)
        return (self._value << (8 * size - self.bits)).to_bytes(size, "big")


class BitReader:
    """Reads named fields back, keeping a record of them in :attr:`fields`.

    Arguments:
        data: The bytes to read.
    """

    def __init__(self, data: bytes) -> None:
        self.fields: list[Field] = []
        self._value = int.from_bytes(data, "big")
        self._left = 8 * len(data)

    def read(self, name: str, bits: int) -> int:
        """Reads a number of fixed length.

        Raises:
            HeaderError: Too few bits are left.
        """
        value = self._take(bits)
        self.fields.append(Field(name, value, bits))
        return value

    def read_signed(self, name: str) -> int:
        """Reads a number written by :meth:`BitWriter.write_signed`.

        Raises:
            HeaderError: The bits end within it.
        """
        start, prefix = self._left, 0
        while self._take(1):
            prefix += 1
        zigzag = prefix << 1 | self._take(1)
        value = -(zigzag + 1) // 2 if zigzag & 1 else zigzag // 2
        self.fields.append(Field(name, value, start - self._left))
        return value

    def _take(self, bits: int) -> int:
        if bits > self._left:
            raise HeaderError(f"header ends too early: expected {bits} more bits, got {self._left}")
        self._left -= bits
        return self._value >> self._left & ((1 << bits) - 1)


def pack_numbers(numbers: NDArray[np.int64], width: int) -> BitArray:
    """Writes numbers with shape (...,) as bits with shape (..., width)."""
    shifts = np.arange(width - 1, -1, -1)
    return (numbers[..., None] >> shifts & 1).astype(np.uint8)


def unpack_numbers(bits: BitArray) -> NDArray[np.int64]:
    """Reads bits with shape (..., width) as numbers with shape (...,)."""
    weights = 1 << np.arange(bits.shape[-1] - 1, -1, -1, dtype=np.int64)
    numbers: NDArray[np.int64] = bits @ weights
    return numbers
