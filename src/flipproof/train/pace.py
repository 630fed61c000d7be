r"""Learning rates by time spent, so that a run ends well on any machine."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Pace"]


@dataclass(frozen=True)
class Pace:
    r"""Linear warm-up by steps, then a cosine by time.

    At step :math:`n`, after the share :math:`t` of the time, the rate is

    .. math:: a \min\left(1, \frac{n + 1}{N}\right) \left(f + (1 - f) \frac{1 + \cos \pi t}{2}\right).

    Attributes:
        seconds: Time to train for, checkpoints and checks not counted.
        learning_rate: Peak a.
        warmup: Steps N to reach it.
        floor: Share f of the peak that is left at the end.

    Example:
        >>> pace = Pace(seconds=100, learning_rate=0.5, warmup=10, floor=0.01)
        >>> [round(pace.rate_at(step, seconds), 4) for step, seconds in [(0, 0), (9, 0), (99, 50), (999, 100)]]
        [0.05, 0.5, 0.2525, 0.005]
    """

    seconds: float
    learning_rate: float
    warmup: int
    floor: float

    def rate_at(self, step: int, seconds: float) -> float:
        """Returns the learning rate of a step, counted from 0, after so many seconds of training."""
        progress = min(1.0, seconds / self.seconds)
        decay = self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * progress))
        return self.learning_rate * min(1.0, (step + 1) / self.warmup) * decay
