"""The channel that loses count: bytes go missing or come twice over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from flipproof.channel.base import Channel

__all__ = ["SlipChannel"]


@dataclass(frozen=True)
class SlipChannel(Channel):
    """Loses and inserts runs of bytes, so that the file changes its length and what follows moves.

    First the losses, then the insertions, one after the other, each at a place uniform in the file as it is by then.
    Inserted bytes are random. A file shorter than a run loses all of it. Nothing tells the receiver.

    Attributes:
        lost: Runs lost, from 0 to 4096.
        inserted: Runs inserted, from 0 to 4096.
        size: Bytes in a run, from 1 to 65536.

    Example:
        >>> len(SlipChannel(lost=1, inserted=2, size=3).corrupt(bytes(100), np.random.default_rng(0)))
        103
    """

    name: ClassVar[str] = "slip"
    lost: int = 1
    inserted: int = 0
    size: int = 1

    def __post_init__(self) -> None:
        self.check("lost", 0 <= self.lost <= 2**12, "from 0 to 4096 runs")
        self.check("inserted", 0 <= self.inserted <= 2**12, "from 0 to 4096 runs")
        self.check("size", 1 <= self.size <= 2**16, "from 1 to 65536 bytes")

    def send(self, data: bytes, rng: np.random.Generator) -> bytes:  # noqa: D102
        received = bytearray(data)
        for _ in range(self.lost):
            start = int(rng.integers(max(len(received) - self.size, 0) + 1))
            del received[start : start + self.size]
        for _ in range(self.inserted):
            start = int(rng.integers(len(received) + 1))
            received[start:start] = rng.bytes(self.size)
        return bytes(received)
