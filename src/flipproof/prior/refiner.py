r"""The refiner shipped in the package: gives decoded pictures the detail that a posterior mean lacks.

A mean over all pictures that a file allows is blurred wherever they differ. From the posterior mean :math:`\hat x` and
where its chain ended, a network predicts one picture that looks like a photograph,

.. math:: \tilde x = \hat x + F(\hat x / \sigma_d, c), \qquad c = \ln(\sigma k),

with :math:`\sigma` the noise per sample and :math:`k` the averaging factor of the last grid: the noise that the same
knowledge would leave at full resolution. It needs no bits and no random numbers.
"""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor

from flipproof.prior.evaluator import Evaluator
from flipproof.prior.load import precision_type
from flipproof.prior.shipped import ShippedWeights
from flipproof.prior.small import SIGMA_DATA
from flipproof.prior.tiling import tiled
from flipproof.prior.unet import UNet
from flipproof.schedule import Level

__all__ = ["SHARP", "Refiner", "condition", "refined"]

SHARP = ShippedWeights("sharp.safetensors", "fc2b8321e67a0f92bb28464d35c8ab82a31047d7be188fb6b934de575a015dd4")
"""The weights in the package."""
LEAST, MOST = -3.2, 1.2
"""The conditions that the shipped weights have seen."""


def condition(level: Level) -> float:
    """Returns what the refiner is told of the end of a chain: the log of its noise, brought to full resolution."""
    return math.log(level.sigma * level.grid)


def refined(net: UNet, x: Tensor, c: Tensor) -> Tensor:
    """Evaluates the refiner. Below the conditions that it has seen, what it adds fades with the noise.

    Arguments:
        net: The network F.
        x: Decoded pictures (B, 3, H, W) in [-1, 1]; H and W are multiples of ``net.multiple``.
        c: Where their chains ended (B,).

    Returns:
        Pictures (B, 3, H, W).
    """
    kind = net.stem.weight.dtype
    known = c.clamp(LEAST, MOST).to(kind)
    output: Tensor = net((x / SIGMA_DATA).to(kind), known, known.new_zeros(known.shape))
    fade = (c - LEAST).clamp(max=0).exp()
    return x + fade[:, None, None, None] * output.to(x.dtype)


class Refiner:
    """The refiner with its weights.

    Arguments:
        net: The network F; its parameters stay on their device and in their type.
    """

    def __init__(self, net: UNet) -> None:
        self.net = net.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._evaluator = Evaluator(self.net)

    @classmethod
    def load(cls, device: str = "cpu", precision: str = "float32") -> Refiner:
        """Returns the refiner of the package, checked against its SHA-256; loaded once per device and precision.

        Raises:
            WeightsError: The weights file is missing, altered or unreadable.
            SpecError: There is no such precision.
        """
        return _shipped(device, precision)

    @classmethod
    def from_bytes(cls, weights: bytes, device: str = "cpu", precision: str = "float32") -> Refiner:
        """Returns the refiner stored in the bytes of a safetensors file; how large its network is follows from them.

        Raises:
            WeightsError: The bytes are not safetensors, or the tensors are of no such network.
            SpecError: There is no such precision.
        """
        kind = precision_type(precision)
        return cls(UNet.from_bytes(weights).to(device, kind))

    @torch.inference_mode()
    def __call__(self, x: Tensor, level: Level) -> Tensor:
        """Refines decoded pictures.

        Arguments:
            x: Posterior means (B, 3, H, W); what is outside [-1, 1] is clipped.
            level: Where their chains ended.

        Returns:
            Pictures (B, 3, H, W).
        """
        c = condition(level)
        known, fade = min(max(c, LEAST), MOST), math.exp(min(0.0, c - LEAST))

        def picture(part: Tensor) -> Tensor:
            return part.add(self._evaluator(part / SIGMA_DATA, known, 0.0).to(part.dtype), alpha=fade)

        return tiled(picture, x.clamp(-1, 1), self.net.multiple)


@cache
def _shipped(device: str, precision: str) -> Refiner:
    return Refiner.from_bytes(SHARP.read(), device, precision)
