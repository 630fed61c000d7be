"""The packet loss channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from flipproof.bits import BitArray
from flipproof.channel.base import Observation, SoftChannel
from flipproof.channel.erasure import certain

__all__ = ["PacketLossChannel"]


@dataclass(frozen=True)
class PacketLossChannel(SoftChannel):
    """Loses whole packets; zero bytes stand in their place, so the file keeps its length.

    The file is cut into packets from its first byte on; the last may be shorter. Each is lost independently of the
    others, the one with the header too. With ``known`` the receiver is told which bits did not come (their
    log-likelihood ratio is 0, that of all others infinite); without, it finds zero bytes and no word about them.

    Attributes:
        rate: Probability that a packet is lost, in [0, 1].
        size: Bytes in a packet, from 1 to 65536.
        known: Whether the receiver knows which packets were lost.
    """

    name: ClassVar[str] = "packet-loss"
    rate: float = 0.05
    size: int = 64
    known: bool = True

    def __post_init__(self) -> None:
        self.check("rate", 0 <= self.rate <= 1, "from 0 to 1")
        self.check("size", 1 <= self.size <= 2**16, "from 1 to 65536 bytes")

    @property
    def tells(self) -> bool:  # noqa: D102
        return self.known

    @property
    def unit(self) -> int:  # noqa: D102
        return 8 * self.size

    def observe(self, bits: BitArray, rng: np.random.Generator) -> Observation:  # noqa: D102
        packets = -(-bits.size // self.unit)
        lost = np.repeat(rng.random(packets) < self.rate, self.unit)[: bits.size]
        seen = certain(bits)
        seen.bits[lost] = 0
        seen.llr[lost] = 0
        return seen
