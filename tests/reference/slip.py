"""Bodies that lost or gained a run of bytes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from reference.bits import Bits

TRIED = 33


@dataclass(frozen=True)
class Slip:
    """Of a body of ``size`` bytes those from ``start`` to ``stop`` are unknown, those behind came ``shift`` later."""

    size: int
    start: int
    stop: int
    shift: int

    def came_at(self, sent: np.ndarray) -> np.ndarray:
        """Where bits came that were sent at given places; -1 for nowhere."""
        behind = np.where(sent >= 8 * self.stop, sent + 8 * self.shift, -1)
        return np.where(sent < 8 * self.start, sent, behind)

    def undone(self, body: Bits) -> Bits:
        return body.at(self.came_at(np.arange(8 * self.size)))


def coarse(came: int, size: int) -> Iterator[Slip]:
    """Slips to try, the last place first."""
    if size == came or 2 * size > 5 * came:
        return
    lost = max(0, size - came)
    for index in reversed(range(TRIED)):
        start = (size - lost) * index // (TRIED - 1)
        yield Slip(size, start, start + lost, came - size)


def exact(body: Bits, slip: Slip, places: np.ndarray, word: np.ndarray) -> Slip:
    """The slip, given bits that were sent at some places: those of its starts that leave the fewest of them wrong."""
    lost = max(0, -slip.shift)
    wrong = []
    for start in range(slip.size - lost + 1):
        front, behind = places < 8 * start, places >= 8 * (start + lost)
        came = body.at(np.where(front, places, places + 8 * slip.shift))
        wrong.append(int(((front | behind) & (~came.known | (came.values != word))).sum()))
    best = [start for start, count in enumerate(wrong) if count == min(wrong)]
    return Slip(slip.size, best[0], best[-1] + lost, slip.shift)
