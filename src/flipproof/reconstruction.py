r"""What a decoder makes of the end of a chain, where the file has no more bits.

The chain ends at :math:`y = x + \sigma n` on some grid. Its posterior mean has the least squared error, and is blurred
where the file leaves room for more than one picture. A sharper one comes, for pixels, from a network that was trained
to give such means the look of photographs (:mod:`flipproof.prior.refiner`); for latents, of which a prior invents
detail by itself, from going on as in sampling, by deterministic steps without bits
(DDIM, https://arxiv.org/abs/2010.02502).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from torch import Tensor

from flipproof.prior.base import Prior
from flipproof.prior.refiner import Refiner
from flipproof.schedule import Level

__all__ = ["RECONSTRUCTIONS", "Reconstruction", "posterior_mean", "sharp"]

Reconstruction: TypeAlias = Callable[[Prior, Tensor, Level], Tensor]
"""Maps a prior, the end of chains (B, C, h, w) and its level to pictures in the prior's space."""

FILL_SIGMA = 0.04
"""Noise a prior is told of when it refines a picture that it has just refined."""
SHARP_RATIO = 0.6
"""Noise after over noise before a step of the sharp reconstruction of latents."""
SHARP_END = 0.03
"""Noise at which it stops and takes the posterior mean, over the deviation of a sample."""


def posterior_mean(prior: Prior, y: Tensor, level: Level) -> Tensor:
    """Returns the picture of least expected squared error; the prior invents the grids that were never reached."""
    if level.grid == 1:
        return prior.denoise(y, level.sigma)
    sigma, grid = level.sigma, level.grid
    while grid > 1:
        y, sigma, grid = prior.refine(y, sigma), FILL_SIGMA, grid // 2
    return y


def sharp(prior: Prior, y: Tensor, level: Level) -> Tensor:
    """Returns a picture with the detail of a photograph: sharper, and farther from the original.

    Raises:
        WeightsError: The weights of the refiner are missing or altered.
    """
    if prior.space.factor > 1:
        return _sampled(prior, y, level.sigma)
    refiner = Refiner.load(str(y.device), prior.precision)
    return refiner(posterior_mean(prior, y, level), level)


def _sampled(prior: Prior, y: Tensor, sigma: float) -> Tensor:
    """Brings noise down without bits, and takes the posterior mean of what is left."""
    end = SHARP_END * prior.space.deviation
    while sigma > end:
        target = max(end, SHARP_RATIO * sigma)
        mean = prior.denoise(y, sigma)
        y, sigma = mean + target / sigma * (y - mean), target
    return prior.denoise(y, sigma)


RECONSTRUCTIONS: dict[str, Reconstruction] = {"mse": posterior_mean, "sharp": sharp}
