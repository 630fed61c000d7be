"""The convolutional trunks whose features perceptual metrics compare: AlexNet and VGG16.

A trunk is a chain of stages; a stage is a pooling and a few convolutions with ReLU, and what comes out of it is one
feature map. The shapes are those of torchvision's ``features`` (Krizhevsky, 2014, https://arxiv.org/abs/1404.5997;
Simonyan and Zisserman, 2015, https://arxiv.org/abs/1409.1556), cut after the last ReLU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from flipproof.errors import WeightsError

__all__ = ["ALEXNET", "VGG16", "Layout", "Stage", "Trunk", "hann_pool", "vgg16"]

Pool: TypeAlias = Callable[[Tensor], Tensor]


def hann_pool(x: Tensor) -> Tensor:
    r"""Halves a feature map without aliasing: :math:`\sqrt{g * x^2}` at every other sample.

    After Hénaff and Simoncelli (2016, https://arxiv.org/abs/1511.06394). The window g is 3x3, the product of two Hann
    windows (1, 2, 1)/4; the outside counts as zero.

    Arguments:
        x: Features (B, C, H, W).

    Returns:
        Features (B, C, ceil(H / 2), ceil(W / 2)).
    """
    window = x.new_tensor([0.25, 0.5, 0.25])
    kernel = torch.outer(window, window).expand(x.shape[1], 1, 3, 3)
    return (functional.conv2d(x**2, kernel, stride=2, padding=1, groups=x.shape[1]) + 1e-12).sqrt()


@dataclass(frozen=True)
class Stage:
    """A pooling, if any, then convolutions with ReLU.

    Attributes:
        convolutions: How many.
        stride: Of each convolution.
        padding: Of each convolution, with zeros.
        pool: What comes before them.
    """

    convolutions: int = 1
    stride: int = 1
    padding: int = 1
    pool: Pool | None = None


@dataclass(frozen=True)
class Layout:
    """A trunk without its weights.

    Attributes:
        stages: In order.
        smallest: The least height and width, in pixels, that leaves a sample after the last stage.
    """

    stages: tuple[Stage, ...]
    smallest: int


def vgg16(pool: Pool) -> Layout:
    """Returns VGG16 with a pooling that halves."""
    return Layout((Stage(2), Stage(2, pool=pool), *(Stage(3, pool=pool) for _ in range(3))), 16)


_HALVE_OVERLAPPING: Pool = partial(functional.max_pool2d, kernel_size=3, stride=2)

ALEXNET = Layout(
    (
        Stage(stride=4, padding=2),
        Stage(padding=2, pool=_HALVE_OVERLAPPING),
        Stage(pool=_HALVE_OVERLAPPING),
        Stage(),
        Stage(),
    ),
    31,
)
VGG16 = vgg16(partial(functional.max_pool2d, kernel_size=2))


class Trunk:
    """A layout with its weights.

    Arguments:
        layout: The stages.
        tensors: ``conv.I.kernel`` (outputs, inputs, height, width) and ``conv.I.bias`` (outputs,), numbered through.
        device: Where it runs, such as ``cpu`` or ``cuda``.

    Raises:
        WeightsError: A tensor is missing.
    """

    def __init__(self, layout: Layout, tensors: Mapping[str, NDArray[np.float32]], device: str = "cpu") -> None:
        self.layout = layout
        self.device = device
        names = [f"conv.{index}" for index in range(sum(stage.convolutions for stage in layout.stages))]
        self._layers = [(self.place(tensors, f"{name}.kernel"), self.place(tensors, f"{name}.bias")) for name in names]

    @property
    def channels(self) -> list[int]:
        """How many channels come out of every stage."""
        ends = np.cumsum([stage.convolutions for stage in self.layout.stages])
        return [len(self._layers[end - 1][1]) for end in ends]

    def place(self, tensors: Mapping[str, NDArray[np.float32]], name: str) -> Tensor:
        """Copies a named array to the device.

        Raises:
            WeightsError: There is none of this name.
        """
        if name not in tensors:
            raise WeightsError(f"expected a tensor {name}, got {', '.join(tensors) or 'none'}")
        tensor = torch.tensor(tensors[name], device=self.device)
        return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor

    def features(self, x: Tensor) -> Iterator[Tensor]:
        """Yields what comes out of every stage.

        Arguments:
            x: Pictures (B, 3, H, W), in the units the weights were trained on.
        """
        layers = iter(self._layers)
        x = x.contiguous(memory_format=torch.channels_last)
        for stage in self.layout.stages:
            if stage.pool is not None:
                x = stage.pool(x)
            for _ in range(stage.convolutions):
                kernel, bias = next(layers)
                x = functional.conv2d(x, kernel, bias, stage.stride, stage.padding).relu_()
            yield x
