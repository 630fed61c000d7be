r"""The training program of the prior ``small``.

Minimises :func:`flipproof.train.error.log_error`, the logarithm of the squared error, over states of chains under way
(:mod:`flipproof.train.chains`): every noise level and every picture counts alike, as in PSNR. Each step takes all
chains of one pool, drawn at random, and moves them on with the answers of the network in training.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from flipproof.prior.small import precondition
from flipproof.prior.unet import UNet
from flipproof.train.chains import ChainLaw, Pool
from flipproof.train.checkpoint import prefixed, under
from flipproof.train.data import PhotoSet
from flipproof.train.error import log_error
from flipproof.train.learner import Learner
from flipproof.train.loop import Trainer
from flipproof.train.pace import Pace
from flipproof.train.pyramid import Pyramid

__all__ = ["DECODER_BLOCKS", "ENCODER_BLOCKS", "PACE", "POOLS", "WIDTHS", "PoolPlan", "Recipe", "SmallTrainer"]

WIDTHS = (64, 96, 160, 256)
"""Channels of the network, finest scale first."""
ENCODER_BLOCKS = (2, 2, 2, 3)
"""Residual blocks on the way down."""
DECODER_BLOCKS = (2, 3, 3)
"""And on the way up."""

LAW = ChainLaw()
PACE = Pace(seconds=5520, learning_rate=5e-4, warmup=300, floor=0.005)


@dataclass(frozen=True)
class PoolPlan:
    """Chains towards crops of one size.

    Attributes:
        scales: Sides of the blocks that photographs are averaged over; one is drawn evenly.
        size: Side of the crops in pixels, a multiple of 16.
        count: Number of chains.
        odds: Share of the steps that take this pool.
    """

    scales: tuple[int, ...]
    size: int
    count: int
    odds: float


POOLS = (
    PoolPlan((1, 2), size=128, count=12, odds=0.5),
    PoolPlan((1, 2, 4), size=96, count=16, odds=0.25),
    PoolPlan((4, 8), size=48, count=48, odds=0.17),
    PoolPlan((8, 16), size=16, count=160, odds=0.08),
)
"""The pools of the recipe: fine grids and coarse ones."""


@dataclass(frozen=True)
class Recipe:
    """Everything that, with the data, the first weights and the machine, fixes the weights.

    Attributes:
        pace: Learning rates, and the time to train for.
        pools: Chains that steps take.
        law: How chains are drawn.
        weight_decay: Of AdamW.
        average: Limit of the decay of the moving average of the weights.
        bfloat16: Whether convolutions in training round to bfloat16.
        seed: Root of every draw.
    """

    pace: Pace = PACE
    pools: tuple[PoolPlan, ...] = POOLS
    law: ChainLaw = LAW
    weight_decay: float = 1e-4
    average: float = 0.9995
    bfloat16: bool = True
    seed: int = 0


class SmallTrainer(Trainer):
    """Trains the network of the small prior.

    Arguments:
        recipe: What to do.
        net: The network to train, with the weights to start from.
        photos: Training photographs.
        device: Where to train.

    Raises:
        ImageError: No photograph is large enough for a pool.
    """

    file: ClassVar[str] = "small.safetensors"

    def __init__(self, recipe: Recipe, net: UNet, photos: PhotoSet, device: str = "cpu") -> None:
        net = net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = torch.optim.AdamW(net.parameters(), betas=(0.9, 0.99), weight_decay=recipe.weight_decay)
        self.recipe, self.learner = recipe, Learner(net, optimizer, recipe.average)
        super().__init__(recipe.pace, {"small": self.learner}, recipe.seed)
        crops = [Pyramid(photos, plan.size, plan.scales) for plan in recipe.pools]
        self.pools = [
            Pool(source, plan.count, recipe.law, self.rng, device)
            for source, plan in zip(crops, recipe.pools, strict=True)
        ]
        odds = np.array([plan.odds for plan in recipe.pools])
        self.odds = odds / odds.sum()

    def take_step(self, rate: float) -> dict[str, float]:  # noqa: D102 (inherited)
        pool = self.pools[int(self.rng.choice(len(self.pools), p=self.odds))]
        chains = pool.chains
        y = chains.y.to(memory_format=torch.channels_last)
        with torch.autocast(y.device.type, torch.bfloat16, enabled=self.recipe.bfloat16):
            mean = precondition(self.learner.net, y, chains.sigma, chains.refine)
        loss = log_error(mean, chains.x, chains.sigma)
        self.learner.learn(loss, rate, self.step)
        pool.move(mean.detach(), self.rng)
        return {"loss": loss.item()}

    def weights(self) -> dict[str, Tensor]:  # noqa: D102 (inherited)
        return {name: tensor.half() for name, tensor in self.learner.averaged().state_dict().items()}

    def memory(self) -> dict[str, Tensor]:
        """Returns the pools: a resumed run goes on with the same chains."""
        named = [prefixed(str(index), pool.chains.tensors()) for index, pool in enumerate(self.pools)]
        return {name: tensor for tensors in named for name, tensor in tensors.items()}

    def recall(self, memory: dict[str, Tensor]) -> None:  # noqa: D102 (inherited)
        for index, pool in enumerate(self.pools):
            pool.chains.restore(under(memory, str(index)))
