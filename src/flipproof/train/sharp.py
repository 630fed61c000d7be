r"""The training program of the sharp prior, which the reconstruction ``sharp`` uses.

Minimises, over the ends :math:`y` of chains towards photographs :math:`x` and with :math:`g = D(y, \sigma)`,

.. math:: \lambda_e \ln(|g - x|^2 + 0.05 \sigma^2) + \lambda_a |{\downarrow_4} g - {\downarrow_4} x|
    + \lambda_p \ln(L(g, x) + 0.1) + \lambda_t \ln(T(g, x) + 0.1)

with means for the errors, :math:`\downarrow_4` the average over 4x4 blocks, and LPIPS and DISTS as L and T of
:mod:`flipproof.train.likeness`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from safetensors.torch import load
from torch import Tensor
from torch.nn import functional

from flipproof.codec.target import to_picture
from flipproof.image import RgbImage
from flipproof.metric.dists import Dists
from flipproof.metric.lpips import Lpips
from flipproof.metric.psnr import psnr
from flipproof.prior.sharp import moved
from flipproof.prior.shipped import SHIPPED
from flipproof.prior.small import SmallPrior, precondition
from flipproof.prior.unet import UNet
from flipproof.reconstruction import picture
from flipproof.schedule import Level
from flipproof.train.checkpoint import read_tensors
from flipproof.train.error import log_error
from flipproof.train.learner import Learner
from flipproof.train.likeness import dists_loss, lpips_loss
from flipproof.train.loop import Trainer
from flipproof.train.pace import Pace
from flipproof.train.pairs import Batch, Pairs

__all__ = ["PACE", "TRAINED", "Recipe", "SharpTrainer", "first_network", "measured"]

TRAINED = ("up", "dec", "head")
"""Parts of the network that are trained: the way up. Summaries of a state, the way down, serve any purpose."""
EASE = 0.1
"""Added before the logarithm, by which what is smooth is not sacrificed to what is rough."""
SHIFT = 8
"""Patches are judged without so many rows and columns, at any of as many places: no judge sees the network's own grid
where it was."""

PACE = Pace(seconds=3600, learning_rate=5e-4, warmup=50, floor=0.01)


@dataclass(frozen=True)
class Recipe:
    """What, with the pairs, the first weights and the machine, fixes the weights.

    Attributes:
        pace: Learning rates, and the time to train for.
        batch: Patches per step.
        patch: Side of a patch in pixels, a multiple of 16, at least 80.
        error: Weight of the squared error, in logarithms.
        averages: Weight of the absolute error of averages over 4x4 blocks.
        likeness: Weight of LPIPS.
        texture: Weight of DISTS, which a part of the patches is held to.
        average: Limit of the decay of the moving average of the weights.
        seed: Root of every draw.
    """

    pace: Pace = PACE
    batch: int = 8
    patch: int = 128
    error: float = 0.1
    averages: float = 0.4
    likeness: float = 1.5
    texture: float = 0.75
    average: float = 0.998
    seed: int = 0


class SharpTrainer(Trainer):
    """Trains the way up of a network towards what looks like a photograph.

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
        net = net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        for name, p in net.named_parameters():
            p.requires_grad_(name.startswith(TRAINED))
        trained = [p for p in net.parameters() if p.requires_grad]
        self.learner = Learner(net, torch.optim.Adam(trained, betas=(0.9, 0.99)), recipe.average)
        self.recipe, self.pairs, self.metric, self.texture_metric = recipe, pairs, metric, texture_metric
        super().__init__(recipe.pace, {"last": self.learner}, recipe.seed)

    def take_step(self, rate: float) -> dict[str, float]:  # noqa: D102 (inherited)
        device = self.learner.device
        batch = self.pairs.draw(self.recipe.batch, self.recipe.patch, self.rng).to(device)
        y = batch.y.to(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16):
            loss, parts = self._loss(precondition(self.learner.net, y, batch.sigma, batch.missing), batch)
        self.learner.learn(loss, rate, self.step)
        return {name: part.item() for name, part in parts.items()}

    def weights(self) -> dict[str, Tensor]:  # noqa: D102 (inherited)
        averaged = self.learner.averaged().state_dict()
        return {name: tensor.half() for name, tensor in averaged.items() if name.startswith(TRAINED)}

    def _loss(self, made: Tensor, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the loss of what the network made of a batch, and its parts for the log."""
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


def first_network(init: Path | None) -> UNet:
    """Returns the network to train.

    Arguments:
        init: Weights of the way up to go on from; without, they are those of the prior.

    Raises:
        WeightsError: The file is missing, no safetensors, or of another network.
    """
    return moved(load(SHIPPED["small"].read()), read_tensors(init)[0] if init else {})


def measured(net: UNet, pairs: Pairs, metrics: Mapping[str, Callable[[RgbImage, RgbImage], float]]) -> dict[str, float]:
    """Measures what the network makes of the middle state of every pair.

    Arguments:
        net: The network, on the CPU.
        pairs: Whole crops are shown.
        metrics: Further metrics of what is shown and the original, by name.

    Returns:
        Mean PSNR in dB, and means of the other metrics by their names.
    """
    prior, measures = SmallPrior(net, 0), {"psnr": psnr, **metrics}
    rows = []
    for pair in pairs.pairs:
        middle = len(pair.states) // 2
        y = torch.from_numpy(pair.states[middle])[None].float()
        level = Level(len(pair.original) // y.shape[2], float(pair.sigma[middle]))
        shown = to_picture(picture(prior, y, level)[0])
        rows.append([measure(shown, pair.original) for measure in measures.values()])
    return dict(zip(measures, np.mean(rows, axis=0).round(4).tolist(), strict=True))
