"""The contracts of channels: of whole files, of bits, and of bits with how far each can be trusted."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from flipproof.bits import BitArray
from flipproof.errors import SpecError
from flipproof.received import File, Received, hard
from flipproof.registry import spelled

__all__ = ["BitChannel", "Channel", "Judge", "Observation", "SoftChannel", "chunks"]

CHUNK = 2**20
"""Bits worked on at once."""

Judge: TypeAlias = Callable[[Sequence[bytes]], NDArray[np.float64]]
"""How bad each of some received files is, larger is worse; see :class:`flipproof.channel.judge.PictureJudge`."""


class Channel(ABC):
    """What happens to a file on its way; concrete channels are frozen dataclasses whose fields are their parameters."""

    name: ClassVar[str]

    @abstractmethod
    def send(self, data: bytes, rng: np.random.Generator) -> File:
        """Sends a whole file, header included.

        Arguments:
            data: The file.
            rng: Source of all randomness.

        Returns:
            The bytes that arrive; as :class:`flipproof.received.Received` where the receiver knows more than bytes.
        """

    def corrupt(self, data: bytes, rng: np.random.Generator) -> bytes:
        """Sends a whole file and returns its bytes alone: the hard decisions of :meth:`send`."""
        return hard(self.send(data, rng))

    def aimed(self, judge: Judge) -> Channel:
        """Returns the channel that does what ``judge`` finds worst; itself, for all but adversaries."""
        del judge
        return self

    def check(self, parameter: str, legal: bool, expected: str) -> None:
        """Raises SpecError, saying what is expected of a parameter, unless its value is legal."""
        if not legal:
            raise SpecError(f"{self.name}: expected {parameter} {expected}, got {getattr(self, parameter)}")

    def __str__(self) -> str:
        """The canonical spelling, with every parameter."""
        values = [f"{f.name}={spelled(getattr(self, f.name))}" for f in fields(self)]  # type: ignore[arg-type]
        return f"{self.name}[{','.join(values)}]" if values else self.name


class BitChannel(Channel):
    """A channel that works on bits, and neither loses nor adds any."""

    @abstractmethod
    def __call__(self, bits: BitArray, rng: np.random.Generator) -> BitArray:
        """Sends bits through the channel.

        Arguments:
            bits: Array of 0 and 1 with any shape, sent in C order.
            rng: Source of all randomness.

        Returns:
            The received bits, a new array of the same shape, uint8.
        """

    def send(self, data: bytes, rng: np.random.Generator) -> File:
        """Sends a whole file, highest bit of each byte first."""
        bits = np.unpackbits(np.frombuffer(data, dtype=np.uint8))
        return np.packbits(self(bits, rng)).tobytes()


@dataclass(frozen=True, eq=False)
class Observation:
    r"""What a receiver has of n bits.

    Attributes:
        bits: Hard decisions with shape (n,).
        llr: :math:`\ln P(0) / P(1)` of every bit, float32 with shape (n,).
    """

    bits: BitArray
    llr: NDArray[np.float32]


class SoftChannel(BitChannel):
    """A channel of bits whose receiver can tell how far each can be trusted."""

    @property
    @abstractmethod
    def tells(self) -> bool:
        """Whether :meth:`send` returns log-likelihood ratios, not bytes alone."""

    @property
    def unit(self) -> int:
        """Bits that share their fate, such as a packet."""
        return 1

    @abstractmethod
    def observe(self, bits: BitArray, rng: np.random.Generator) -> Observation:
        """Sends bits (n,) that start with a unit."""

    def __call__(self, bits: BitArray, rng: np.random.Generator) -> BitArray:
        """Sends bits and returns the hard decisions."""
        sent, received = bits.reshape(-1), np.empty(bits.size, np.uint8)
        for part in chunks(sent.size, self.unit):
            received[part] = self.observe(sent[part], rng).bits
        return received.reshape(bits.shape)

    def send(self, data: bytes, rng: np.random.Generator) -> File:
        """Sends a whole file, highest bit of each byte first."""
        if not self.tells:
            return super().send(data, rng)
        bits = np.unpackbits(np.frombuffer(data, dtype=np.uint8))
        llr = np.empty(bits.size, np.float32)
        for part in chunks(bits.size, self.unit):
            seen = self.observe(bits[part], rng)
            bits[part], llr[part] = seen.bits, seen.llr
        return Received(np.packbits(bits).tobytes(), llr)


def chunks(size: int, unit: int = 1) -> Iterator[slice]:
    """Cuts ``size`` bits into parts of whole units, :data:`CHUNK` bits or less where a unit is not longer."""
    step = max(1, CHUNK // unit) * unit
    return (slice(start, min(start + step, size)) for start in range(0, size, step))
