r"""The training program of the codec ``hyperprior``.

Minimises rate and distortion together,

.. math:: \mathbb{E} \left[ w(u) \left( R + \lambda(u) \, 255^2 \, \mathrm{MSE} \right) \right], \quad
    \lambda(u) = \lambda_0 (\lambda_1 / \lambda_0)^{u / 5},

over crops and rates :math:`u`, stratified over the batch; :math:`R` in bits per pixel, pictures in [0, 1]. The weight
:math:`w(u) = (\lambda(u) / \sqrt{\lambda_0 \lambda_1})^{-1/4}` keeps high rates from drowning low ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from flipproof.errors import ImageError
from flipproof.learned.frozen import freeze
from flipproof.learned.hyperprior import ANCHORS, Hyperprior
from flipproof.train.data import PhotoSet
from flipproof.train.learner import Learner
from flipproof.train.loop import Trainer
from flipproof.train.pace import Pace
from flipproof.train.pyramid import Pyramid
from flipproof.train.relaxation import relax

__all__ = ["PACE", "HyperpriorTrainer", "Recipe", "rate_distortion"]

RATE_PARAMETERS = ("log_gain", "index_bias")
"""Parameters that learn five times as fast: they have far to go."""
PACE = Pace(seconds=5400, learning_rate=1e-3, warmup=200, floor=0.01)


@dataclass(frozen=True)
class Recipe:
    """Everything that, with the data and the machine, fixes the weights.

    Attributes:
        pace: Learning rates, and the time to train for.
        batch: Crops per step.
        patch: Side of a crop in pixels, a multiple of 64.
        average: Limit of the decay of the moving average of the weights.
        lambda_low: Weight of distortion at the lowest rate.
        lambda_high: And at the highest.
        balance: How far rates are balanced: w(u) is a power of lambda with this exponent, negated.
        seed: Root of every draw.
    """

    pace: Pace = PACE
    batch: int = 8
    patch: int = 128
    average: float = 0.999
    lambda_low: float = 0.0002
    lambda_high: float = 0.1
    balance: float = 0.25
    seed: int = 0

    def lambda_at(self, u: Tensor) -> Tensor:
        """Returns the weights of distortion at rates ``u`` in [0, 5]."""
        return self.lambda_low * (self.lambda_high / self.lambda_low) ** (u / (ANCHORS - 1))


class HyperpriorTrainer(Trainer):
    """Trains the networks of the codec ``hyperprior``.

    Arguments:
        recipe: What to do.
        net: The network to train.
        photos: Training photographs.
        device: Where to train.

    Raises:
        ImageError: No photograph is large enough.
    """

    file: ClassVar[str] = "hyperprior.safetensors"

    def __init__(self, recipe: Recipe, net: Hyperprior, photos: PhotoSet, device: str = "cpu") -> None:
        net = net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        named = list(net.named_parameters())
        groups = [
            {"params": [p for name, p in named if name not in RATE_PARAMETERS], "speed": 1.0},
            {"params": [p for name, p in named if name in RATE_PARAMETERS], "speed": 5.0},
        ]
        self.recipe, self.learner = recipe, Learner(net, torch.optim.Adam(groups, betas=(0.9, 0.99)), recipe.average)
        super().__init__(recipe.pace, {"hyperprior": self.learner}, recipe.seed)
        self.photos = Pyramid(photos, recipe.patch)

    def take_step(self, rate: float) -> dict[str, float]:
        """Takes one step; returns its loss, bits per pixel and mean squared error (in bytes)."""
        recipe, rng, device = self.recipe, self.rng, self.learner.device
        noise = torch.Generator().manual_seed(int(rng.integers(2**62)))
        x = torch.from_numpy(self.photos.draw(recipe.batch, rng)).to(device).float().div_(255)
        strata = (np.arange(recipe.batch) + rng.random(recipe.batch)) / recipe.batch * (ANCHORS - 1)
        u = torch.from_numpy(rng.permutation(strata)).float().to(device)
        result = relax(self.learner.net, x.contiguous(memory_format=torch.channels_last), u, noise, autocast=True)
        bpp = (result.bits + result.hyper_bits) / recipe.patch**2
        mse = (result.x - x).square().mean((1, 2, 3)) * 255**2
        weight = recipe.lambda_at(u)
        balance = (weight / math.sqrt(recipe.lambda_low * recipe.lambda_high)) ** -recipe.balance
        loss = (balance * (bpp + weight * mse)).mean()
        self.learner.learn(loss, rate, self.step)
        return {"loss": loss.item(), "bpp": bpp.mean().item(), "mse": mse.mean().item()}

    def weights(self) -> dict[str, Tensor]:  # noqa: D102 (inherited)
        return freeze(self.learner.averaged())


@torch.no_grad()
def rate_distortion(net: Hyperprior, folder: Path) -> dict[str, float]:
    """Measures rate (of ideal entropy coding) and PSNR on centre crops of every seventh PNG of a folder.

    Returns:
        Mean bits per pixel and decibels at five rates, as ``bpp@2.5`` and ``psnr@2.5``.

    Raises:
        ImageError: The folder has no pictures.
    """
    crops = [_crop(path) for path in sorted(folder.glob("*.png"))[::7]]
    if not crops:
        raise ImageError(f"expected PNG files in {folder}, got none")
    x = torch.stack(crops).contiguous(memory_format=torch.channels_last)
    row = {}
    for rate in np.linspace(0, ANCHORS - 1, 5):
        result = relax(net, x, torch.full((len(x),), float(rate)), None)
        mse = (result.x.clamp(0, 1) - x).square().mean((1, 2, 3))
        bits = (result.bits + result.hyper_bits).mean()
        row[f"bpp@{rate:g}"] = round(float(bits) / x[0, 0].numel(), 4)
        row[f"psnr@{rate:g}"] = round(float((-10 * mse.log10()).mean()), 3)
    return row


def _crop(path: Path) -> Tensor:
    photo = np.asarray(Image.open(path).convert("RGB"))
    top, left = photo.shape[0] // 2 - 128, photo.shape[1] // 2 - 128
    return torch.from_numpy(photo[top : top + 256, left : left + 256].transpose(2, 0, 1).copy()).float() / 255
