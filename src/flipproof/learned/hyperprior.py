r"""The network of the codec ``hyperprior``: a small autoencoder with a mean and scale hyperprior, for many rates.

A picture :math:`x` in [0, 1] becomes latents :math:`y = g_a(x)` at a sixteenth of the resolution. Level :math:`u` of
the rate scales them channel by channel with a gain, :math:`\tilde y = m_u y`; hyper-latents
:math:`z = \lfloor h_a(\tilde y) \rceil` at a sixty-fourth say for each latent a Gaussian of mean :math:`\mu` and scale
:math:`\sigma`, and the symbols :math:`\lfloor \tilde y - \mu \rceil` are coded under it. The decoder finds
:math:`\hat y = (\text{symbols} + \mu) / m_u` and :math:`\hat x = g_s(\hat y)`.

References:
    | Variational image compression with a scale hyperprior (Balle et al., 2018), https://arxiv.org/abs/1802.01436
    | Joint autoregressive and hierarchical priors for learned image compression (Minnen et al., 2018),
      https://arxiv.org/abs/1809.02736
    | Asymmetric gained deep image compression with continuous rate adaptation (Cui et al., 2021),
      https://arxiv.org/abs/2003.02012
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["ANCHORS", "CEILING", "HYPER", "LATENTS", "SCALES", "Hyperprior", "Parameters", "between", "scale_of"]

ANCHORS = 6
"""Rates with gains of their own; between them gains are interpolated exponentially."""
LATENTS = 128
HYPER = 40
CEILING = 16.0
"""Bound of the activations of the hyper-decoder."""
MIXTURE = 3
SMALLEST_SCALE, LARGEST_SCALE, SCALES = 0.11, 128.0, 64


def scale_of(index: Tensor) -> Tensor:
    """Returns the standard deviation at (fractional) indices 0..63 of a logarithmic table from 0.11 to 128."""
    return SMALLEST_SCALE * torch.exp(index * (math.log(LARGEST_SCALE / SMALLEST_SCALE) / (SCALES - 1)))


class Normalisation(nn.Module):
    r"""Divisive normalisation :math:`x_c / (\beta_c + \sum_k \gamma_{ck} |x_k|)`.

    References:
        | Computationally efficient neural image compression (Johnston et al., 2019), https://arxiv.org/abs/1912.08771
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.ones(channels))
        self.gamma = nn.Parameter((0.1 * torch.eye(channels) + 1e-3).sqrt())

    def forward(self, x: Tensor) -> Tensor:
        norm = functional.conv2d(x.abs(), self.gamma.square()[:, :, None, None], self.beta.square())
        return x / norm


class Residual(nn.Module):
    """Two convolutions around a leaky ReLU, added to the input."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, kernel, padding=kernel // 2)
        self.second = nn.Conv2d(channels, channels, kernel, padding=kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.second(functional.leaky_relu(self.first(x), 0.1))
        return y


class Down(nn.Module):
    """A 5x5 convolution to half the resolution, plus the samples themselves: means of groups of them, or copies.

    References:
        | Deep compression autoencoder for efficient high-resolution diffusion models (Chen et al., 2024),
          https://arxiv.org/abs/2410.10733
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(inputs, outputs, 5, stride=2, padding=2)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.convolution(x)
        return y + _regroup(functional.pixel_unshuffle(x, 2), y.shape[1])


class Up(nn.Module):
    """A 3x3 convolution to twice the resolution, plus copies of the samples, or means of groups of them."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(inputs, 4 * outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.convolution(x)
        return functional.pixel_shuffle(y + _regroup(x, y.shape[1]), 2)


def _regroup(x: Tensor, channels: int) -> Tensor:
    if x.shape[1] > channels:
        batch, _, height, width = x.shape
        return x.reshape(batch, channels, -1, height, width).mean(2)
    return x.repeat_interleave(channels // x.shape[1], 1)


def down(inputs: int, outputs: int) -> nn.Module:
    return nn.Conv2d(inputs, outputs, 5, stride=2, padding=2)


def up(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(inputs, 4 * outputs, 3, padding=1), nn.PixelShuffle(2))


@dataclass(frozen=True)
class Parameters:
    """Gaussians of latents: means and (fractional) scale indices, both with shape (B, 128, H / 16, W / 16)."""

    mean: Tensor
    index: Tensor


class Hyperprior(nn.Module):
    """Autoencoder, hyper-autoencoder, gains and the density of the hyper-latents."""

    def __init__(self) -> None:
        super().__init__()
        a, b, c = 48, 96, 96
        self.analysis = nn.Sequential(
            Down(3, a),
            Normalisation(a),
            Down(a, b),
            Normalisation(b),
            Down(b, c),
            Normalisation(c),
            Residual(c, 3),
            Down(c, LATENTS),
        )
        self.synthesis = nn.Sequential(
            Up(LATENTS, c),
            Residual(c, 3),
            Up(c, b),
            Residual(b, 1),
            Up(b, a),
            Residual(a, 1),
            Up(a, 3),
        )
        self.hyper_analysis = nn.Sequential(
            nn.Conv2d(LATENTS, 96, 3, padding=1),
            nn.LeakyReLU(0.1),
            down(96, 64),
            nn.LeakyReLU(0.1),
            down(64, HYPER),
        )
        self.hyper_synthesis = nn.Sequential(
            up(HYPER, 64),
            nn.Hardtanh(0, CEILING),
            up(64, 96),
            nn.Hardtanh(0, CEILING),
            nn.Conv2d(96, 2 * LATENTS, 3, padding=1),
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):  # signals keep their variance
                nn.init.normal_(module.weight, std=0.5 * module.weight[0].numel() ** -0.5)
                module.bias = nn.Parameter(torch.zeros(len(module.weight)))
        ladder = torch.linspace(-1, 1, ANCHORS)[:, None]
        self.log_gain = nn.Parameter((1.2 * ladder).repeat(1, LATENTS))
        self.index_bias = nn.Parameter(torch.full((ANCHORS, LATENTS), 20.0))
        self.z_mean = nn.Parameter(torch.linspace(-1, 1, MIXTURE)[None, None].repeat(ANCHORS, HYPER, 1))
        self.z_log_scale = nn.Parameter(torch.zeros(ANCHORS, HYPER, MIXTURE))
        self.z_weight = nn.Parameter(torch.zeros(ANCHORS, HYPER, MIXTURE))

    def analyse(self, x: Tensor) -> Tensor:
        """Returns latents of pictures in [0, 1]."""
        y: Tensor = self.analysis(4 * x - 2)
        return y

    def synthesise(self, y: Tensor) -> Tensor:
        """Returns pictures, about in [0, 1]."""
        x: Tensor = self.synthesis(y).float() / 4 + 0.5
        return x

    def gain(self, u: Tensor) -> Tensor:
        """Returns the gains (B, 128, 1, 1) at rates ``u`` (B,) in [0, 5]."""
        return between(self.log_gain, u).exp()[:, :, None, None]

    def parameters_from(self, z: Tensor, u: Tensor) -> Parameters:
        """Returns the Gaussians that hyper-latents ``z`` (B, 40, h, w) tell of the latents at rates ``u`` (B,)."""
        with torch.autocast(z.device.type, enabled=False):
            mean, index = self.hyper_synthesis(z.float()).chunk(2, 1)
        return Parameters(mean, 8 * index + between(self.index_bias, u)[:, :, None, None])

    def z_cumulative(self, z: Tensor, u: Tensor) -> Tensor:
        """Returns the distribution functions of the hyper-latents (B, 40, h, w) at rates ``u`` (B,)."""
        mean, log_scale, weight = (
            between(p.flatten(1), u).reshape(-1, HYPER, 1, 1, MIXTURE)
            for p in (self.z_mean, self.z_log_scale, self.z_weight)
        )
        each = torch.sigmoid((z[..., None] - mean) * torch.exp(-log_scale))
        mixed: Tensor = (each * weight.softmax(-1)).sum(-1)
        return mixed


def between(table: Tensor, u: Tensor) -> Tensor:
    """Interpolates the rows of a table (6, C) linearly at places ``u`` (B,) in [0, 5]."""
    low = u.floor().long().clamp(0, ANCHORS - 2)
    share = (u - low)[:, None]
    return table[low] * (1 - share) + table[low + 1] * share
