r"""Learned perceptual image patch similarity (Zhang et al., 2018, https://arxiv.org/abs/1801.03924), version 0.1.

.. math:: d(x, y) = \sum_l \operatorname{mean}_{h,w} \sum_c w_{lc}
    \left( \hat f_{lchw}(x) - \hat f_{lchw}(y) \right)^2, \quad \hat f = f / \|f\|_c,

where :math:`f_l` are the features of stage l of AlexNet or VGG16, scaled to unit length over channels, and w the
learned heads. 0 for equal pictures, about 1 for pictures with nothing in common; lower is better.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from flipproof.errors import SpecError
from flipproof.image import RgbImage
from flipproof.metric.perceptual import PerceptualMetric, to_tensor
from flipproof.metric.trunk import ALEXNET, VGG16, Layout, Trunk
from flipproof.weights.catalogue import LPIPS_ALEX, LPIPS_VGG
from flipproof.weights.convert import Tensors
from flipproof.weights.store import Stored, cache_folder

__all__ = ["Lpips", "lpips_alex", "lpips_vgg"]

_TRUNKS: dict[str, tuple[Layout, Stored]] = {"alex": (ALEXNET, LPIPS_ALEX), "vgg": (VGG16, LPIPS_VGG)}
_SHIFT = torch.tensor([-0.030, -0.088, -0.188])[:, None, None]
_SCALE = torch.tensor([0.458, 0.448, 0.450])[:, None, None]


class Lpips(PerceptualMetric):
    """LPIPS with one trunk.

    Arguments:
        layout: The trunk's stages.
        tensors: The weights: ``conv.I.kernel``, ``conv.I.bias`` and ``head.I`` (channels,) for every stage.
        device: Where it runs, such as ``cpu`` or ``cuda``.
    """

    def __init__(self, layout: Layout, tensors: Tensors, device: str = "cpu") -> None:
        super().__init__(Trunk(layout, tensors, device))
        self.heads = [self.trunk.place(tensors, f"head.{index}") for index in range(len(layout.stages))]

    @classmethod
    def load(cls, trunk: str = "alex", device: str = "cpu") -> Lpips:
        """Returns the published metric; its weights are read and checked once per trunk and device.

        Arguments:
            trunk: ``alex`` or ``vgg``.
            device: Where it runs.

        Raises:
            SpecError: No such trunk.
            WeightsError: The weights were not fetched yet, or are damaged.
        """
        if trunk not in _TRUNKS:
            raise SpecError(f"expected a trunk of {', '.join(_TRUNKS)}, got {trunk!r}")
        return _load(trunk, device, cache_folder())

    def prepare(self, image: RgbImage) -> Tensor:  # noqa: D102 (inherited)
        return self.scale(2 * to_tensor(image) - 1)

    def scale(self, x: Tensor) -> Tensor:
        """Brings pictures (..., 3, H, W) in [-1, 1] to the units that the trunk was trained on."""
        return (x - _SHIFT.to(x.device)) / _SCALE.to(x.device)

    def features(self, x: Tensor) -> Iterator[Tensor]:  # noqa: D102 (inherited)
        for features in self.trunk.features(x):
            yield features / (features.square().sum(dim=1, keepdim=True).sqrt() + 1e-10)

    def compare(self, level: int, features: Tensor, reference: Tensor) -> Tensor:  # noqa: D102 (inherited)
        return (features - reference).square_().mean(dim=(2, 3)) @ self.heads[level]


@cache
def _load(trunk: str, device: str, folder: Path) -> Lpips:
    """Loads once; ``folder`` is where the weights are taken from, and a part of the key."""
    layout, stored = _TRUNKS[trunk]
    return Lpips(layout, stored.load(), device)


def lpips_alex(image: RgbImage, reference: RgbImage) -> float:
    """Returns LPIPS 0.1 on AlexNet, what papers mean by LPIPS unless they say otherwise.

    Arguments:
        image: Array (H, W, 3), uint8, with sides of at least 31.
        reference: Array of the same shape.

    Raises:
        ImageError: The shapes or types differ from that.
        WeightsError: The weights were not fetched yet (``flipproof weights fetch lpips``), or are damaged.
    """
    return Lpips.load("alex")(image, reference)


def lpips_vgg(image: RgbImage, reference: RgbImage) -> float:
    """Returns LPIPS 0.1 on VGG16, for pictures with sides of at least 16; else as :func:`lpips_alex`."""
    return Lpips.load("vgg")(image, reference)
