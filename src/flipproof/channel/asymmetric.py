"""The binary asymmetric channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from flipproof.bits import BitArray
from flipproof.channel.base import BitChannel, chunks

__all__ = ["AsymmetricChannel"]


@dataclass(frozen=True)
class AsymmetricChannel(BitChannel):
    """Flips zeros and ones independently, at different rates, as memory cells that lose charge do.

    In DRAM a cell that holds its charge as a 1 decays to 0; in flash a programmed cell, a 0, decays to 1. With one of
    the rates 0 this is the Z-channel.

    Attributes:
        zero_to_one: Probability that a 0 arrives as a 1, in [0, 1].
        one_to_zero: Probability that a 1 arrives as a 0, in [0, 1].
    """

    name: ClassVar[str] = "asymmetric"
    zero_to_one: float = 1e-4
    one_to_zero: float = 1e-3

    def __post_init__(self) -> None:
        self.check("zero_to_one", 0 <= self.zero_to_one <= 1, "from 0 to 1")
        self.check("one_to_zero", 0 <= self.one_to_zero <= 1, "from 0 to 1")

    def __call__(self, bits: BitArray, rng: np.random.Generator) -> BitArray:  # noqa: D102
        received = bits.copy(order="C")
        flat = received.reshape(-1)
        rates = np.array([self.zero_to_one, self.one_to_zero])
        for part in chunks(flat.size):
            flat[part] ^= rng.random(part.stop - part.start) < rates[flat[part]]
        return received
