r"""What a decoder makes of the end of a chain, where the file has no more bits.

The chain ends at :math:`y = x + \sigma n` on some grid. Its posterior mean has the least squared error. A sharper
picture comes from going on without bits: unknown detail bands get known noise, as in sampling, and everything is
brought to zero noise by deterministic steps (DDIM, https://arxiv.org/abs/2010.02502).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from torch import Tensor

from flipproof.chain import haar_detail, haar_merge
from flipproof.codebook.rotated import RotatedCodebook
from flipproof.prior.base import Prior
from flipproof.schedule import Level

__all__ = ["RECONSTRUCTIONS", "Reconstruction", "posterior_mean", "sharp"]

Reconstruction: TypeAlias = Callable[[Prior, Tensor, Level], Tensor]
"""Maps a prior, the end of chains (B, C, h, w) and its level to pictures in the prior's space."""

FILL_SIGMA = 0.04
"""Noise a prior is told of when it refines a picture that it has just refined."""
SHARP_RATIO = 0.6
"""Noise after over noise before a step of the sharp reconstruction."""
SHARP_END_PIXELS, SHARP_END_LATENTS = 0.3, 0.03
"""Noise at which it stops and takes the posterior mean, over the deviation of a sample: early for the shipped prior, to
which less noise is less detail; late for Stable Diffusion, which invents."""
SHARP_GROWTH = 1.2
"""Noise per sample, over the deviation of a sample, down to which a grid is brought before it grows."""


def posterior_mean(prior: Prior, y: Tensor, level: Level) -> Tensor:
    """Returns the picture of least expected squared error; the prior invents the grids that were never reached."""
    if level.grid == 1:
        return prior.denoise(y, level.sigma)
    sigma, grid = level.sigma, level.grid
    while grid > 1:
        y, sigma, grid = prior.refine(y, sigma), FILL_SIGMA, grid // 2
    return y


def sharp(prior: Prior, y: Tensor, level: Level) -> Tensor:
    """Returns a picture with the detail of a sample: sharper, and farther from the original."""
    sigma, grid, deviation = level.sigma, level.grid, prior.space.deviation
    while grid > 1:
        y, sigma = _quieten(prior, y, sigma, SHARP_GROWTH * deviation)
        detail = haar_detail(prior.refine(y, sigma))
        noise = RotatedCodebook(detail.shape[1], 1, step=grid).noise(len(y)).to(y.device)
        y, sigma, grid = haar_merge(y, detail + 2 * sigma * noise), 2 * sigma, grid // 2
    end = SHARP_END_PIXELS if prior.space.factor == 1 else SHARP_END_LATENTS
    y, sigma = _quieten(prior, y, sigma, end * deviation)
    return prior.denoise(y, sigma)


def _quieten(prior: Prior, y: Tensor, sigma: float, end: float) -> tuple[Tensor, float]:
    """Brings noise down to ``end`` without bits."""
    while sigma > end:
        target = max(end, SHARP_RATIO * sigma)
        mean = prior.denoise(y, sigma)
        y, sigma = mean + target / sigma * (y - mean), target
    return y, sigma


RECONSTRUCTIONS: dict[str, Reconstruction] = {"mse": posterior_mean, "sharp": sharp}
