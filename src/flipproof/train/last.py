"""What the training programs of last priors have in common: the way up of a network that learns from ends of chains.

The way down stays that of the prior, whose summaries of a state serve any purpose; the way up is trained.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from flipproof.codec.target import to_picture
from flipproof.image import RgbImage
from flipproof.metric.psnr import psnr
from flipproof.prior.last import last_network
from flipproof.prior.small import SmallPrior, precondition
from flipproof.prior.unet import UNet
from flipproof.reconstruction import picture
from flipproof.schedule import Level
from flipproof.train.checkpoint import read_tensors
from flipproof.train.learner import Learner
from flipproof.train.loop import Trainer
from flipproof.train.pace import Pace
from flipproof.train.pairs import Batch, Pairs

__all__ = ["TRAINED", "LastRecipe", "LastTrainer", "first_network", "measured"]

TRAINED = ("up", "dec", "head")
"""Parts of the network that are trained."""


@dataclass(frozen=True)
class LastRecipe:
    """What, with the loss, the pairs, the first weights and the machine, fixes the weights.

    Attributes:
        pace: Learning rates, and the time to train for.
        batch: Patches per step.
        patch: Side of a patch in pixels, a multiple of 16.
        average: Limit of the decay of the moving average of the weights.
        seed: Root of every draw.
    """

    pace: Pace
    batch: int = 8
    patch: int = 128
    average: float = 0.998
    seed: int = 0


class LastTrainer(Trainer):
    """Trains the way up of a network.

    Arguments:
        recipe: What to do.
        net: The network to train, with the weights to start from.
        pairs: What to learn from.
        device: Where to train.
    """

    def __init__(self, recipe: LastRecipe, net: UNet, pairs: Pairs, device: str = "cpu") -> None:
        net = net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        for name, p in net.named_parameters():
            p.requires_grad_(name.startswith(TRAINED))
        trained = [p for p in net.parameters() if p.requires_grad]
        self.learner = Learner(net, torch.optim.Adam(trained, betas=(0.9, 0.99)), recipe.average)
        self.pairs, self.size = pairs, (recipe.batch, recipe.patch)
        super().__init__(recipe.pace, {"last": self.learner}, recipe.seed)

    @abstractmethod
    def loss(self, made: Tensor, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the loss of what the network made of a batch, and its parts for the log."""

    def take_step(self, rate: float) -> dict[str, float]:  # noqa: D102 (inherited)
        device = self.learner.device
        batch = self.pairs.draw(*self.size, self.rng).to(device)
        y = batch.y.to(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16):
            loss, parts = self.loss(precondition(self.learner.net, y, batch.sigma, batch.missing), batch)
        self.learner.learn(loss, rate, self.step)
        return {name: part.item() for name, part in parts.items()}

    def weights(self) -> dict[str, Tensor]:  # noqa: D102 (inherited)
        averaged = self.learner.averaged().state_dict()
        return {name: tensor.half() for name, tensor in averaged.items() if name.startswith(TRAINED)}


def first_network(init: Path | None) -> UNet:
    """Returns the network to train.

    Arguments:
        init: Weights of a last prior to go on from; without, the network is that of the prior.

    Raises:
        WeightsError: The file is missing, no safetensors, or of another network.
    """
    return last_network(read_tensors(init)[0] if init else {})


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
