r"""The Gilbert-Elliott channel: bursts.

Two states follow each other as a Markov chain. The good one flips nothing, the bad one flips with probability
:math:`p_B`. With mean sojourns of :math:`L` bits in the bad and :math:`G` in the good state (both geometric), the share
of bad bits is :math:`\pi = L / (L + G)` and the bit error rate :math:`\pi p_B`. (Gilbert, Bell Syst. Tech. J. 39,
1960; Elliott, Bell Syst. Tech. J. 42, 1963.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from flipproof.bits import BitArray
from flipproof.channel.base import BitChannel, chunks

__all__ = ["GilbertElliottChannel"]


@dataclass(frozen=True)
class GilbertElliottChannel(BitChannel):
    """Flips bits in bursts.

    The first bit is in the bad state with the probability that any bit is.

    Attributes:
        ber: Bit error rate over good and bad bits, from 0 to ``bad_ber * burst / (burst + 1)``, where the good state
            lasts one bit.
        burst: Mean length of a stay in the bad state in bits, from 1 to 10^9.
        bad_ber: Probability of a flip in the bad state, above 0 and up to 1; at 1/2 its bits say nothing.
    """

    name: ClassVar[str] = "gilbert-elliott"
    ber: float = 1e-3
    burst: float = 20.0
    bad_ber: float = 0.5

    def __post_init__(self) -> None:
        self.check("bad_ber", 0 < self.bad_ber <= 1, "above 0 and up to 1")
        self.check("burst", 1 <= self.burst <= 1e9, "from 1 to 1e9 bits")
        most = self.bad_ber * self.burst / (self.burst + 1)
        self.check("ber", 0 <= self.ber <= most, f"from 0 to bad_ber * burst / (burst + 1) = {most:g}")

    @property
    def bad(self) -> float:
        """Share of bits in the bad state."""
        return self.ber / self.bad_ber

    def __call__(self, bits: BitArray, rng: np.random.Generator) -> BitArray:  # noqa: D102
        received = bits.copy(order="C")
        if self.bad == 0:
            return received
        flat = received.reshape(-1)
        state = rng.random() < self.bad
        for part in chunks(flat.size):
            states = self._states(part.stop - part.start + 1, state, rng)
            state = bool(states[-1])
            at = part.start + np.flatnonzero(states[:-1])
            flat[at] ^= rng.random(at.size) < self.bad_ber
        return received

    def _states(self, size: int, first: bool, rng: np.random.Generator) -> NDArray[np.bool_]:
        """Returns which of some bits are bad, with shape (size,).

        Geometric sojourns have no memory, so the rest of one that began before is drawn like a new one.
        """
        leave_good = np.clip(self.bad / (1 - self.bad) / self.burst, 1e-300, 1)
        leave = np.array([leave_good, 1 / self.burst])[[int(first), 1 - int(first)]]
        lengths, covered = [], 0
        pairs = int(size / (1 / leave).sum()) + 16
        while covered < size:
            drawn = np.minimum(rng.geometric(leave, (pairs, 2)).ravel(), size)
            covered += int(drawn.sum())
            lengths.append(drawn)
        whole = np.concatenate(lengths)
        last = int(np.searchsorted(np.cumsum(whole), size))
        return np.repeat(np.arange(last + 1) % 2 != first, whole[: last + 1])[:size]
