r"""The training program of the small prior.

Minimises the preconditioned denoising error

.. math:: \mathbb{E} \frac{s^2 + \sigma_d^2}{(s \sigma_d)^2} \lVert D(x + \sigma n, \sigma) - x \rVert^2

over patches :math:`x` and log-uniform :math:`\sigma`, stratified over the batch, where :math:`s` is the effective
noise of :mod:`flipproof.prior.small`. A share of each batch learns to refine: its input is averaged over 2x2
blocks first. Every step draws from its own seed, so a resumed run repeats an uninterrupted one.
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
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from flipproof.prior.small import SIGMA_DATA, effective_sigma, precondition
from flipproof.prior.unet import UNet
from flipproof.train.checkpoint import restore_checkpoint, save_checkpoint
from flipproof.train.data import PhotoSet

__all__ = ["Recipe", "Trainer", "train"]


@dataclass(frozen=True)
class Recipe:
    """Everything that, with the data, fixes the weights.

    Attributes:
        steps: Optimiser steps.
        batch: Patches per step.
        patch: Side of a patch in pixels.
        refine_share: Share of each batch that learns to refine.
        sigma_min: Lowest noise level.
        sigma_max: Highest noise level.
        learning_rate: Peak of the cosine schedule.
        warmup: Steps to reach the peak.
        weight_decay: Of AdamW.
        average: Decay of the moving average of the weights.
        seed: Root of every draw.
    """

    steps: int = 6000
    batch: int = 16
    patch: int = 96
    refine_share: float = 0.25
    sigma_min: float = 0.03
    sigma_max: float = 2.0
    learning_rate: float = 5e-4
    warmup: int = 200
    weight_decay: float = 1e-4
    average: float = 0.999
    seed: int = 0

    def rate_at(self, step: int) -> float:
        """Returns the learning rate at a step: linear warm-up, then a cosine down to a hundredth of the peak."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        progress = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))


class Trainer:
    """Network, optimiser and moving average, with everything needed to stop and go on.

    Arguments:
        recipe: What to do.
        net: The network to train, possibly with weights to start from.
        device: Where to train.
    """

    def __init__(self, recipe: Recipe, net: UNet, device: str) -> None:
        self.recipe = recipe
        self.step = 0
        self.net = net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = {name: p.detach().clone() for name, p in self.net.named_parameters()}
        self.optimizer = torch.optim.AdamW(self.net.parameters(), betas=(0.9, 0.99), weight_decay=recipe.weight_decay)

    def advance(self, photos: PhotoSet) -> float:
        """Takes one step and returns its loss."""
        recipe = self.recipe
        rng = np.random.default_rng([recipe.seed, self.step])
        device = next(self.net.parameters()).device
        x = torch.from_numpy(photos.patches(recipe.batch, recipe.patch, rng)).to(device)
        noise = torch.from_numpy(rng.standard_normal(x.shape, dtype=np.float32)).to(device)
        share = (np.arange(recipe.batch) + rng.random(recipe.batch)) / recipe.batch
        sigma = torch.from_numpy(recipe.sigma_min * (recipe.sigma_max / recipe.sigma_min) ** share).float().to(device)
        refine = torch.from_numpy(rng.random(recipe.batch) < recipe.refine_share).float().to(device)
        loss = _loss(self.net, x, noise, sigma, refine)
        for group in self.optimizer.param_groups:
            group["lr"] = recipe.rate_at(self.step)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimizer.step()
        for name, p in self.net.named_parameters():
            self.average[name].lerp_(p.detach(), 1 - recipe.average)
        self.step += 1
        return float(loss.detach())

    def weights(self) -> dict[str, Tensor]:
        """Returns the averaged weights in half precision, as shipped."""
        state = {**self.net.state_dict(), **self.average}
        return {name: tensor.half().contiguous().cpu() for name, tensor in state.items()}

    def save(self, path: Path) -> None:
        """Writes a checkpoint (safetensors) in one atomic move."""
        header = {"step": str(self.step), "recipe": json.dumps(asdict(self.recipe))}
        save_checkpoint(path, self.net, self.average, self.optimizer, header)

    def restore(self, path: Path) -> None:
        """Goes on from a checkpoint.

        Raises:
            WeightsError: The file is no checkpoint of this network.
        """
        self.step = int(restore_checkpoint(path, self.net, self.average, self.optimizer)["step"])


def train(
    trainer: Trainer,
    photos: PhotoSet,
    out: Path,
    report: Callable[[dict[str, Any]], None],
    validate: Callable[[UNet], dict[str, float]],
    every: int = 250,
) -> None:
    """Trains to the recipe's last step, checkpointing and validating the averaged weights on the way.

    Arguments:
        trainer: Fresh or restored.
        photos: Training photographs.
        out: Folder for ``checkpoint.safetensors``, ``small.safetensors`` and ``log.jsonl``.
        report: Receives each log row.
        validate: Scores a network; its numbers join the log row.
        every: Steps between checkpoints.
    """
    out.mkdir(parents=True, exist_ok=True)
    losses: list[float] = []
    start = time.monotonic()
    while trainer.step < trainer.recipe.steps:
        losses.append(trainer.advance(photos))
        if trainer.step % every == 0 or trainer.step == trainer.recipe.steps:
            trainer.save(out / "checkpoint.safetensors")
            save_file(trainer.weights(), out / "small.safetensors")
            row = {"step": trainer.step, "loss": float(np.mean(losses)), "seconds": round(time.monotonic() - start)}
            row |= validate(_averaged(trainer))
            with (out / "log.jsonl").open("a") as file:
                file.write(json.dumps(row) + "\n")
            report(row)
            losses.clear()


def _loss(net: UNet, x: Tensor, noise: Tensor, sigma: Tensor, refine: Tensor) -> Tensor:
    coarse = functional.avg_pool2d(x, 2)
    noisy_coarse = coarse + sigma[:, None, None, None] * noise[:, :, ::2, ::2]
    repeated = functional.interpolate(noisy_coarse, scale_factor=2, mode="nearest")
    y = torch.where(refine[:, None, None, None] > 0, repeated, x + sigma[:, None, None, None] * noise)
    s = effective_sigma(sigma, refine)
    weight = (s**2 + SIGMA_DATA**2) / (s * SIGMA_DATA) ** 2
    error = (precondition(net, y.to(memory_format=torch.channels_last), sigma, refine) - x) ** 2
    return (weight * error.mean(dim=(1, 2, 3))).mean()


def _averaged(trainer: Trainer) -> UNet:
    net = UNet()
    net.load_state_dict({name: tensor.float() for name, tensor in trainer.weights().items()})
    return net
