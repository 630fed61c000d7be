"""What the latent codec of StableCodec is built of (Zhang, Luo, Li and Liu, 2025, https://arxiv.org/abs/2506.21977).

Two residual blocks that nearly everything consists of, InceptionNeXt (Yu et al., 2024, https://arxiv.org/abs/2303.16900)
and the gated convolution of MambaOut (Yu and Wang, 2025, https://arxiv.org/abs/2405.07992), and changes of resolution
in two branches: a dense one, and one that is separable. The names of the parts are those of the published weights.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

__all__ = ["Adapter", "BasicBlock", "Downsample", "Upsample"]

BAND = 11  # length of the one-dimensional kernels


def _depthwise(channels: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, kernel, stride=stride, padding=kernel // 2, groups=channels)


class _InceptionConv(nn.Module):
    """Depthwise convolutions of three shapes for an eighth of the channels each; the first five eighths pass."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        part = channels // 8
        self.parts = [channels - 3 * part, part, part, part]
        self.dwconv_hw = _depthwise(part, 3)
        self.dwconv_w = nn.Conv2d(part, part, (1, BAND), padding=(0, BAND // 2), groups=part)
        self.dwconv_h = nn.Conv2d(part, part, (BAND, 1), padding=(BAND // 2, 0), groups=part)

    def forward(self, x: Tensor) -> Tensor:
        same, square, wide, high = torch.split(x, self.parts, dim=1)
        return torch.cat([same, self.dwconv_hw(square), self.dwconv_w(wide), self.dwconv_h(high)], dim=1)


class _InceptionNeXt(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthconv = _InceptionConv(channels)
        self.conv1 = nn.Conv2d(channels, 2 * channels, 1)
        self.conv2 = nn.Conv2d(2 * channels, channels, 1)
        self.act = nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        return x + cast(Tensor, self.conv2(self.act(self.conv1(self.depthconv(x)))))


class _GatedConv(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = 2 * channels
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.fc1 = nn.Conv2d(channels, 2 * hidden, 1)
        self.act = nn.GELU()
        self.conv = _depthwise(hidden, 3)
        self.fc2 = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        normal = self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        gate, value = self.fc1(normal).chunk(2, dim=1)
        return x + cast(Tensor, self.fc2(self.act(gate) * self.conv(value)))


class BasicBlock(nn.Module):
    """InceptionNeXt, then a gated convolution; (B, C, H, W) to the same shape, C a multiple of 8."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(_InceptionNeXt(channels), _GatedConv(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Returns the features after the block."""
        return cast(Tensor, self.blocks(x))


class _Branches(nn.Module):
    """The sum of two branches."""

    branch1: nn.Module
    branch2: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.branch1(x) + self.branch2(x))


class Downsample(_Branches):
    """Halves both sides: (B, C, H, W) to (B, D, H / 2, W / 2)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        dense = nn.Conv2d(outputs, outputs, 3, stride=2, padding=1)
        self.branch1 = nn.Sequential(nn.Conv2d(inputs, outputs, 1), nn.GELU(), dense)
        self.branch2 = nn.Sequential(nn.Conv2d(inputs, outputs, 1), nn.GELU(), _depthwise(outputs, 5, stride=2))


class Upsample(_Branches):
    """Doubles both sides: (B, C, H, W) to (B, D, 2 H, 2 W)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.branch1 = self._branch(nn.Conv2d(inputs, inputs, 3, padding=1), inputs, outputs)
        self.branch2 = self._branch(_depthwise(inputs, 5), inputs, outputs)

    @staticmethod
    def _branch(first: nn.Module, inputs: int, outputs: int) -> nn.Sequential:
        return nn.Sequential(first, nn.GELU(), nn.Conv2d(inputs, 4 * outputs, 1), nn.PixelShuffle(2))


class Adapter(_Branches):
    """Changes the number of channels: (B, C, H, W) to (B, D, H, W)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        middle = (inputs + outputs) // 2
        self.branch1 = nn.Sequential(
            nn.Conv2d(inputs, middle, 1),
            nn.GELU(),
            _depthwise(middle, 5),
            nn.GELU(),
            nn.Conv2d(middle, outputs, 1),
        )
        self.branch2 = nn.Conv2d(inputs, outputs, 1)
