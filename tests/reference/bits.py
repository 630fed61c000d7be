"""Header fields, and bits of which some are unknown."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reference.refusal import require


class FieldReader:
    """Reads header fields one after the other."""

    def __init__(self, data: bytes):
        self.digits = "".join(f"{byte:08b}" for byte in data)
        self.place = 0

    def number(self, width: int) -> int:
        require(self.place + width <= len(self.digits))
        digits = self.digits[self.place : self.place + width]
        self.place += width
        return int(digits, 2)

    def signed(self) -> int:
        """A Golomb-Rice code."""
        ones = 0
        while self.number(1):
            ones += 1
        code = 2 * ones + self.number(1)
        return -(code + 1) // 2 if code % 2 else code // 2


@dataclass(frozen=True)
class Bits:
    """Bits, and which of them are known."""

    values: np.ndarray
    known: np.ndarray

    @classmethod
    def of(cls, data: bytes) -> Bits:
        values = np.unpackbits(np.frombuffer(data, np.uint8))
        return cls(values, np.ones(len(values), bool))

    def __len__(self) -> int:
        return len(self.values)

    def at(self, places: np.ndarray) -> Bits:
        """The bits at given places; unknown where there are none."""
        there = (places >= 0) & (places < len(self))
        inside = np.where(there, places, 0)
        values, known = (self.values[inside], self.known[inside]) if len(self) else (there, there)
        return Bits(np.where(there, values, 0).astype(np.uint8), known & there)

    def cut(self, start: int, size: int) -> Bits:
        return self.at(np.arange(start, start + size))

    def then(self, other: Bits) -> Bits:
        return Bits(np.concatenate([self.values, other.values]), np.concatenate([self.known, other.known]))

    def to_bytes(self) -> bytes:
        return np.packbits(self.values & self.known).tobytes()


class Received:
    """Reads numbers from bits, None for one that has an unknown bit."""

    def __init__(self, bits: Bits):
        self.bits, self.place = bits, 0

    def number(self, width: int) -> int | None:
        part = slice(self.place, self.place + width)
        self.place += width
        if not self.bits.known[part].all():
            return None
        return int("".join(map(str, self.bits.values[part])) or "0", 2)
