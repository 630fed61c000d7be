r"""Rates and pictures of the codec ``hyperprior`` that gradients pass through.

Rounding has no useful gradient. For the rate, symbols get uniform noise in :math:`[-1/2, 1/2]` instead, whose density
at a value is the probability of the rounded symbol; for the picture and the entropy parameters they are rounded, and
gradients pass as if they were not (straight through).

References:
    | End-to-end optimized image compression (Balle, Laparra, Simoncelli, 2017), https://arxiv.org/abs/1611.01704
    | Channel-wise autoregressive entropy models for learned image compression (Minnen, Singh, 2020),
      https://arxiv.org/abs/2007.08978
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from flipproof.learned.hyperprior import SCALES, Hyperprior, scale_of

__all__ = ["Relaxed", "relax"]

LEAST_PROBABILITY = 1e-9


@dataclass(frozen=True)
class Relaxed:
    """Pictures (B, 3, H, W), about in [0, 1], and the bits of their symbols and hyper-latents, both (B,)."""

    x: Tensor
    bits: Tensor
    hyper_bits: Tensor


def relax(net: Hyperprior, x: Tensor, u: Tensor, noise: torch.Generator | None, autocast: bool = False) -> Relaxed:
    """Codes pictures in a way that can be learned from.

    Arguments:
        net: The network.
        x: Pictures in [0, 1] with shape (B, 3, H, W), sides multiples of 64.
        u: Their rates in [0, 5] with shape (B,).
        noise: Source of the noise for the rates, on the CPU; None to round.
        autocast: Whether to convolve in bfloat16.
    """

    def noisy(t: Tensor) -> Tensor:
        if noise is None:
            return t.round()
        return t + torch.rand(t.shape, generator=noise).to(t.device) - 0.5

    half = torch.autocast(x.device.type, torch.bfloat16, enabled=autocast)
    gain = net.gain(u)
    with half:
        y = net.analysis[:-1](4 * x - 2)
    y = net.analysis[-1](y.float()) * gain
    with half:
        z = net.hyper_analysis[:-1](y)
    z = net.hyper_analysis[-1](z.float())
    gaussians = net.parameters_from(_rounded(z), u)
    residual = y - gaussians.mean
    with half:
        picture = net.synthesise((_rounded(residual) + gaussians.mean) / gain)
    bits = _gaussian_bits(noisy(residual), gaussians.index).sum((1, 2, 3))
    return Relaxed(picture.float(), bits, _hyper_bits(net, noisy(z), u).sum((1, 2, 3)))


def _gaussian_bits(residual: Tensor, index: Tensor) -> Tensor:
    scale = scale_of(_bound(index, 0.0).clamp_max(SCALES - 1))
    distance = residual.abs()
    p = torch.special.ndtr((0.5 - distance) / scale) - torch.special.ndtr((-0.5 - distance) / scale)
    return -_bound(p, LEAST_PROBABILITY).log2()


def _hyper_bits(net: Hyperprior, z: Tensor, u: Tensor) -> Tensor:
    p = net.z_cumulative(z + 0.5, u) - net.z_cumulative(z - 0.5, u)
    return -_bound(p, LEAST_PROBABILITY).log2()


def _rounded(x: Tensor) -> Tensor:
    return x + (x.round() - x).detach()


class _Bound(torch.autograd.Function):
    """A lower bound that lets gradients pass which raise the input."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, least: float) -> Tensor:  # noqa: ANN401 (PyTorch's)
        ctx.save_for_backward(x)
        ctx.least = least
        return x.clamp_min(least)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        (x,) = ctx.saved_tensors
        return gradient * ((x >= ctx.least) | (gradient < 0)), None


_bound: Callable[[Tensor, float], Tensor] = _Bound.apply
