r"""The Inception network whose features the Fréchet inception distance compares.

Inception-v3 (Szegedy et al., 2016, https://arxiv.org/abs/1512.00567) as TensorFlow published it on 2015-12-05 and as
Heusel et al. (2017, https://arxiv.org/abs/1706.08500) used it, in the weights that ``pytorch-fid`` ported. It differs
from torchvision's network: averages over 3x3 samples leave out those beyond the border, and the last block takes the
maximum in place of the average. Features are the 2048 means over the last block's 8x8 samples.

Pictures are brought to 299x299 as TensorFlow 1 did and as ``torch-fidelity`` and ``torchmetrics`` do, on whose numbers
the literature on learned compression rests: sample i of n comes from position :math:`i \cdot n_0 / n`, bilinearly,
and samples become :math:`(x - 128) / 128`. ``pytorch-fid`` itself takes :math:`(i + 1/2) n_0 / n - 1/2` and
:math:`2 x / 255 - 1`, so its numbers differ slightly.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from flipproof.errors import ImageError, WeightsError
from flipproof.weights.catalogue import INCEPTION
from flipproof.weights.store import cache_folder

__all__ = ["FEATURES", "SIDE", "Inception"]

FEATURES = 2048
"""How many features a picture has."""

SIDE = 299
"""Height and width, in pixels, at which the network sees a picture."""

_EPSILON = 1e-3
"""Of the batch normalisations."""

_FACTORED = {
    "A": (("1x1",), ("5x5_1", "5x5_2"), ("3x3dbl_1", "3x3dbl_2", "3x3dbl_3")),
    "C": (
        ("1x1",),
        ("7x7_1", "7x7_2", "7x7_3"),
        ("7x7dbl_1", "7x7dbl_2", "7x7dbl_3", "7x7dbl_4", "7x7dbl_5"),
    ),
}
"""Chains of convolutions, side by side, of the blocks that keep the size; a pooled branch follows."""

_HALVING = {
    "B": (("3x3",), ("3x3dbl_1", "3x3dbl_2", "3x3dbl_3")),
    "D": (("3x3_1", "3x3_2"), ("7x7x3_1", "7x7x3_2", "7x7x3_3", "7x7x3_4")),
}
"""The same of the blocks that halve it: the last convolution of each chain does; the maximum over 3x3 follows."""

_BLOCKS = ("5bA", "5cA", "5dA", "6aB", "6bC", "6cC", "6dC", "6eC", "7aD")


class Inception:
    """The network, as far as its last pooling.

    Arguments:
        tensors: For every convolution NAME its ``NAME.conv.weight`` (outputs, inputs, height, width), and the batch
            normalisation after it: ``NAME.bn.weight``, ``.bias``, ``.running_mean``, ``.running_var`` (outputs,).
        device: Where it runs, such as ``cpu`` or ``cuda``.

    Raises:
        WeightsError: A tensor is missing.
    """

    def __init__(self, tensors: Mapping[str, NDArray[np.float32]], device: str = "cpu") -> None:
        self.device = device
        names = [name.removesuffix(".conv.weight") for name in tensors if name.endswith(".conv.weight")]
        self._layers = {name: _fold(name, tensors, device) for name in names}

    @classmethod
    def load(cls, device: str = "cpu") -> Inception:
        """Returns the published network; its weights are read and checked once per device.

        Raises:
            WeightsError: The weights were not fetched yet (``flipproof weights fetch inception``), or are damaged.
        """
        return _load(device, cache_folder())

    @torch.inference_mode()
    def features(self, pictures: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Returns the features of pictures of one size.

        Arguments:
            pictures: Array (B, H, W, 3), uint8.

        Returns:
            Array (B, 2048).

        Raises:
            ImageError: The shape or type differs from that.
            WeightsError: A tensor is missing.
        """
        if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[3] != 3 or 0 in pictures.shape[1:]:
            raise ImageError(f"expected pictures (B, H, W, 3) of uint8, got {pictures.dtype} {pictures.shape}")
        if not len(pictures):
            return np.empty((0, FEATURES))
        x = torch.tensor(np.ascontiguousarray(pictures), device=self.device).permute(0, 3, 1, 2).float()
        x = self._stem((_resize(x) - 128) / 128)
        for name in _BLOCKS:
            x = self._block(f"Mixed_{name[:2]}.branch", name[2], x)
        x = self._wide("Mixed_7b.branch", x, _average(x))
        x = self._wide("Mixed_7c.branch", x, functional.max_pool2d(x, 3, stride=1, padding=1))
        return x.mean(dim=(2, 3)).cpu().double().numpy()

    def _stem(self, x: Tensor) -> Tensor:
        x = self._convolve("Conv2d_2a_3x3", self._convolve("Conv2d_1a_3x3", x, stride=2, padded=False), padded=False)
        x = functional.max_pool2d(self._convolve("Conv2d_2b_3x3", x), 3, stride=2)
        x = self._convolve("Conv2d_4a_3x3", self._convolve("Conv2d_3b_1x1", x), padded=False)
        return functional.max_pool2d(x, 3, stride=2)

    def _block(self, name: str, kind: str, x: Tensor) -> Tensor:
        if kind in _HALVING:
            branches = [self._halve(name, chain, x) for chain in _HALVING[kind]]
            return torch.cat([*branches, functional.max_pool2d(x, 3, stride=2)], dim=1)
        branches = [self._chain(name, chain, x) for chain in _FACTORED[kind]]
        return torch.cat([*branches, self._convolve(f"{name}_pool", _average(x))], dim=1)

    def _wide(self, name: str, x: Tensor, pooled: Tensor) -> Tensor:
        """One of the last two blocks, where chains end in a row and a column side by side."""
        row_column = self._fork(name, "3x3_2", self._chain(name, ("3x3_1",), x))
        double = self._fork(name, "3x3dbl_3", self._chain(name, ("3x3dbl_1", "3x3dbl_2"), x))
        return torch.cat(
            [self._convolve(f"{name}1x1", x), *row_column, *double, self._convolve(f"{name}_pool", pooled)], dim=1
        )

    def _fork(self, name: str, layer: str, x: Tensor) -> list[Tensor]:
        return [self._convolve(f"{name}{layer}{end}", x) for end in "ab"]

    def _halve(self, name: str, chain: tuple[str, ...], x: Tensor) -> Tensor:
        return self._convolve(f"{name}{chain[-1]}", self._chain(name, chain[:-1], x), stride=2, padded=False)

    def _chain(self, name: str, chain: tuple[str, ...], x: Tensor) -> Tensor:
        for layer in chain:
            x = self._convolve(f"{name}{layer}", x)
        return x

    def _convolve(self, name: str, x: Tensor, stride: int = 1, padded: bool = True) -> Tensor:
        if name not in self._layers:
            raise WeightsError(f"expected a tensor {name}.conv.weight, got {len(self._layers)} others")
        kernel, bias = self._layers[name]
        padding = (kernel.shape[2] // 2, kernel.shape[3] // 2) if padded else 0
        return functional.conv2d(x, kernel, bias, stride, padding).relu_()


def _fold(name: str, tensors: Mapping[str, NDArray[np.float32]], device: str) -> tuple[Tensor, Tensor]:
    """Makes a kernel and a bias of a convolution and the batch normalisation after it."""
    wanted = ["conv.weight", *(f"bn.{part}" for part in ("weight", "bias", "running_mean", "running_var"))]
    missing = [f"{name}.{part}" for part in wanted if f"{name}.{part}" not in tensors]
    if missing:
        raise WeightsError(f"expected a tensor {missing[0]}, got {len(tensors)} others")
    kernel, gain, bias, mean, variance = (tensors[f"{name}.{part}"].astype(np.float64) for part in wanted)
    scale = gain / np.sqrt(variance + _EPSILON)
    folded = torch.tensor(kernel * scale[:, None, None, None], dtype=torch.float32, device=device)
    shift = torch.tensor(bias - mean * scale, dtype=torch.float32, device=device)
    return folded.contiguous(memory_format=torch.channels_last), shift


def _average(x: Tensor) -> Tensor:
    """Means over 3x3 samples, of those inside."""
    return functional.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


def _resize(x: Tensor) -> Tensor:
    """Brings (B, C, H, W) to 299x299, as the module's introduction says."""
    for axis in (3, 2):
        length = x.shape[axis]
        place = torch.arange(SIDE, dtype=torch.float32, device=x.device) * (length / SIDE)
        low = place.long().clamp(max=length - 1)
        share = (place - low).view(-1, *[1] * (3 - axis))
        start = x.index_select(axis, low)
        x = start + (x.index_select(axis, (low + 1).clamp(max=length - 1)) - start) * share
    return x.contiguous(memory_format=torch.channels_last)


@cache
def _load(device: str, folder: Path) -> Inception:
    """Loads once; ``folder`` is where the weights are taken from, and a part of the key."""
    return Inception(INCEPTION.load(), device)
