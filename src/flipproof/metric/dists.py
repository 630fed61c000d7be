r"""Deep image structure and texture similarity (Ding et al., 2020, https://arxiv.org/abs/2004.07728).

.. math:: d(x, y) = 1 - \sum_{l,c} \left( \alpha_{lc} \frac{2 \mu_x \mu_y + \epsilon}{\mu_x^2 + \mu_y^2 + \epsilon}
    + \beta_{lc} \frac{2 \sigma_{xy} + \epsilon}{\sigma_x^2 + \sigma_y^2 + \epsilon} \right),

over the channels c of the picture itself and of five stages of VGG16 whose poolings are Hann-weighted root mean
squares. The means compare textures, the covariances structure; :math:`\alpha` and :math:`\beta` are learned, and
sum to 1 together. 0 for equal pictures; lower is better.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from flipproof.image import RgbImage
from flipproof.metric.perceptual import PerceptualMetric, to_tensor
from flipproof.metric.trunk import Layout, Trunk, hann_pool, vgg16
from flipproof.weights import catalogue
from flipproof.weights.convert import Tensors
from flipproof.weights.store import cache_folder

__all__ = ["SHORT_SIDE", "Dists", "dists"]

SHORT_SIDE = 256
"""Larger pictures are first brought to this short side, as the authors do: DISTS is tuned to that scale."""

_EPSILON = 1e-6
_MEAN = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
_DEVIATION = torch.tensor([0.229, 0.224, 0.225])[:, None, None]


class Dists(PerceptualMetric):
    """DISTS.

    Arguments:
        layout: The trunk's stages.
        tensors: The trunk's weights (``conv.I.kernel``, ``conv.I.bias``), and ``alpha`` and ``beta``, each with a
            value for every channel of the picture and of all stages.
        device: Where it runs, such as ``cpu`` or ``cuda``.
    """

    def __init__(self, layout: Layout, tensors: Tensors, device: str = "cpu") -> None:
        super().__init__(Trunk(layout, tensors, device))
        alpha, beta = (self.trunk.place(tensors, name) for name in ("alpha", "beta"))
        total = alpha.sum() + beta.sum()
        channels = [3, *self.trunk.channels]
        self.alpha, self.beta = (torch.split(weights / total, channels) for weights in (alpha, beta))

    @classmethod
    def load(cls, device: str = "cpu") -> Dists:
        """Returns the published metric; its weights are read and checked once per device.

        Raises:
            WeightsError: The weights were not fetched yet (it needs those of LPIPS too), or are damaged.
        """
        return _load(device, cache_folder())

    def prepare(self, image: RgbImage) -> Tensor:  # noqa: D102 (inherited)
        return to_tensor(_shrink(image))

    def features(self, x: Tensor) -> Iterator[Tensor]:  # noqa: D102 (inherited)
        yield x
        yield from self.trunk.features((x - _MEAN.to(x.device)) / _DEVIATION.to(x.device))

    def compare(self, level: int, features: Tensor, reference: Tensor) -> Tensor:  # noqa: D102 (inherited)
        (mean_x, x), (mean_y, y) = _centre(features), _centre(reference)
        texture = _similarity(mean_x * mean_y, mean_x**2, mean_y**2)
        structure = _similarity(*((a * b).mean(dim=(2, 3)) for a, b in ((x, y), (x, x), (y, y))))
        return (1 - texture) @ self.alpha[level] + (1 - structure) @ self.beta[level]


def _centre(features: Tensor) -> tuple[Tensor, Tensor]:
    """Splits features into the means of their channels (B, C) and what is left."""
    mean = features.mean(dim=(2, 3))
    return mean, features - mean[:, :, None, None]


def _similarity(both: Tensor, one: Tensor, other: Tensor) -> Tensor:
    return (2 * both + _EPSILON) / (one + other + _EPSILON)


def _shrink(image: RgbImage) -> RgbImage:
    """Brings the short side down to 256 by Pillow's bilinear filter; smaller pictures stay."""
    height, width = image.shape[:2]
    short = min(height, width)
    if short <= SHORT_SIDE:
        return image
    size = (SHORT_SIDE * width // short, SHORT_SIDE * height // short)
    resized: RgbImage = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
    return resized


@cache
def _load(device: str, folder: Path) -> Dists:
    """Loads once; ``folder`` is where the weights are taken from, and a part of the key."""
    tensors = {**catalogue.LPIPS_VGG.load(), **catalogue.DISTS.load()}
    return Dists(vgg16(hann_pool), tensors, device)


def dists(image: RgbImage, reference: RgbImage) -> float:
    """Returns DISTS of two pictures, after bringing their short side to 256 pixels if it is longer.

    Arguments:
        image: Array (H, W, 3), uint8, with sides of at least 16.
        reference: Array of the same shape.

    Raises:
        ImageError: The shapes or types differ from that.
        WeightsError: The weights were not fetched yet (``flipproof weights fetch all``), or are damaged.
    """
    return Dists.load()(image, reference)
