r"""Files that lost or gained a run of bytes, brought back to their length.

Where a file has another length than it says, a run of bytes is missing or too many at an unknown place :math:`p`. Bits
before it are where they should be, bits behind it are shifted. A coarse search for :math:`p` stops where the header
decodes; its bits, spread over the whole body, then tell :math:`p` to within a few bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flipproof.bits import BitArray
from flipproof.received import File, Received, hard

__all__ = ["Body", "Slip", "locate", "slips"]

LEAST_SHARE = 0.4
"""Share of a body that must have come for its header to be found again."""
SEARCHED = 33
"""Places tried for the run at first."""


@dataclass(frozen=True)
class Slip:
    """Where a body lost or gained a run of bytes; all counted in bytes as sent.

    Attributes:
        size: Length of the body.
        start: First byte that may be concerned.
        stop: First byte behind it that is certainly in order again.
        shift: What the bytes behind were shifted by: negative where bytes were lost.
    """

    size: int
    start: int
    stop: int
    shift: int

    def __str__(self) -> str:
        """One line for people."""
        what = "lost" if self.shift < 0 else "inserted"
        return f"{abs(self.shift)} bytes {what} between bytes {self.start} and {self.stop} of the body"


@dataclass(frozen=True, eq=False)
class Body:
    """Received bits, and their log-likelihood ratios (0 where erased) if there are any; both (n,)."""

    bits: BitArray
    llr: NDArray[np.float32] | None

    @classmethod
    def of(cls, file: File, start: int) -> Body:
        """Returns the bits of a file from a byte on."""
        bits = np.unpackbits(np.frombuffer(hard(file)[start:], np.uint8))
        return cls(bits, file.llr[8 * start :] if isinstance(file, Received) else None)

    def cut(self, start: int, size: int) -> Body:
        """Returns bits from a place on; those beyond the end are erased."""
        part = self.take(slice(start, start + size))
        missing = size - len(part.bits)
        return part if missing <= 0 else part.join(_erased(missing))

    def take(self, places: NDArray[np.int64] | NDArray[np.bool_] | slice) -> Body:
        """Returns the bits at given places, all of which there are."""
        return Body(self.bits[places], None if self.llr is None else self.llr[places])

    def realigned(self, slip: Slip) -> Body:
        """Returns the body as sent, with erased bits where it slipped."""
        front = self.cut(0, 8 * slip.start)
        behind = self.cut(8 * max(0, slip.stop + slip.shift), 8 * (slip.size - slip.stop))
        return front.join(_erased(8 * (slip.stop - slip.start))).join(behind)

    def sample(self, places: NDArray[np.int64], slip: Slip | None) -> Body:
        """Returns the bits that were sent at given places; erased where it slipped."""
        if slip is None:
            return self.take(places)
        moved = np.where(places < 8 * slip.start, places, places + 8 * slip.shift)
        there = ((places < 8 * slip.start) | (places >= 8 * slip.stop)) & (moved >= 0) & (moved < len(self.bits))
        part = self.take(np.where(there, moved, 0))
        return Body(part.bits, np.where(there, part.ratios, np.float32(0)))

    def join(self, other: Body) -> Body:
        """Returns these bits and then others."""
        return Body(np.concatenate([self.bits, other.bits]), np.concatenate([self.ratios, other.ratios]))

    @property
    def ratios(self) -> NDArray[np.float32]:
        """Log-likelihood ratios; infinite where nothing is known against a bit."""
        return np.where(self.bits, -np.inf, np.inf).astype(np.float32) if self.llr is None else self.llr


def slips(came: int, size: int | None) -> Iterator[Slip | None]:
    """Yields where a body of so many bytes may have slipped, the likeliest first: nowhere, or at its end.

    Arguments:
        came: Bytes of the body as it came.
        size: Bytes as it was sent; None if that is not known.
    """
    yield None
    if size is None or size == came or LEAST_SHARE * size > came:
        return
    shift = came - size
    for index in range(SEARCHED):
        start = (size + min(0, shift)) * (SEARCHED - 1 - index) // (SEARCHED - 1)
        yield Slip(size, start, start + max(0, -shift), shift)


def locate(body: Body, slip: Slip, places: NDArray[np.int64], sent: BitArray) -> Slip:
    """Finds the run of lost or inserted bytes by bits known to have been sent at given places."""
    before = _differ(body.bits, places, sent)
    behind = _differ(body.bits, places + 8 * slip.shift, sent)
    lost = max(0, -slip.shift)
    starts = np.arange(slip.size - lost + 1)
    left = np.searchsorted(places, 8 * starts)
    right = np.searchsorted(places, 8 * (starts + lost))
    wrong = before[left] + behind[-1] - behind[right]
    best = np.flatnonzero(wrong == wrong.min())
    return Slip(slip.size, int(best[0]), int(best[-1]) + lost, slip.shift)


def _differ(bits: BitArray, places: NDArray[np.int64], sent: BitArray) -> NDArray[np.int64]:
    """Returns how many of the first so many bits, from none to all, are not what was sent at their places."""
    inside = (places >= 0) & (places < len(bits))
    wrong = ~inside | (bits[np.where(inside, places, 0)] != sent)
    return np.concatenate([[0], np.cumsum(wrong)])


def _erased(size: int) -> Body:
    return Body(np.zeros(size, np.uint8), np.zeros(size, np.float32))
