r"""The training program of the codec ``hyperprior``.

Minimises rate and distortion together,

.. math:: \mathbb{E} \left[ w(u) \left( R + \lambda(u) \, 255^2 \, \mathrm{MSE} \right) \right], \quad
    \lambda(u) = \lambda_0 (\lambda_1 / \lambda_0)^{u / 5},

over crops and rates :math:`u`, stratified over the batch; :math:`R` in bits per pixel, pictures in [0, 1]. The weight
:math:`w(u) = (\lambda(u) / \sqrt{\lambda_0 \lambda_1})^{-1/4}` keeps high rates from drowning low ones. The learning
rate follows the time spent, so that a run ends well on any machine. Every step draws from its own seed.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from flipproof.errors import ImageError
from flipproof.learned.frozen import freeze
from flipproof.learned.hyperprior import ANCHORS, Hyperprior
from flipproof.train.checkpoint import restore_checkpoint, save_checkpoint
from flipproof.train.pyramid import Pyramid
from flipproof.train.relaxation import relax

__all__ = ["Recipe", "Trainer", "rate_distortion", "train"]

RATE_PARAMETERS = ("log_gain", "index_bias")
"""Parameters that learn five times as fast: they have far to go."""


@dataclass(frozen=True)
class Recipe:
    """Everything that, with the data and the machine, fixes the weights.

    Attributes:
        seconds: Time to train for, checkpoints and checks not counted.
        batch: Crops per step.
        patch: Side of a crop in pixels, a multiple of 64.
        learning_rate: Peak of the cosine schedule.
        warmup: Steps to reach the peak.
        average: Decay of the moving average of the weights.
        lambda_low: Weight of distortion at the lowest rate.
        lambda_high: And at the highest.
        balance: How far rates are balanced: w(u) is a power of lambda with this exponent, negated.
        seed: Root of every draw.
    """

    seconds: float = 5400
    batch: int = 8
    patch: int = 128
    learning_rate: float = 1e-3
    warmup: int = 200
    average: float = 0.999
    lambda_low: float = 0.0002
    lambda_high: float = 0.1
    balance: float = 0.25
    seed: int = 0

    def rate_at(self, step: int, seconds: float) -> float:
        """Returns the learning rate: linear warm-up by steps, a cosine down to a hundredth of the peak by time."""
        progress = min(1.0, seconds / self.seconds)
        decay = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress))
        return self.learning_rate * min(1.0, (step + 1) / self.warmup) * decay

    def lambda_at(self, u: Tensor) -> Tensor:
        """Returns the weights of distortion at rates ``u`` in [0, 5]."""
        return self.lambda_low * (self.lambda_high / self.lambda_low) ** (u / (ANCHORS - 1))


class Trainer:
    """Network, optimiser and moving average, with everything needed to stop and go on.

    Arguments:
        recipe: What to do.
        net: The network to train.
        device: Where to train.
    """

    def __init__(self, recipe: Recipe, net: Hyperprior, device: str = "cpu") -> None:
        self.recipe = recipe
        self.step, self.seconds = 0, 0.0
        self.net = net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = {name: p.detach().clone() for name, p in self.net.named_parameters()}
        named = list(self.net.named_parameters())
        groups = [
            {"params": [p for name, p in named if name not in RATE_PARAMETERS], "speed": 1.0},
            {"params": [p for name, p in named if name in RATE_PARAMETERS], "speed": 5.0},
        ]
        self.optimizer = torch.optim.Adam(groups, betas=(0.9, 0.99))

    def advance(self, photos: Pyramid) -> dict[str, float]:
        """Takes one step; returns its loss, bits per pixel and mean squared error (in bytes)."""
        start, recipe = time.monotonic(), self.recipe
        rng = np.random.default_rng([recipe.seed, self.step])
        noise = torch.Generator().manual_seed(int(rng.integers(2**62)))
        device = next(self.net.parameters()).device
        x = torch.from_numpy(photos.draw(recipe.batch, rng)).to(device).float().div_(255)
        strata = (np.arange(recipe.batch) + rng.random(recipe.batch)) / recipe.batch * (ANCHORS - 1)
        u = torch.from_numpy(rng.permutation(strata)).float().to(device)
        result = relax(self.net, x.contiguous(memory_format=torch.channels_last), u, noise, autocast=True)
        bpp = (result.bits + result.hyper_bits) / recipe.patch**2
        mse = (result.x - x).square().mean((1, 2, 3)) * 255**2
        weight = recipe.lambda_at(u)
        balance = (weight / math.sqrt(recipe.lambda_low * recipe.lambda_high)) ** -recipe.balance
        loss = (balance * (bpp + weight * mse)).mean()
        self._learn(loss)
        self.seconds += time.monotonic() - start
        return {"loss": loss.item(), "bpp": bpp.mean().item(), "mse": mse.mean().item()}

    def _learn(self, loss: Tensor) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = group["speed"] * self.recipe.rate_at(self.step, self.seconds)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0).isfinite():
            self.optimizer.step()
        decay = min(self.recipe.average, (self.step + 1) / (self.step + 10))
        for name, p in self.net.named_parameters():
            self.average[name].lerp_(p.detach(), 1 - decay)
        self.step += 1

    def save(self, path: Path) -> None:
        """Writes a checkpoint (safetensors) in one atomic move."""
        header = {"step": str(self.step), "seconds": str(self.seconds), "recipe": json.dumps(asdict(self.recipe))}
        save_checkpoint(path, self.net, self.average, self.optimizer, header)

    def restore(self, path: Path) -> None:
        """Goes on from a checkpoint.

        Raises:
            WeightsError: The file is no checkpoint of this network.
        """
        header = restore_checkpoint(path, self.net, self.average, self.optimizer)
        self.step, self.seconds = int(header["step"]), float(header["seconds"])

    def averaged(self) -> Hyperprior:
        """Returns the network with averaged weights, on the CPU."""
        net = Hyperprior()
        net.load_state_dict({name: t.cpu() for name, t in self.average.items()})
        return net.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload, no-any-return]


def train(
    trainer: Trainer,
    photos: Pyramid,
    out: Path,
    report: Callable[[dict[str, Any]], None],
    check: Callable[[Hyperprior], dict[str, float]],
    every: float = 180,
) -> None:
    """Trains for the recipe's time, checkpointing and checking the averaged weights on the way.

    Arguments:
        trainer: Fresh or restored.
        photos: Training photographs.
        out: Folder for ``checkpoint.safetensors``, ``hyperprior.safetensors`` and ``log.jsonl``.
        report: Receives each log row.
        check: Scores a network; its numbers join the log row.
        every: Seconds between checkpoints.
    """
    out.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, float]] = []
    mark, recipe = trainer.seconds, trainer.recipe
    while trainer.seconds < recipe.seconds:
        rows.append(trainer.advance(photos))
        if trainer.seconds - mark >= every or trainer.seconds >= recipe.seconds:
            mark = trainer.seconds
            trainer.save(out / "checkpoint.safetensors")
            net = trainer.averaged()
            save_file(freeze(net), out / "hyperprior.safetensors")
            means = {key: round(float(np.mean([row[key] for row in rows])), 4) for key in rows[0]}
            row = {"step": trainer.step, "seconds": round(trainer.seconds), **means, **check(net)}
            with (out / "log.jsonl").open("a") as file:
                file.write(json.dumps(row) + "\n")
            report(row)
            rows.clear()


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
