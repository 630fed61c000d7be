"""What the metrics on network features share: pictures in, batches on a device, numbers out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flipproof.errors import ImageError
from flipproof.image import RgbImage
from flipproof.metric.pair import check_pair
from flipproof.metric.trunk import Trunk

__all__ = ["PerceptualMetric", "to_tensor"]

BATCH_PIXELS = 2**19


class PerceptualMetric(ABC):
    """A distance between pictures, measured on the features of a trunk; 0 for equal pictures.

    Arguments:
        trunk: The network.
    """

    def __init__(self, trunk: Trunk) -> None:
        self.trunk = trunk

    def __call__(self, image: RgbImage, reference: RgbImage) -> float:
        """Returns the distance of one picture from its reference; see :meth:`many`."""
        return float(self.many([image], [reference])[0])

    @torch.inference_mode()
    def many(self, images: Sequence[RgbImage], references: Sequence[RgbImage]) -> NDArray[np.float64]:
        """Returns the distance of every picture from its reference.

        Pictures that stand next to each other and share one reference (the same array) share its features too, and run
        as batches of up to 2^19 pixels.

        Arguments:
            images: Arrays (H, W, 3), uint8; sizes may differ from pair to pair.
            references: As many, each of the size of its picture.

        Returns:
            Array (B,).

        Raises:
            ImageError: The numbers, shapes or types differ from that, or a picture is too small for the trunk.
        """
        if len(images) != len(references):
            raise ImageError(f"expected as many references as pictures, got {len(references)} and {len(images)}")
        for pair in zip(images, references, strict=True):
            check_pair(*pair, smallest=self.trunk.layout.smallest)
        distances = [np.empty(0)]
        for _, group in groupby(zip(images, references, strict=True), key=lambda pair: id(pair[1])):
            pairs = list(group)
            reference = self.prepare(pairs[0][1])
            kept = list(self.features(reference[None].to(self.trunk.device)))
            size = max(1, BATCH_PIXELS // (reference.shape[1] * reference.shape[2]))
            for start in range(0, len(pairs), size):
                batch = torch.stack([self.prepare(image) for image, _ in pairs[start : start + size]])
                distances.append(self._distances(batch.to(self.trunk.device), kept))
        return np.concatenate(distances)

    def _distances(self, batch: Tensor, kept: Sequence[Tensor]) -> NDArray[np.float64]:
        total = batch.new_zeros(len(batch))
        for level, features in enumerate(self.features(batch)):
            total += self.compare(level, features, kept[level])
        return total.cpu().double().numpy()

    @abstractmethod
    def prepare(self, image: RgbImage) -> Tensor:
        """Makes a tensor (3, h, w) of a picture (H, W, 3)."""

    @abstractmethod
    def features(self, x: Tensor) -> Iterator[Tensor]:
        """Yields the features to compare, level by level: each (B, C, h, w) of prepared pictures (B, 3, H, W)."""

    @abstractmethod
    def compare(self, level: int, features: Tensor, reference: Tensor) -> Tensor:
        """Returns a level's part of the distance (B,): of features (B, C, h, w) from the reference's (1, C, h, w)."""


def to_tensor(image: RgbImage) -> Tensor:
    """Makes float32 (3, H, W) in [0, 1] of a picture (H, W, 3)."""
    return torch.tensor(np.ascontiguousarray(image)).permute(2, 0, 1).float() / 255
