"""The binary erasure channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from flipproof.bits import BitArray
from flipproof.channel.base import Observation, SoftChannel

__all__ = ["ErasureChannel", "certain"]


@dataclass(frozen=True)
class ErasureChannel(SoftChannel):
    """Erases every bit independently; the receiver knows which.

    Among the hard decisions an erased bit is random, so half of them are wrong.

    Attributes:
        rate: Probability of an erasure, in [0, 1].
    """

    name: ClassVar[str] = "erasure"
    rate: float = 1e-2

    def __post_init__(self) -> None:
        self.check("rate", 0 <= self.rate <= 1, "from 0 to 1")

    @property
    def tells(self) -> bool:  # noqa: D102
        return True

    def observe(self, bits: BitArray, rng: np.random.Generator) -> Observation:  # noqa: D102
        lost = np.flatnonzero(rng.random(bits.size) < self.rate)
        seen = certain(bits)
        seen.bits[lost] = rng.integers(0, 2, lost.size, np.uint8)
        seen.llr[lost] = 0
        return seen


def certain(bits: BitArray) -> Observation:
    """Returns a copy of bits (n,) that are beyond doubt: their log-likelihood ratios are infinite."""
    return Observation(bits.copy(), np.where(bits, np.float32(-np.inf), np.float32(np.inf)))
