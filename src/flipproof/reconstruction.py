r"""What a decoder makes of the end of a chain, where the file has no more bits.

The chain ends at :math:`y = x + \sigma n` on some grid. Its posterior mean has the least squared error, and is blurred
where the file leaves room for more than one picture. A crisper one comes from going on for a while as in sampling, by
deterministic steps without bits (DDIM, https://arxiv.org/abs/2010.02502), before the mean is taken. For pixels the last
answer can be that of a network trained to answer with what looks like a photograph (:mod:`flipproof.prior.sharp`). Of
latents a prior invents detail by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from torch import Tensor

from flipproof.prior.base import Prior
from flipproof.prior.sharp import load_sharp
from flipproof.prior.views import viewed
from flipproof.schedule import Level

__all__ = ["RECONSTRUCTIONS", "Reconstruction", "crisp", "posterior_mean", "sharp"]

Reconstruction: TypeAlias = Callable[[Prior, Tensor, Level, int], Tensor]
"""Maps a prior, the end of chains (B, C, h, w), its level and a number of views, over which the prior's answers are
averaged (:mod:`flipproof.prior.views`), to pictures in the prior's space."""

FILL_SIGMA = 0.04
"""Noise a prior is told of when it refines a picture that it has just refined."""
CRISP_RATIO = 0.6
"""Noise after over noise before a step without bits."""
CRISP_SHARE = 0.36
"""Noise of pixels at which the posterior mean is taken, over that at the end of the chain."""
LEAST_PIXELS = 0.035
"""Noise under which no step begins: the shipped priors have seen no less."""
SHARP_SHARE = 0.8
"""How far the weights of the last answer are from those of the prior to those of the sharp prior where a chain reached
the finest grid: with all of the way smooth pictures get rough."""
LEAST_LATENTS = 0.03
"""Noise of latents at which the posterior mean is taken, over the deviation of a sample."""


def posterior_mean(prior: Prior, y: Tensor, level: Level, views: int = 1) -> Tensor:
    """Returns the picture of least expected squared error; the prior invents the grids that were never reached."""
    prior = viewed(prior, views)
    return picture(prior, *approached(prior, y, level))


def approached(prior: Prior, y: Tensor, level: Level) -> tuple[Tensor, Level]:
    """Returns a state one evaluation from pictures at full size: a prior invents grids from 4 to 2."""
    sigma, grid = level.sigma, level.grid
    while grid > 2:
        y, sigma, grid = prior.refine(y, sigma), FILL_SIGMA, grid // 2
    return y, Level(grid, sigma)


def picture(prior: Prior, y: Tensor, level: Level) -> Tensor:
    """Returns what a prior makes of a state one evaluation from pictures at full size."""
    return prior.refine(y, level.sigma) if level.grid > 1 else prior.denoise(y, level.sigma)


def crisp(prior: Prior, y: Tensor, level: Level, views: int = 1) -> Tensor:
    """Returns a picture with more of the detail that the end of a chain suggests, farther from the original."""
    prior = viewed(prior, views)
    sigma, end = level.sigma, _end(prior, level.sigma)
    while sigma > end:
        target = max(end, CRISP_RATIO * sigma)
        mean = prior.denoise(y, sigma)
        y, sigma = mean + target / sigma * (y - mean), target
    return posterior_mean(prior, y, Level(level.grid, sigma))


def sharp(prior: Prior, y: Tensor, level: Level, views: int = 1) -> Tensor:
    """Returns a picture with the detail of a photograph: sharper, and farther from the original.

    The sharp prior is asked once: a mean over views would blur what they see differently.

    Raises:
        WeightsError: The weights of the sharp prior are missing or altered.
    """
    if prior.space.factor > 1:
        return crisp(prior, y, level, views)
    y, level = approached(viewed(prior, views), y, level)
    last = load_sharp(str(y.device), prior.precision, SHARP_SHARE if level.grid == 1 else 1.0)
    return picture(last, y, level)


def _end(prior: Prior, sigma: float) -> float:
    if prior.space.factor > 1:
        return LEAST_LATENTS * prior.space.deviation
    return sigma if sigma < LEAST_PIXELS else max(LEAST_PIXELS, CRISP_SHARE * sigma)


RECONSTRUCTIONS: dict[str, Reconstruction] = {"mse": posterior_mean, "crisp": crisp, "sharp": sharp}
