r"""The training program of the sharp prior, which the reconstruction ``sharp`` uses.

Minimises, over the ends :math:`y` of chains towards photographs :math:`x` and with :math:`g = D(y, \sigma)`,

.. math:: \lambda_e \ln(|g - x|^2 + 0.05 \sigma^2) + \lambda_a |{\downarrow_4} g - {\downarrow_4} x|
    + \lambda_p \ln(L(g, x) + 0.1) + \lambda_t \ln(T(g, x) + 0.1)

with means for the errors, :math:`\downarrow_4` the average over 4x4 blocks, and LPIPS and DISTS as L and T of
:mod:`flipproof.train.likeness`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn import functional

from flipproof.metric.dists import Dists
from flipproof.metric.lpips import Lpips
from flipproof.prior.unet import UNet
from flipproof.train.error import log_error
from flipproof.train.last import LastRecipe, LastTrainer
from flipproof.train.likeness import dists_loss, lpips_loss
from flipproof.train.pace import Pace
from flipproof.train.pairs import Batch, Pairs

__all__ = ["PACE", "Recipe", "SharpTrainer"]

EASE = 0.1
"""Added before the logarithm, by which what is smooth is not sacrificed to what is rough."""
SHIFT = 8
"""Patches are judged without so many rows and columns, at any of as many places: no judge sees the network's own grid
where it was."""

PACE = Pace(seconds=3600, learning_rate=5e-4, warmup=50, floor=0.01)


@dataclass(frozen=True)
class Recipe(LastRecipe):
    """Recipe with the weights of the loss; patches have at least 80 pixels a side.

    Attributes:
        error: Weight of the squared error, in logarithms.
        averages: Weight of the absolute error of averages over 4x4 blocks.
        likeness: Weight of LPIPS.
        texture: Weight of DISTS, which a part of the patches is held to.
    """

    error: float = 0.1
    averages: float = 0.4
    likeness: float = 1.5
    texture: float = 0.75


class SharpTrainer(LastTrainer):
    """Trains towards what looks like a photograph.

    Arguments:
        recipe: What to do.
        net: The network to train, with the weights to start from.
        pairs: What to learn from.
        metric: LPIPS, to learn from.
        texture_metric: DISTS, the same.
        device: Where to train.
    """

    file: ClassVar[str] = "sharp.safetensors"

    def __init__(
        self, recipe: Recipe, net: UNet, pairs: Pairs, metric: Lpips, texture_metric: Dists, device: str = "cpu"
    ) -> None:
        self.recipe, self.metric, self.texture_metric = recipe, metric, texture_metric
        super().__init__(recipe, net, pairs, device)

    def loss(self, made: Tensor, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:  # noqa: D102 (inherited)
        recipe = self.recipe
        rows, columns = (slice(start, start - SHIFT) for start in self.rng.integers(SHIFT, size=2))
        shown, truth = made[..., rows, columns], batch.original[..., rows, columns]
        small, true_small = (functional.avg_pool2d(x, 4) for x in (shown, truth))
        error, averages = log_error(shown, truth, batch.sigma), (small - true_small).abs().mean()
        likeness = lpips_loss(self.metric, shown, truth)
        texture = self._texture(shown, truth)
        loss = recipe.error * error + recipe.averages * averages
        loss = loss + recipe.likeness * (likeness + EASE).log().mean() + recipe.texture * (texture + EASE).log().mean()
        parts = {"error": error, "averages": averages, "likeness": likeness.mean(), "texture": texture.mean()}
        return loss, parts

    def _texture(self, shown: Tensor, truth: Tensor) -> Tensor:
        """Returns DISTS of some patches as they are, or, as often, of twice as many at half size."""
        share = int(self.rng.choice((2, 4)))
        some = [x[: -(-len(x) // share)] for x in (shown, truth)]
        return dists_loss(self.texture_metric, *(functional.avg_pool2d(x, 2) if share == 2 else x for x in some))
