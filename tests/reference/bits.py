"""Header fields, and bits of the payload of which some are unknown."""

from __future__ import annotations

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


class Received:
    """Reads numbers from bits, None for one that has an unknown bit.

    Arguments:
        values: Bits, 0 or 1.
        known: Which of them are known.
    """

    def __init__(self, values: np.ndarray, known: np.ndarray):
        self.values, self.known = values, known
        self.place = 0

    def number(self, width: int) -> int | None:
        part = slice(self.place, self.place + width)
        self.place += width
        if not self.known[part].all():
            return None
        return int("".join(map(str, self.values[part])) or "0", 2)
