"""The contract of every channel."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import fields
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["Channel"]


class Channel(ABC):
    """What happens to bits on their way; concrete channels are frozen dataclasses."""

    name: ClassVar[str]

    @abstractmethod
    def __call__(self, bits: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        """Sends bits through the channel.

        Arguments:
            bits: Array of 0 and 1 with any shape.
            rng: Source of all randomness.

        Returns:
            The received bits, a new array of the same shape.
        """

    def corrupt(self, data: bytes, rng: np.random.Generator) -> bytes:
        """Sends a whole file, header included, highest bit of each byte first."""
        bits = np.unpackbits(np.frombuffer(data, dtype=np.uint8))
        return np.packbits(self(bits, rng)).tobytes()

    def __str__(self) -> str:
        """The canonical spelling."""
        parameters = ",".join(f"{f.name}={getattr(self, f.name):g}" for f in fields(self))  # type: ignore[arg-type]
        return f"{self.name}[{parameters}]"
