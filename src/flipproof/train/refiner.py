r"""The training program of the refiner, which the reconstruction ``sharp`` uses.

Minimises, over decoded pictures :math:`\hat x` of photographs :math:`x` and with :math:`g = \hat x + F`,

.. math:: \lambda_1 |g - x| + \lambda_a |{\downarrow_4} g - {\downarrow_4} x| + \lambda_p \ln(L(g, x) + 0.1)
    + \lambda_t \ln(T(g, x) + 0.1) - \lambda_d\, d(g, \hat x)

with means for the absolute errors, :math:`\downarrow_4` the average over 4x4 blocks, LPIPS and DISTS as L and T of
:mod:`flipproof.train.likeness`, and, where wanted, the discriminator d of :mod:`flipproof.train.discriminator`, which
learns beside it and joins slowly.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from flipproof.codec.target import to_picture
from flipproof.metric.dists import Dists
from flipproof.metric.lpips import Lpips
from flipproof.metric.psnr import psnr
from flipproof.prior.refiner import refined
from flipproof.prior.unet import UNet
from flipproof.train.checkpoint import read_tensors
from flipproof.train.discriminator import Discriminator, hinge
from flipproof.train.learner import Learner
from flipproof.train.likeness import dists_loss, lpips_loss
from flipproof.train.loop import Trainer
from flipproof.train.pace import Pace
from flipproof.train.pairs import Batch, Pairs

__all__ = ["DECODER_BLOCKS", "ENCODER_BLOCKS", "PACE", "Recipe", "RefinerTrainer", "first_network", "measured"]

ENCODER_BLOCKS = (1, 1, 1, 1)
"""Residual blocks of the network, finest scale first, on the way down."""
DECODER_BLOCKS = (1, 1, 1)
"""And on the way up."""
EASE = 0.1
"""Added before the logarithm, by which what is smooth is not sacrificed to what is rough."""
SHIFT = 8
"""Patches are judged without so many rows and columns, at any of as many places: no judge sees the network's own grid
where it was."""

PACE = Pace(seconds=3600, learning_rate=4e-4, warmup=100, floor=0.01)


@dataclass(frozen=True)
class Recipe:
    """Everything that, with the pairs, the first weights and the machine, fixes the weights.

    Attributes:
        pace: Learning rates, and the time to train for.
        batch: Patches per step.
        patch: Side of a patch in pixels, a multiple of 16, at least 80.
        average: Limit of the decay of the moving average of the weights.
        pixels: Weight of the absolute error.
        averages: Weight of the absolute error of averages over 4x4 blocks.
        likeness: Weight of LPIPS.
        texture: Weight of DISTS, which half of the patches are held to.
        adversary: Weight of the discriminator's score; 0 leaves it out.
        alone: Share of the time without a discriminator.
        joined: Share of the time after which its score has full weight; in between, the weight rises linearly.
        seed: Root of every draw.
    """

    pace: Pace = PACE
    batch: int = 8
    patch: int = 128
    average: float = 0.998
    pixels: float = 0.2
    averages: float = 0.4
    likeness: float = 1.0
    texture: float = 1.0
    adversary: float = 0.0
    alone: float = 0.25
    joined: float = 0.4
    seed: int = 0

    def adversary_at(self, seconds: float) -> float:
        """Returns the weight of the discriminator's score after so many seconds; 0 while it does not take part."""
        risen = (seconds / self.pace.seconds - self.alone) / (self.joined - self.alone)
        return self.adversary * min(1.0, max(0.0, risen))


class RefinerTrainer(Trainer):
    """Trains the network of the refiner, and a discriminator beside it.

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
        judge = Discriminator().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.learner = Learner(net, torch.optim.Adam(net.parameters(), betas=(0.9, 0.99)), recipe.average)
        self.opponent = Learner(judge, torch.optim.Adam(judge.parameters(), betas=(0.5, 0.99)), recipe.average)
        self.recipe, self.pairs, self.metric, self.texture_metric = recipe, pairs, metric, texture_metric
        super().__init__(recipe.pace, {"refiner": self.learner, "discriminator": self.opponent}, recipe.seed)

    def take_step(self, rate: float) -> dict[str, float]:
        """Takes one step of both networks; returns the parts of their losses, unweighted."""
        recipe, device = self.recipe, self.learner.device
        batch = self.pairs.draw(recipe.batch, recipe.patch, self.rng).to(device)
        adversary = recipe.adversary_at(self.seconds)
        top, left = self.rng.integers(SHIFT, size=2)
        with torch.autocast(device.type, torch.bfloat16):
            made = refined(self.learner.net, batch.decoded, batch.c)
            shown, batch = made[..., top : top - SHIFT, left : left - SHIFT], batch.shifted(top, left, SHIFT)
            small, truth = (functional.avg_pool2d(x, 4) for x in (shown, batch.original))
            pixels, averages = (shown - batch.original).abs().mean(), (small - truth).abs().mean()
            likeness = lpips_loss(self.metric, shown, batch.original)
            some = slice(0, (recipe.batch + 1) // 2)
            texture = dists_loss(self.texture_metric, shown[some], batch.original[some])
            relative = (likeness + EASE).log().mean() + recipe.texture * (texture + EASE).log().mean()
            score = self._score(shown, batch) if adversary else relative.new_zeros(())
            own = self._opposed(shown.detach(), batch) if adversary else None
        loss = recipe.pixels * pixels + recipe.averages * averages + recipe.likeness * relative - adversary * score
        self.learner.learn(loss, rate, self.step)
        if own is not None:
            self.opponent.learn(own, rate, self.step)
        parts = {
            "pixels": pixels,
            "averages": averages,
            "likeness": likeness.mean(),
            "texture": texture.mean(),
            "score": score,
        }
        return {name: part.item() for name, part in parts.items()} | {"discriminator": own.item() if own else 0.0}

    def weights(self) -> dict[str, Tensor]:  # noqa: D102 (inherited)
        return {name: tensor.half() for name, tensor in self.learner.averaged().state_dict().items()}

    def _score(self, made: Tensor, batch: Batch) -> Tensor:
        """Returns the mean score of pictures; the discriminator gets no gradient."""
        still = {name: p.detach() for name, p in self.opponent.net.named_parameters()}
        scores: Tensor = torch.func.functional_call(self.opponent.net, still, (made, batch.decoded))
        return scores.float().mean()

    def _opposed(self, made: Tensor, batch: Batch) -> Tensor:
        """Returns the discriminator's loss."""
        pictures, decoded = torch.cat([batch.original, made]), torch.cat([batch.decoded, batch.decoded])
        real, false = self.opponent.net(pictures, decoded).float().chunk(2)
        return hinge(real, false)


def first_network(init: Path | None) -> UNet:
    """Returns the network to train: a refiner to go on from, or one that leaves pictures as they are.

    Arguments:
        init: Weights of a refiner, or of a prior, of which whatever fits is taken.

    Raises:
        WeightsError: The file is missing or no safetensors.
    """
    net = UNet(encoder_blocks=ENCODER_BLOCKS, decoder_blocks=DECODER_BLOCKS)
    own = net.state_dict()
    given = read_tensors(init)[0] if init else {}
    fitting = {name: t for name, t in given.items() if name in own and t.shape == own[name].shape}
    net.load_state_dict(own | fitting)
    if not given.keys() == fitting.keys() == own.keys():
        for p in net.head.parameters():
            nn.init.zeros_(p)
    return net


@torch.no_grad()
def measured(net: UNet, pairs: Pairs, metric: Lpips) -> dict[str, float]:
    """Measures what a refiner makes of the first picture of every crop.

    Returns:
        Mean PSNR in dB and LPIPS: of the decoded pictures as ``mse/psnr`` and ``mse/lpips``, of the refined ones as
        ``sharp/psnr`` and ``sharp/lpips``.
    """
    rows = []
    for original, decoded, c in pairs.crops:
        x = torch.from_numpy(decoded[:1]).permute(0, 3, 1, 2).float() / 127.5 - 1
        picture = to_picture(refined(net, x, torch.from_numpy(c[:1]))[0])
        rows.append([measure(p, original) for p in (decoded[0], picture) for measure in (psnr, metric)])
    names = ("mse/psnr", "mse/lpips", "sharp/psnr", "sharp/lpips")
    return dict(zip(names, np.mean(rows, axis=0).round(4).tolist(), strict=True))
