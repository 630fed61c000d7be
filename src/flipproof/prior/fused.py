"""3x3 convolutions, and what is done to every sample of their results in the same pass through memory.

In bfloat16 a convolution takes hardly longer than a pass. PyTorch has fused ones for its compiler alone, on CPUs with
oneDNN; where they are not to be had the same is computed in two passes.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["add_conv", "conv_relu"]

GEOMETRY = ([1, 1], [1, 1], [1, 1], 1)
"""Padding, stride, dilation and groups."""
TOLERANCES = {torch.float32: 1e-3, torch.bfloat16: 0.25}
"""Types that they are for, and how far results of the check, which reach 12, may be from those of two passes."""


def conv_relu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Returns max(0, W * x + b).

    Arguments:
        x: Samples with shape (B, C, H, W).
        weight: The kernel W, with shape (D, C, 3, 3).
        bias: The vector b, with shape (D,).
    """
    if _fuses(x):
        return _fused_relu(x, weight, bias)
    return functional.conv2d(x, weight, bias, padding=1).relu_()


def add_conv(total: Tensor, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Adds W * x + b to a total (B, D, H, W) of the same type, which it overwrites, and returns it.

    Arguments are those of :func:`conv_relu`.
    """
    if _fuses(x):
        return _fused_add(total, x, weight, bias)
    return total.add_(functional.conv2d(x, weight, bias, padding=1))


def _fuses(x: Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype in TOLERANCES and _there(x.dtype)


def _fused_relu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    out: Tensor = torch.ops.mkldnn._convolution_pointwise(x, weight, bias, *GEOMETRY, "relu", [], "")
    return out


def _fused_add(total: Tensor, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    fused = torch.ops.mkldnn._convolution_pointwise_.binary
    out: Tensor = fused(total, x, weight, bias, *GEOMETRY, "add", 1.0, None, [], None)
    return out


@cache
def _there(kind: torch.dtype) -> bool:
    """Returns whether PyTorch has such convolutions, of the meaning they have now: they are not of its public API.

    Processors without AVX-512 or AVX-NE-CONVERT have none in bfloat16.
    """
    x, weight, bias = (torch.linspace(-1, 1, n).to(kind) for n in (4096, 2304, 16))
    x, weight = x.view(1, 16, 16, 16), weight.view(16, 16, 3, 3)
    plain = functional.conv2d(x, weight, bias, padding=1)
    try:
        pairs = (_fused_relu(x, weight, bias), plain.relu()), (_fused_add(x.clone(), x, weight, bias), x + plain)
    except (AttributeError, RuntimeError, TypeError):
        return False
    return all(torch.allclose(got, expected, rtol=0, atol=TOLERANCES[kind]) for got, expected in pairs)
