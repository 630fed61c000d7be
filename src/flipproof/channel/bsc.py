"""The binary symmetric channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from flipproof.channel.base import Channel
from flipproof.errors import SpecError

__all__ = ["BinarySymmetricChannel"]

CHUNK = 2**22
"""Random numbers drawn at once."""


@dataclass(frozen=True)
class BinarySymmetricChannel(Channel):
    r"""Flips every bit with the same probability, independently.

    Attributes:
        bit_error_rate: Probability of a flip, in [0, 1].

    Example:
        >>> channel = BinarySymmetricChannel(bit_error_rate=1.0)
        >>> channel.corrupt(b"\x0f", np.random.default_rng(0))
        b'\xf0'
    """

    name: ClassVar[str] = "bsc"
    bit_error_rate: float = 1e-3

    def __post_init__(self) -> None:
        if not 0 <= self.bit_error_rate <= 1:
            raise SpecError(f"expected a bit error rate in [0, 1], got {self.bit_error_rate}")

    def __call__(self, bits: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:  # noqa: D102
        received = bits.copy()
        flat = received.reshape(-1)
        for start in range(0, flat.size, CHUNK):
            part = flat[start : start + CHUNK]
            part ^= rng.random(part.size) < self.bit_error_rate
        return received
