r"""The prior shipped in the package: a 5.8-million-parameter U-Net in pixel space.

EDM preconditioning (Karras et al., 2022, https://arxiv.org/abs/2206.00364) with :math:`\sigma_d = 0.5`:

.. math:: D(y, \sigma) = c_s y + c_o F(c_i y, \ln \sigma), \quad
    c_s = \frac{\sigma_d^2}{\sigma^2 + \sigma_d^2}, \quad
    c_o = \frac{\sigma \sigma_d}{\sqrt{\sigma^2 + \sigma_d^2}}, \quad
    c_i = \frac{1}{\sqrt{\sigma^2 + \sigma_d^2}}.

To refine, the network sees each average repeated over its 2x2 block. What the repetition lacks counts as
noise of deviation 0.1 in the preconditioning: :math:`\sigma^2` becomes :math:`\sigma^2 + 0.1^2`.
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import resources
from typing import ClassVar

import torch
from safetensors import SafetensorError
from safetensors import torch as safetensors
from torch import Tensor
from torch.nn import functional

from flipproof.errors import WeightsError
from flipproof.prior import SMALL_SHA256
from flipproof.prior.base import Prior
from flipproof.prior.load import precision_type
from flipproof.prior.unet import UNet

__all__ = ["SIGMA_DATA", "SmallPrior", "effective_sigma", "precondition"]

SIGMA_DATA = 0.5
MISSING_DETAIL = 0.1
BATCH_PIXELS = 2**20


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


class SmallPrior(Prior):
    """The shipped denoiser.

    Arguments:
        net: The network; its parameters stay on their device and in their type.
        fingerprint: The first 32 bits of the SHA-256 of the weights file.
    """

    name: ClassVar[str] = "small"

    def __init__(self, net: UNet, fingerprint: int) -> None:
        self.net = net.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._fingerprint = fingerprint

    @classmethod
    def load(cls, device: str = "cpu", precision: str = "float32") -> SmallPrior:
        """Returns the prior shipped in the package, checked against its SHA-256; loaded once per device and precision.

        Raises:
            WeightsError: The weights file is missing, altered or unreadable.
            SpecError: There is no such precision.
        """
        return _shipped(device, precision)

    @classmethod
    def from_bytes(cls, weights: bytes, device: str = "cpu", precision: str = "float32") -> SmallPrior:
        """Returns the prior stored in the bytes of a safetensors file.

        Raises:
            WeightsError: The bytes are not safetensors, or the tensors do not fit the network.
            SpecError: There is no such precision.
        """
        kind = precision_type(precision)
        net = UNet()
        try:
            state = {name: tensor.float() for name, tensor in safetensors.load(weights).items()}
            net.load_state_dict(state)
        except (SafetensorError, RuntimeError) as error:
            raise WeightsError(f"unreadable weights: {str(error).splitlines()[0]}") from error
        return cls(net.to(device, kind), int.from_bytes(hashlib.sha256(weights).digest()[:4], "big"))

    @property
    def fingerprint(self) -> int:  # noqa: D102 (inherited)
        return self._fingerprint

    def denoise(self, y: Tensor, sigma: float) -> Tensor:  # noqa: D102 (inherited)
        return self._evaluate(y, sigma, refine=0.0)

    def refine(self, y: Tensor, sigma: float) -> Tensor:  # noqa: D102 (inherited)
        return self._evaluate(functional.interpolate(y, scale_factor=2, mode="nearest"), sigma, refine=1.0)

    @torch.inference_mode()
    def _evaluate(self, y: Tensor, sigma: float, refine: float) -> Tensor:
        height, width = y.shape[2:]
        padded = _pad(y, self.net.multiple).to(memory_format=torch.channels_last)
        chunk = max(1, BATCH_PIXELS // (padded.shape[2] * padded.shape[3]))
        means = [
            precondition(self.net, part, part.new_full((len(part),), sigma), part.new_full((len(part),), refine))
            for part in torch.split(padded, chunk)
        ]
        return torch.cat(means)[:, :, :height, :width].contiguous()


def _pad(y: Tensor, multiple: int) -> Tensor:
    """Reflects the bottom and right edges until both sides are multiples; repeats the edge of tiny pictures."""
    for axis in (2, 3):
        size = y.shape[axis]
        missing = -size % multiple
        pad = (0, 0, 0, missing) if axis == 2 else (0, missing, 0, 0)
        y = functional.pad(y, pad, mode="reflect" if missing < size else "replicate")
    return y


@cache
def _shipped(device: str, precision: str) -> SmallPrior:
    file = resources.files("flipproof.prior") / "weights" / "small.safetensors"
    try:
        weights = file.read_bytes()
    except OSError as error:
        raise WeightsError(f"the shipped weights are missing: {error}") from error
    digest = hashlib.sha256(weights).hexdigest()
    if digest != SMALL_SHA256:
        raise WeightsError(f"the shipped weights are altered: expected SHA-256 {SMALL_SHA256}, got {digest}")
    return SmallPrior.from_bytes(weights, device, precision)
