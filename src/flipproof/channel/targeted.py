"""The adversary: few flips, where they hurt most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NoReturn

import numpy as np
from numpy.typing import NDArray

from flipproof.bits import BitArray
from flipproof.channel.base import Channel, Judge
from flipproof.errors import SpecError

__all__ = ["AimedChannel", "TargetedChannel"]

BATCH = 32
"""Files judged at once."""


@dataclass(frozen=True)
class TargetedChannel(Channel):
    """Flips the bits that a greedy adversary finds worst.

    One flip is settled after the other: of ``budget // flips`` random bits not flipped yet, the one whose flip the
    judge finds worst, on top of those before. It stays flipped even where no candidate does harm. A larger budget makes
    the adversary stronger; one of ``flips * 8 * len(file)`` tries every bit at every round.
    It needs a judge, see :meth:`aimed`; without one nothing can be sent.

    Attributes:
        flips: Bits flipped, from 1 to 4096; all of a file that has fewer.
        budget: Files that the judge may be shown in all, at least ``flips``.
    """

    name: ClassVar[str] = "targeted"
    flips: int = 8
    budget: int = 512

    def __post_init__(self) -> None:
        self.check("flips", 1 <= self.flips <= 2**12, "from 1 to 4096")
        self.check("budget", self.flips <= self.budget <= 2**24, "from the number of flips to 2^24")

    def send(self, data: bytes, rng: np.random.Generator) -> NoReturn:
        """Refuses.

        Raises:
            SpecError: Always: nobody says what is worst.
        """
        raise SpecError(f"{self} needs a judge, which knows the codec and the picture: use aimed(judge), or a study")

    def aimed(self, judge: Judge) -> AimedChannel:
        """Returns the channel that flips what ``judge`` finds worst."""
        return AimedChannel(self, judge)


@dataclass(frozen=True)
class AimedChannel(Channel):
    """An adversary with a judge.

    Attributes:
        search: How long it searches.
        judge: What it wants to make worst.
    """

    name: ClassVar[str] = "targeted"
    search: TargetedChannel
    judge: Judge

    def send(self, data: bytes, rng: np.random.Generator) -> bytes:
        """Searches and sends.

        Raises:
            SpecError: The judge returned anything but one number for each file.
        """
        bits = np.unpackbits(np.frombuffer(data, dtype=np.uint8))
        tries = self.search.budget // self.search.flips
        free = np.arange(bits.size)
        for _ in range(min(self.search.flips, bits.size)):
            candidates = rng.choice(free, min(tries, free.size), replace=False)
            worst = candidates[np.argmax(self._badness(bits, candidates))]
            bits[worst] ^= 1
            free = free[free != worst]
        return np.packbits(bits).tobytes()

    def _badness(self, bits: BitArray, candidates: NDArray[np.int64]) -> NDArray[np.float64]:
        """Judges the file with one more flip at each of some places."""
        parts = []
        for start in range(0, candidates.size, BATCH):
            batch = candidates[start : start + BATCH]
            flipped = np.repeat(bits[None], batch.size, axis=0)
            flipped[np.arange(batch.size), batch] ^= 1
            judged = np.asarray(self.judge([row.tobytes() for row in np.packbits(flipped, axis=1)]), np.float64)
            if judged.shape != batch.shape or np.isnan(judged).any():
                raise SpecError(f"expected a judge with {batch.size} numbers for {batch.size} files, got {judged}")
            parts.append(judged)
        return np.concatenate(parts)

    def __str__(self) -> str:
        """The spelling of the search."""
        return str(self.search)
