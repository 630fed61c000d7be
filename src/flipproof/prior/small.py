r"""The prior ``small``: the U-Net shipped in the package, for pictures as they are.

EDM preconditioning (Karras et al., 2022, https://arxiv.org/abs/2206.00364) with :math:`\sigma_d = 0.5`:

.. math:: D(y, \sigma) = c_s y + c_o F(c_i y, \ln \sigma), \quad
    c_s = \frac{\sigma_d^2}{\sigma^2 + \sigma_d^2}, \quad
    c_o = \frac{\sigma \sigma_d}{\sqrt{\sigma^2 + \sigma_d^2}}, \quad
    c_i = \frac{1}{\sqrt{\sigma^2 + \sigma_d^2}}.

To refine, the network sees each average repeated over its 2x2 block. What the repetition lacks counts as
noise of deviation 0.1 in the preconditioning: :math:`\sigma^2` becomes :math:`\sigma^2 + 0.1^2`.

At more noise than the network knows, it sees averages over 2x2 blocks, whose noise is half of it, and its answer is
interpolated.
"""

from __future__ import annotations

import hashlib
import math
from functools import cache
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from flipproof.prior.base import Prior
from flipproof.prior.evaluator import Evaluator
from flipproof.prior.leaves import leaves
from flipproof.prior.load import BYTES, check_bytes, precision_type
from flipproof.prior.quantised import QuantisedEvaluator
from flipproof.prior.shipped import MOST_NOISE, SHIPPED, ShippedWeights
from flipproof.prior.tiling import pad, tiled
from flipproof.prior.unet import UNet
from flipproof.seeds import generator

__all__ = ["SIGMA_DATA", "SmallPrior", "effective_sigma", "example", "precondition"]

SIGMA_DATA = 0.5
MISSING_DETAIL = 0.1
EXAMPLE = 128


def effective_sigma(sigma: Tensor, refine: Tensor) -> Tensor:
    """Noise level of the network's input: missing detail counts as noise.

    Arguments:
        sigma: Noise levels with shape (B,).
        refine: 1 where the finest detail is missing, else 0, with shape (B,).
    """
    return (sigma**2 + refine * MISSING_DETAIL**2).sqrt()


def precondition(net: UNet, y: Tensor, sigma: Tensor, refine: Tensor) -> Tensor:
    """Evaluates the preconditioned denoiser.

    Arguments:
        net: The network F.
        y: Noisy pictures (B, 3, H, W); H and W are multiples of ``net.multiple``.
        sigma: Noise levels (B,).
        refine: 1 where ``y`` repeats 2x2 averages, else 0, with shape (B,).

    Returns:
        The posterior means (B, 3, H, W).
    """
    s = effective_sigma(sigma, refine)[:, None, None, None]
    total = (s**2 + SIGMA_DATA**2).sqrt()
    kind = net.stem.weight.dtype
    output: Tensor = net((y / total).to(kind), sigma.log().to(kind), refine.to(kind))
    return (SIGMA_DATA / total) ** 2 * y + s * SIGMA_DATA / total * output.to(y.dtype)


def example(c: float, u: float) -> Tensor:
    """Returns an input of the network (1, 3, 128, 128) at log noise level ``c``, of a drawn picture.

    Arguments:
        c: Log noise level.
        u: 1 where the picture's finest detail is missing, else 0.
    """
    sigma, picture = math.exp(c), leaves(EXAMPLE)
    seen = functional.avg_pool2d(picture, 2) if u else picture
    y = seen + sigma * torch.from_numpy(generator(purpose="example").standard_normal(seen.shape, np.float32))
    total = math.hypot(sigma, u * MISSING_DETAIL, SIGMA_DATA)
    return functional.interpolate(y, scale_factor=2) / total if u else y / total


class SmallPrior(Prior):
    """The shipped denoiser.

    Arguments:
        net: The network; its parameters stay on their device and in their type.
        fingerprint: The first 32 bits of the SHA-256 of the weights file.
        evaluator: How the network is evaluated; None, in the type of its parameters.
        most: Noise up to which it is asked itself.
    """

    name: ClassVar[str] = "small"

    def __init__(
        self, net: UNet, fingerprint: int, evaluator: Evaluator | None = None, most: float = MOST_NOISE
    ) -> None:
        self.net = net.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._evaluator = evaluator or Evaluator(self.net)
        self.precision = self._evaluator.precision
        self._fingerprint, self._most = fingerprint, most

    @classmethod
    def load(cls, device: str = "cpu", precision: str = "float32", name: str = "small") -> SmallPrior:
        """Returns a prior shipped in the package, checked against its SHA-256; loaded once per device and precision.

        Arguments:
            device: Where to compute.
            precision: Type the network computes in.
            name: Which of :data:`flipproof.prior.shipped.SHIPPED`.

        Raises:
            WeightsError: The weights file is missing, altered or unreadable.
            SpecError: There is no such precision, or not on this device.
        """
        return _shipped(SHIPPED[name], device, precision)

    @classmethod
    def from_bytes(
        cls, weights: bytes, device: str = "cpu", precision: str = "float32", most: float = MOST_NOISE
    ) -> SmallPrior:
        """Returns the prior stored in the bytes of a safetensors file; how large its network is follows from them.

        Arguments:
            weights: The bytes.
            device: Where to compute.
            precision: Type the network computes in.
            most: Noise up to which it is asked itself.

        Raises:
            WeightsError: The bytes are not safetensors, or the tensors are of no such network.
            SpecError: There is no such precision, or not on this device.
        """
        digest = hashlib.sha256(weights).digest()
        return cls.of(UNet.from_bytes(weights), int.from_bytes(digest[:4], "big"), device, precision, most)

    @classmethod
    def of(
        cls, net: UNet, fingerprint: int, device: str = "cpu", precision: str = "float32", most: float = MOST_NOISE
    ) -> SmallPrior:
        """Returns the prior of a network on a device, in a precision; arguments are those of :meth:`from_bytes`.

        Raises:
            SpecError: There is no such precision, or not on this device.
        """
        kind = precision_type(precision)
        if precision == BYTES:
            check_bytes(device)
        net = net.to(device, kind)
        return cls(net, fingerprint, QuantisedEvaluator(net, example) if precision == BYTES else None, most)

    @property
    def fingerprint(self) -> int:  # noqa: D102 (inherited)
        return self._fingerprint

    def denoise(self, y: Tensor, sigma: float) -> Tensor:  # noqa: D102 (inherited)
        if sigma <= self._most:
            return self._evaluate(y, sigma, refine=0.0)
        averages = functional.avg_pool2d(pad(y, 2), 2)
        mean = functional.interpolate(self.denoise(averages, sigma / 2), scale_factor=2, mode="bilinear")
        return mean[:, :, : y.shape[2], : y.shape[3]]

    def refine(self, y: Tensor, sigma: float) -> Tensor:  # noqa: D102 (inherited)
        return self._evaluate(y, sigma, refine=1.0)

    @torch.inference_mode()
    def _evaluate(self, y: Tensor, sigma: float, refine: float) -> Tensor:
        """Returns posterior means; to refine, at twice the size."""
        s = math.hypot(sigma, refine * MISSING_DETAIL)
        total = math.hypot(s, SIGMA_DATA)

        def mean(part: Tensor) -> Tensor:
            output = self._evaluator(part / total, math.log(sigma), refine).to(part.dtype)
            return output.mul_(s * SIGMA_DATA / total).add_(part, alpha=(SIGMA_DATA / total) ** 2)

        return tiled(mean, y, self.net.multiple, growth=2 if refine else 1)


@cache
def _shipped(weights: ShippedWeights, device: str, precision: str) -> SmallPrior:
    return SmallPrior.from_bytes(weights.read(), device, precision, weights.most)
