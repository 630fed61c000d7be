r"""Which noise levels a chain visits, and on which grid.

A grid of factor :math:`k` holds the picture averaged over :math:`k \times k` blocks. ``sigma`` is always the noise
per sample of the grid at hand. White noise of deviation :math:`\sigma` on a grid becomes :math:`\sigma / 2` on the
next coarser one, so a chain that moves to a finer grid finds the band it knows at twice the noise and has only
to bring the new detail band to that level.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Protocol

__all__ = [
    "TURBO_TIMESTEPS",
    "GrownSchedule",
    "Level",
    "Schedule",
    "TimestepSchedule",
    "even_timesteps",
    "timestep_sigmas",
    "turbo_timesteps",
]

TRAIN_STEPS = 1000
# fmt: off
TURBO_TIMESTEPS = (
    999, 972, 949, 929, 897, 869, 834, 805, 780, 751, 726, 704, 688, 670, 648, 627, 608, 591, 578, 561, 546, 530, 520,
    510, 498, 491, 480, 465, 455, 447, 438, 429, 419, 410, 402, 390, 380, 371, 361, 353, 345, 336, 326, 319, 313, 305,
    296, 289, 282, 276, 269, 261, 254, 247, 242, 237, 231, 224, 219, 213, 209, 204, 200, 194, 189, 185, 181, 175, 170,
    167, 163, 160, 156, 153, 149, 146, 143, 139, 135, 132, 129, 125, 121, 118, 116, 113, 110, 107, 104, 101, 99, 96, 94,
    92, 90, 87, 85, 82, 80, 78, 76, 74, 72, 70, 68, 66, 64, 62, 60, 58, 56, 54, 52, 50, *range(48, 0, -1),
)
# fmt: on
"""The 162 timesteps Turbo-DDCM chooses from, those of DiffC (https://arxiv.org/abs/2501.09815) and 999."""


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
        start: Noise of the first level.
        threshold: Noise per sample at which a grid is left.
        steps_per_octave: Steps in which the noise halves.
    """

    coarsest: int
    start: float
    threshold: float
    steps_per_octave: int

    @property
    def first(self) -> Level:
        """The start on the coarsest grid."""
        return Level(self.coarsest, self.start)

    def grown(self, level: Level) -> Level | None:
        """The next finer grid at twice the noise, once the threshold is reached (to rounding)."""
        if level.grid == 1 or level.sigma > self.threshold * 1.001:
            return None
        return Level(level.grid // 2, 2 * level.sigma)

    def next(self, level: Level) -> Level:
        """One step down."""
        return Level(level.grid, level.sigma * 2 ** (-1 / self.steps_per_octave))


@dataclass(frozen=True)
class TimestepSchedule:
    """Levels at given timesteps of Stable Diffusion's noising process, on one grid.

    Attributes:
        grid: Averaging factor.
        scale: What its noise levels are multiplied with.
        timesteps: Descending, each from 0 to 999, at least two.
    """

    grid: int
    scale: float
    timesteps: tuple[int, ...]

    @cached_property
    def sigmas(self) -> tuple[float, ...]:
        """Noise per sample at each timestep."""
        table = timestep_sigmas()
        return tuple(self.scale * table[t] for t in self.timesteps)

    @property
    def first(self) -> Level:
        """The noisiest level."""
        return Level(self.grid, self.sigmas[0])

    def grown(self, level: Level) -> Level | None:
        """Never."""
        return None

    def next(self, level: Level) -> Level:
        """The first timestep with less noise; half the noise after the last."""
        below = (sigma for sigma in self.sigmas if sigma < level.sigma * (1 - 1e-6))
        return Level(self.grid, next(below, level.sigma / 2))


@cache
def timestep_sigmas() -> tuple[float, ...]:
    r"""Returns the noise at each timestep of Stable Diffusion: :math:`\sqrt{(1 - \bar\alpha_t) / \bar\alpha_t}`.

    :math:`\bar\alpha_t = \prod_{i \le t} (1 - \beta_i)`, where :math:`\sqrt{\beta_i}` runs evenly from
    :math:`\sqrt{0.00085}` to :math:`\sqrt{0.012}` ("scaled linear").

    Example:
        >>> sigmas = timestep_sigmas()
        >>> round(sigmas[0], 4), round(sigmas[999], 3)
        (0.0292, 14.615)
    """
    alpha, sigmas = 1.0, []
    low, high = math.sqrt(0.00085), math.sqrt(0.012)
    for t in range(TRAIN_STEPS):
        alpha *= 1 - (low + (high - low) * t / (TRAIN_STEPS - 1)) ** 2
        sigmas.append(math.sqrt((1 - alpha) / alpha))
    return tuple(sigmas)


def turbo_timesteps(steps: int) -> tuple[int, ...]:
    """Returns the T timesteps of Turbo-DDCM, spread evenly over its list of 162.

    Arguments:
        steps: T from 2 to 162; more are spread evenly over all 1000, as :func:`even_timesteps` does.

    Example:
        >>> turbo_timesteps(30)[:5]
        (999, 834, 704, 591, 520)
    """
    if steps > len(TURBO_TIMESTEPS):
        return even_timesteps(steps)
    return tuple(TURBO_TIMESTEPS[i] for i in _spread(steps, len(TURBO_TIMESTEPS)))


def even_timesteps(steps: int) -> tuple[int, ...]:
    """Returns T timesteps spread evenly from 999 to 0.

    Example:
        >>> even_timesteps(4)
        (999, 666, 333, 0)
    """
    return tuple(TRAIN_STEPS - 1 - i for i in _spread(steps, TRAIN_STEPS))


def _spread(count: int, length: int) -> list[int]:
    """Returns ``count`` of ``length`` positions, evenly and with both ends."""
    return [round(i * (length - 1) / (count - 1)) for i in range(count)]
