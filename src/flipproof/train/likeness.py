r"""LPIPS and DISTS as losses, through which gradients pass.

.. math:: L(x, y) = \operatorname{LPIPS}(x, y) + \tfrac12 \operatorname{LPIPS}(\downarrow_2 x, \downarrow_2 y),

:math:`\downarrow_2` the average over 2x2 blocks; and DISTS.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from flipproof.metric.dists import Dists
from flipproof.metric.lpips import Lpips

__all__ = ["dists_loss", "lpips_loss"]

HALF_WEIGHT = 0.5


def lpips_loss(metric: Lpips, x: Tensor, y: Tensor) -> Tensor:
    """Returns the losses (B,) of pictures ``x`` against ``y`` (B, 3, H, W) in [-1, 1] with sides of at least 64."""
    halves = (functional.avg_pool2d(t, 2) for t in (x, y))
    return _distance(metric, x, y) + HALF_WEIGHT * _distance(metric, *halves)


def dists_loss(metric: Dists, x: Tensor, y: Tensor) -> Tensor:
    """Returns DISTS (B,) of pictures ``x`` and ``y`` (B, 3, H, W) in [-1, 1] with sides of at least 32."""
    features = (metric.features(t / 2 + 0.5) for t in (x, y))
    total = x.new_zeros(len(x))
    for level, (a, b) in enumerate(zip(*features, strict=True)):
        total = total + metric.compare(level, a.float(), b.float())
    return total


def _distance(metric: Lpips, x: Tensor, y: Tensor) -> Tensor:
    total = x.new_zeros(len(x))
    pairs = zip(*(metric.trunk.features(metric.scale(t)) for t in (x, y)), strict=True)
    for level, (a, b) in enumerate(pairs):
        difference = _unit(a) - _unit(b)
        total = total + (difference.square().mean(dim=(2, 3)) @ metric.heads[level])
    return total


def _unit(features: Tensor) -> Tensor:
    features = features.float()
    return features / (features.square().sum(dim=1, keepdim=True) + 1e-10).sqrt()
