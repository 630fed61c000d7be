r"""The one denoising step of StableCodec, whole or in overlapping tiles.

The UNet predicts the noise :math:`\epsilon` in the last timestep t = 999 from the whole code; its first channels are
the noisy latents :math:`x_t`, and

.. math:: x_0 = \frac{x_t - \sqrt{1 - \bar\alpha_t} \, \epsilon}{\sqrt{\bar\alpha_t}}.

Latents of more than 96x96 go through the UNet in squares of 96 that overlap by 32; predictions are averaged with the
weight of a Gaussian of a tenth of the square's side around its middle.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["OVERLAP", "TILE", "TIMESTEP", "LastStep", "predict_tiled"]

TIMESTEP = 999
TILE = 96
OVERLAP = 32
_DEVIATION = 0.1  # of the weights, in sides of a tile


@dataclass(frozen=True)
class LastStep:
    """What the noise schedule says of the last timestep.

    Attributes:
        alpha_bar: Share of the signal's variance.
        limit: Largest magnitude of clean latents; None where the schedule has none, as that of SD-Turbo.
    """

    alpha_bar: float
    limit: float | None = None

    def clean(self, noisy: Tensor, noise: Tensor) -> Tensor:
        """Returns the latents without the noise, all of shape (B, C, h, w)."""
        latents = (noisy - math.sqrt(1 - self.alpha_bar) * noise) / math.sqrt(self.alpha_bar)
        return latents if self.limit is None else latents.clamp(-self.limit, self.limit)


def predict_tiled(predict: Callable[[Tensor], Tensor], x: Tensor, channels: int) -> Tensor:
    """Predicts noise, in tiles if need be.

    Arguments:
        predict: The UNet: (1, wide, h, w) to (1, channels, h, w).
        x: Its input.
        channels: Of its output.
    """
    height, width = x.shape[2:]
    if height * width <= TILE * TILE:
        return predict(x)
    side = min(TILE, height, width)
    weights, total, count = (
        _weights(side).to(x),
        x.new_zeros(1, channels, height, width),
        x.new_zeros(1, 1, height, width),
    )
    for left in _starts(width, side):
        for top in _starts(height, side):
            box = (..., slice(top, top + side), slice(left, left + side))
            total[box] += predict(x[box]) * weights
            count[box] += weights
    return total / count


def _starts(length: int, side: int) -> list[int]:
    """Returns where tiles start: each overlaps the one before, and the last ends at the border.

    Where a tile is no larger than the overlap, the authors' loop does not end; half a tile is taken then.

    Example:
        >>> _starts(256, 96), _starts(96, 96), _starts(300, 32)[:3]
        ([0, 64, 128, 160], [0], [0, 16, 32])
    """
    step = side - OVERLAP if side > OVERLAP else side // 2
    starts = list(range(0, length - side, step))
    return [*starts, length - side]


def _weights(side: int) -> Tensor:
    """Returns the weights (side, side); the middle is half a latent off along one axis, as the authors have it."""
    places = torch.arange(side, dtype=torch.float64)
    rows, columns = (
        torch.exp(-(((places - middle) / side / _DEVIATION) ** 2) / 2) for middle in (side / 2, (side - 1) / 2)
    )
    return torch.outer(rows, columns).float()
