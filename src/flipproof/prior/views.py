r"""A prior that looks at a picture from several sides: flipped, and turned.

What a prior of photographs expects of a mirrored picture should be the mirrored expectation, but a network keeps
to that only roughly. The mean over views,

.. math:: \frac{1}{V} \sum_{v} v^{-1} D(v\,y, \sigma),

has less error than one of them, as that of an ensemble has (Timofte et al., 2016, https://arxiv.org/abs/1511.02228).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from torch import Tensor

from flipproof.prior.base import Prior, WrappedPrior

__all__ = ["VIEWS", "ViewedPrior", "viewed"]

VIEWS = (1, 2, 4, 8)
"""As it is; mirrored; turned by half; and all these turned by a quarter."""


def viewed(prior: Prior, views: int) -> Prior:
    """Returns a prior that takes the mean over so many views; of latents, which are no pictures, the prior itself."""
    return prior if views == 1 or prior.space.factor > 1 else ViewedPrior(prior, views)


class ViewedPrior(WrappedPrior):
    """Means of another prior over views of a picture.

    Arguments:
        prior: Who answers, to each view alone.
        views: How many of them, 1, 2, 4 or 8.
    """

    name: ClassVar[str] = "viewed"

    def __init__(self, prior: Prior, views: int) -> None:
        super().__init__(prior)
        self.views = views

    def denoise(self, y: Tensor, sigma: float) -> Tensor:  # noqa: D102 (inherited)
        return self._mean(self.prior.denoise, y, sigma)

    def refine(self, y: Tensor, sigma: float) -> Tensor:  # noqa: D102 (inherited)
        return self._mean(self.prior.refine, y, sigma)

    def _mean(self, ask: Callable[[Tensor, float], Tensor], y: Tensor, sigma: float) -> Tensor:
        total = ask(y, sigma)
        for view in range(1, self.views):
            total = total + _back(ask(_seen(y, view), sigma), view)
        return total / self.views


def _seen(x: Tensor, view: int) -> Tensor:
    """Returns pictures (B, C, H, W) as one of eight views has them."""
    x = x.flip([axis for bit, axis in ((1, 3), (2, 2)) if view & bit])
    return x.transpose(2, 3) if view & 4 else x


def _back(x: Tensor, view: int) -> Tensor:
    """Undoes :func:`_seen`."""
    x = x.transpose(2, 3) if view & 4 else x
    return x.flip([axis for bit, axis in ((1, 3), (2, 2)) if view & bit])
