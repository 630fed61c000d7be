r"""The networks of MS-ILLM: HiFiC's encoder and generator around a mean-scale hyperprior.

An encoder makes latents y of a picture, 220 values per 16x16 pixels. A hyper-encoder makes hyper-latents z of them, 320
values per 64x64 pixels, which are rounded and coded under learned densities of their channels. From what the decoder
knows of z, two hyper-decoders make a mean :math:`\mu` and a scale :math:`\sigma` for every latent, and
:math:`\operatorname{round}(y - \mu)` is coded under a Gaussian of that scale. The generator makes a picture of
:math:`\mu + \operatorname{round}(y - \mu)`. It was trained against a discriminator that tells apart, for each code word
of a vector quantiser, real from generated pictures; the discriminator is of no use here.

The parts have the names and shapes of the authors' checkpoints; narrower ones serve as well.

References:
    | Improving Statistical Fidelity for Neural Image Compression with Implicit Local Likelihood Models (Muckley,
      El-Nouby, Ullrich, Jégou, Verbeek, 2023), https://arxiv.org/abs/2301.11189
    | High-Fidelity Generative Image Compression (Mentzer, Toderici, Tschannen, Agustsson, 2020),
      https://arxiv.org/abs/2006.09965
    | Joint Autoregressive and Hierarchical Priors for Learned Image Compression (Minnen, Ballé, Toderici, 2018),
      https://arxiv.org/abs/1809.02736
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from flipproof.errors import WeightsError

__all__ = ["DENSITY_LAYERS", "DENSITY_UNITS", "Illm", "Widths"]

DENSITY_LAYERS = 5
"""Layers of the function that is the density of a channel of hyper-latents."""
DENSITY_UNITS = 3
"""Units of its hidden layers."""

_EPSILON = 1e-3
_MOST_BLOCKS = 64


@dataclass(frozen=True)
class Widths:
    """How wide the layers are; the defaults are those of the published models.

    Attributes:
        encoder: Channels of the encoder's stages, each but the first at half the resolution of the one before.
        latents: Channels of y.
        decoder: Channels of the generator's stages, each but the first at twice the resolution.
        hyper: Channels of z.
        blocks: Residual blocks of the generator.
    """

    encoder: tuple[int, ...] = (60, 120, 240, 480, 960)
    latents: int = 220
    decoder: tuple[int, ...] = (960, 480, 240, 120, 60)
    hyper: int = 320
    blocks: int = 9

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> Widths:
        """Returns the widths of a checkpoint.

        Raises:
            WeightsError: A tensor that tells them is missing, or has not the axes it should have.
        """
        return cls(
            encoder=tuple(_side(tensors, f"encoder.blocks.{stage}.0.weight", 0) for stage in range(5)),
            latents=_side(tensors, "encoder.blocks.5.weight", 0),
            decoder=(
                *(_side(tensors, f"decoder.blocks.{stage}.0.weight", 0) for stage in range(4)),
                _side(tensors, "decoder.blocks.4.weight", 1),
            ),
            hyper=_side(tensors, "hyper_analysis.0.weight", 0),
            blocks=sum(f"decoder.resid_blocks.{i}.sequence.0.weight" in tensors for i in range(_MOST_BLOCKS)),
        )


def _side(tensors: Mapping[str, Tensor], name: str, axis: int) -> int:
    if name not in tensors:
        raise WeightsError(f"expected a tensor {name}, got none")
    if tensors[name].ndim != 4 or min(tensors[name].shape) < 1:
        raise WeightsError(f"{name}: expected a kernel of 4 axes, got {tuple(tensors[name].shape)}")
    return int(tensors[name].shape[axis])


class Illm(nn.Module):
    """All networks; the names of their parameters are those of the authors' checkpoints.

    Arguments:
        widths: Of the layers.
    """

    def __init__(self, widths: Widths) -> None:
        super().__init__()
        latents, hyper = widths.latents, widths.hyper
        self.encoder = Encoder(widths)
        self.decoder = Generator(widths)
        self.hyper_analysis = nn.Sequential(
            nn.Conv2d(latents, hyper, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(hyper, hyper, 5, 2, padding=2),
            nn.ReLU(),
            nn.Conv2d(hyper, hyper, 5, 2, padding=2),
        )
        self.hyper_synthesis_mean = _hyper_synthesis(widths)
        self.hyper_synthesis_scale = _hyper_synthesis(widths)
        self.hyper_bottleneck = Densities(hyper)


class Encoder(nn.Module):
    """Pictures (B, 3, H, W) with values from 0 to 1 to latents (B, latents, H / 16, W / 16)."""

    def __init__(self, widths: Widths) -> None:
        super().__init__()
        first, *_ = channels = widths.encoder
        stages = [nn.Sequential(nn.Conv2d(3, first, 7, padding=3), ChannelNorm(first), nn.ReLU())]
        for inputs, outputs in pairwise(channels):
            stages.append(nn.Sequential(nn.Conv2d(inputs, outputs, 3, 2, padding=1), ChannelNorm(outputs), nn.ReLU()))
        self.blocks = nn.Sequential(*stages, nn.Conv2d(channels[-1], widths.latents, 3, padding=1))

    def forward(self, pictures: Tensor) -> Tensor:
        latents: Tensor = self.blocks(pictures)
        return latents


class Generator(nn.Module):
    """Latents (B, latents, h, w) to pictures (B, 3, 16 h, 16 w), with values around 0 to 1."""

    def __init__(self, widths: Widths) -> None:
        super().__init__()
        first, *_ = channels = widths.decoder
        self.block_0 = nn.Sequential(
            ChannelNorm(widths.latents), nn.Conv2d(widths.latents, first, 3, padding=1), ChannelNorm(first)
        )
        self.resid_blocks = nn.Sequential(*(ResidualBlock(first) for _ in range(widths.blocks)))
        stages = [
            nn.Sequential(
                nn.ConvTranspose2d(inputs, outputs, 3, 2, padding=1, output_padding=1), ChannelNorm(outputs), nn.ReLU()
            )
            for inputs, outputs in pairwise(channels)
        ]
        self.blocks = nn.Sequential(*stages, nn.Conv2d(channels[-1], 3, 7, padding=3))

    def forward(self, latents: Tensor) -> Tensor:
        start = self.block_0(latents)
        pictures: Tensor = self.blocks(start + self.resid_blocks(start))
        return pictures


class ResidualBlock(nn.Module):
    """Two convolutions, added to what comes in."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.sequence = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1),
            ChannelNorm(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            ChannelNorm(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        change: Tensor = self.sequence(x)
        return x + change


class ChannelNorm(nn.Module):
    r"""Normalises each pixel over its channels: :math:`\gamma (x - m) / \sqrt{v + 0.001} + \beta`.

    The variance v is the unbiased one. Section 3.1 of Mentzer et al. (2020).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(1, channels, 1, 1))
        self.beta = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        variance, mean = torch.var_mean(x, dim=1, keepdim=True)
        return ((x - mean) * torch.rsqrt(variance + _EPSILON)).mul_(self.gamma).add_(self.beta)


class Densities(nn.Module):
    """Learned densities of the channels of hyper-latents; :mod:`flipproof.learned.density` makes tables of them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.quantiles = _empty(channels, 1, 3)
        units = (1, *[DENSITY_UNITS] * (DENSITY_LAYERS - 1), 1)
        for layer, (inputs, outputs) in enumerate(pairwise(units)):
            self.register_parameter(f"_matrix{layer}", _empty(channels, outputs, inputs))
            self.register_parameter(f"_bias{layer}", _empty(channels, outputs, 1))
            if layer < DENSITY_LAYERS - 1:
                self.register_parameter(f"_factor{layer}", _empty(channels, outputs, 1))


def _empty(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.zeros(*shape))


def _hyper_synthesis(widths: Widths) -> nn.Sequential:
    """Hyper-latents (B, hyper, h, w) to parameters of latents (B, latents, 4 h, 4 w)."""

    def double() -> nn.Module:
        return nn.ConvTranspose2d(widths.hyper, widths.hyper, 5, 2, padding=2, output_padding=1)

    return nn.Sequential(
        double(), nn.ReLU(), double(), nn.ReLU(), nn.Conv2d(widths.hyper, widths.latents, 3, padding=1)
    )
