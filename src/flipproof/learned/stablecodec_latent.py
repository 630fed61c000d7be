r"""The latent codec of StableCodec (Zhang, Luo, Li and Liu, 2025, https://arxiv.org/abs/2506.21977).

The analysis transform makes a code :math:`y` at a 64th of the picture's sides of two views of the picture: the latents
of Stable Diffusion's autoencoder at an 8th, and features of an auxiliary encoder at a 16th. The hyperprior (Ballé et
al., 2018) makes :math:`z` of it at a 256th. The code is decoded in four stages, each with means and scales from what is
known before: the hyperprior's first guess, in which decoded values replace guessed ones. In every stage each place of
the grid gets a quarter of its channels, by a pattern of 2x2 places. Coded are the integers
:math:`s = \operatorname{round}(y - \mu)`, and

.. math:: \hat y = s + \mu + \tfrac12 \tanh r(s + \mu, \text{known}),

with a network :math:`r` that predicts what rounding lost. Of the whole code the synthesis transform makes the input of
the diffusion model, and the auxiliary decoder the residual that is added to its output.

**Arithmetic.** Coder and decoder must come to the same scales. The networks between them (:class:`ContextModel`)
compute in float64 on the CPU, where machines differ so little that a scale falls on the other side of a table's
boundary about once in 10^12 symbols.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias, cast

import torch
from torch import Tensor, nn

from flipproof.learned.stablecodec_blocks import Adapter, BasicBlock, Downsample, Upsample

__all__ = [
    "LIMIT",
    "STAGES",
    "Analysis",
    "AuxiliaryDecoder",
    "Code",
    "ContextModel",
    "HyperAnalysis",
    "Sizes",
    "Synthesis",
    "spread_quarter",
    "take_quarter",
]

STAGES = 4
LIMIT = 2**12 - 1
"""Largest magnitude of an integer that is coded, and of what else enters the networks between."""

_PLACES = ((0, 1, 2, 3), (3, 2, 1, 0), (2, 3, 0, 1), (1, 0, 3, 2))
"""The place in the 2x2 pattern that each quarter of the channels has, for every stage."""

Code: TypeAlias = Callable[[int, Tensor, Tensor], Tensor]
"""Makes integers (C / 4, H, W) of a stage, and means and scales of that shape: writes a picture's, or reads them."""


@dataclass(frozen=True)
class Sizes:
    """Channels of the latent codec; the defaults are those of the published weights.

    Attributes:
        latent: Of the autoencoder's latents.
        narrow: After the first step of the analysis transform, a multiple of 24.
        middle: After the second, a multiple of 8.
        wide: Of the code, of the auxiliary features and of the diffusion model's input, a multiple of 16.
    """

    latent: int = 4
    narrow: int = 192
    middle: int = 256
    wide: int = 320


class Analysis(nn.Module):
    """Makes the code (B, wide, H / 8, W / 8) of latents (B, latent, H, W) and features (B, wide, H / 2, W / 2)."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.pre1 = Downsample(sizes.latent, sizes.narrow - sizes.narrow // 3)
        self.pre2 = nn.Conv2d(sizes.wide, sizes.narrow // 3, 3, padding=1)
        self.analysis_transform = nn.Sequential(
            BasicBlock(sizes.narrow),
            Downsample(sizes.narrow, sizes.middle),
            BasicBlock(sizes.middle),
            Downsample(sizes.middle, sizes.wide),
            BasicBlock(sizes.wide),
        )

    def forward(self, latents: Tensor, features: Tensor) -> Tensor:
        """Returns the code."""
        return cast(Tensor, self.analysis_transform(torch.cat([self.pre1(latents), self.pre2(features)], dim=1)))


def _three_steps_up(channels: tuple[int, int, int, int]) -> nn.Sequential:
    return nn.Sequential(
        *(layer for inputs, outputs in pairwise(channels) for layer in (BasicBlock(inputs), Upsample(inputs, outputs)))
    )


class Synthesis(nn.Module):
    """Makes the input of the diffusion model (B, wide, 8 H, 8 W) of the code (B, wide, H, W)."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.synthesis_transform = _three_steps_up((sizes.wide,) * 4)

    def forward(self, code: Tensor) -> Tensor:
        """Returns the input of the diffusion model; its first channels are the noisy latents."""
        return cast(Tensor, self.synthesis_transform(code))


class AuxiliaryDecoder(nn.Module):
    """Makes the residual of the latents (B, latent, 8 H, 8 W) of the code (B, wide, H, W)."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.block = _three_steps_up((sizes.wide, sizes.middle, sizes.narrow, sizes.latent))

    def forward(self, code: Tensor) -> Tensor:
        """Returns the residual."""
        return cast(Tensor, self.block(code))


class HyperAnalysis(nn.Module):
    """Makes the side information (B, wide / 2, H / 4, W / 4) of the code (B, wide, H, W)."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        half = sizes.wide // 2
        self.reduction = nn.Sequential(
            nn.Conv2d(sizes.wide, half, 3, stride=2, padding=1),
            BasicBlock(half),
            nn.Conv2d(half, half, 3, stride=2, padding=1),
        )

    def forward(self, code: Tensor) -> Tensor:
        """Returns the side information."""
        return cast(Tensor, self.reduction(code))


class HyperSynthesis(nn.Module):
    """Makes the first guess of the code (B, wide, 4 H, 4 W) of the side information (B, wide / 2, H, W)."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        half = sizes.wide // 2
        self.increase = nn.Sequential(
            nn.Conv2d(half, 2 * sizes.wide, 1),
            nn.PixelShuffle(2),
            BasicBlock(half),
            nn.Conv2d(half, 4 * sizes.wide, 1),
            nn.PixelShuffle(2),
        )

    def forward(self, side: Tensor) -> Tensor:
        """Returns the first guess."""
        return cast(Tensor, self.increase(side))


class _SpatialContext(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block = nn.Sequential(*(BasicBlock(channels) for _ in range(4)))

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.block(x))


class _Residual(nn.Module):
    """Predicts what rounding lost."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        middle = (inputs + outputs) // 2
        self.block = nn.Sequential(Adapter(inputs, middle), Adapter(middle, outputs))

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.block(x))


class ContextModel(nn.Module):
    """The networks between the coder and the decoder: from side information and decoded integers to the code."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        wide = sizes.wide
        self.h_s = HyperSynthesis(sizes)
        self.adapter_in = nn.ModuleList(Adapter(wide, 3 * wide) for _ in range(STAGES))
        self.g_c = _SpatialContext(3 * wide)
        self.adapter_out = nn.ModuleList(Adapter(3 * wide, 2 * wide) for _ in range(STAGES))
        self.LRP = nn.ModuleList(_Residual(2 * wide, wide) for _ in range(STAGES))

    def forward(self, side: Tensor, code: Code) -> Tensor:
        """Walks through the stages.

        Arguments:
            side: Decoded side information (1, wide / 2, h, w).
            code: Called for every stage with its number, means and scales (wide / 4, 4 h, 4 w); returns the integers.

        Returns:
            The decoded code (1, wide, 4 h, 4 w), finite whatever the integers are.
        """
        known = _finite(self.h_s(side))
        for stage in range(STAGES):
            guess = _finite(self.adapter_out[stage](self.g_c(self.adapter_in[stage](known))))
            means, scales = (take_quarter(half, stage) for half in guess.chunk(2, dim=1))
            found = spread_quarter(code(stage, means, scales).to(known) + means, stage)
            mask = spread_quarter(torch.ones_like(means), stage)
            lost = 0.5 * torch.tanh(_finite(self.LRP[stage](torch.cat([found, known], dim=1))) * mask)
            known = known * (1 - mask) + found + lost
        return known


def _finite(x: Tensor) -> Tensor:
    """Holds values within limits that no honest file comes near."""
    return torch.nan_to_num(x).clamp(-LIMIT, LIMIT)


def take_quarter(x: Tensor, stage: int) -> Tensor:
    """Returns the channels coded in a stage: (1, C, h, w) to (C / 4, h, w), h and w even."""
    quarters = x.reshape(4, -1, *x.shape[2:])
    return quarters.gather(0, _owners(stage, quarters[:1]))[0]


def spread_quarter(x: Tensor, stage: int) -> Tensor:
    """Undoes :func:`take_quarter`, with zeros for the channels of other stages."""
    spread = x.new_zeros(4, *x.shape).scatter(0, _owners(stage, x[None]), x[None])
    return spread.reshape(1, -1, *x.shape[1:])


def _owners(stage: int, like: Tensor) -> Tensor:
    """Returns which quarter of the channels is coded at each place, (1, C, h, w)."""
    pattern = torch.tensor(_PLACES[stage], device=like.device).argsort().reshape(2, 2)
    return pattern.repeat(like.shape[2] // 2, like.shape[3] // 2).expand(like.shape)
