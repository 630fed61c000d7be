r"""Which noise levels a chain visits, and on which grid.

A grid of factor :math:`k` holds the picture averaged over :math:`k \times k` blocks. ``sigma`` is always the noise
per sample of the grid at hand. White noise of deviation :math:`\sigma` on a grid becomes :math:`\sigma / 2` on the
next coarser one, so a chain that moves to a finer grid finds the band it knows at twice the noise and has only
to bring the new detail band to that level.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

__all__ = ["FixedSchedule", "GrownSchedule", "Level", "Schedule"]


@dataclass(frozen=True)
class Level:
    """Where a chain stands or goes.

    Attributes:
        grid: Averaging factor, a power of two; 1 is full resolution.
        sigma: Noise per sample of that grid, in units of a picture in [-1, 1].
    """

    grid: int
    sigma: float


class Schedule(Protocol):
    """Proposes the levels of a chain one by one."""

    @property
    def first(self) -> Level:
        """The level reached from no knowledge at all."""

    def grown(self, level: Level) -> Level | None:
        """The finer level to grow to, or None where it is not yet, or no longer, time."""

    def next(self, level: Level) -> Level:
        """The next level on the same grid."""


@dataclass(frozen=True)
class GrownSchedule:
    """Resolution grows with the rate: a grid is left for the next finer one once its noise falls to a threshold.

    Attributes:
        coarsest: Averaging factor of the first grid, a power of two.
        threshold: Noise per sample at which a grid is left.
        steps_per_octave: Steps in which the noise halves.
    """

    coarsest: int
    threshold: float
    steps_per_octave: int

    @property
    def first(self) -> Level:
        """The coarsest grid at twice the threshold."""
        return Level(self.coarsest, 2 * self.threshold)

    def grown(self, level: Level) -> Level | None:
        """The next finer grid at twice the noise, once the threshold is reached (to rounding)."""
        if level.grid == 1 or level.sigma > self.threshold * 1.001:
            return None
        return Level(level.grid // 2, 2 * level.sigma)

    def next(self, level: Level) -> Level:
        """One step down."""
        return Level(level.grid, level.sigma * 2 ** (-1 / self.steps_per_octave))


@dataclass(frozen=True)
class FixedSchedule:
    """A geometric schedule on one grid, as in codecs whose resolution never changes.

    Attributes:
        grid: Averaging factor.
        sigma_max: Noise of the first level.
        sigma_min: Noise of the last.
        steps: Number T of levels, at least 2.
    """

    grid: int
    sigma_max: float
    sigma_min: float
    steps: int

    @property
    def first(self) -> Level:
        """The noisiest level."""
        return Level(self.grid, self.sigma_max)

    def grown(self, level: Level) -> Level | None:
        """Never."""
        return None

    def next(self, level: Level) -> Level:
        """One step down."""
        return Level(level.grid, level.sigma * (self.sigma_min / self.sigma_max) ** (1 / (self.steps - 1)))
