"""Training crops in bytes, from photographs kept at three scales: drawing one costs next to nothing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flipproof.errors import ImageError
from flipproof.image import RgbImage
from flipproof.train.data import PhotoSet

__all__ = ["Pyramid"]

ODDS = {1: 0.4, 2: 0.4, 4: 0.2}
"""How often a photograph is taken as it is, halved and quartered, where it is large enough."""


class Pyramid:
    """Photographs and their averages over 2x2 and 4x4 blocks, grouped by the picture they come from.

    Arguments:
        photos: Photographs.
        size: Side of the crops in pixels.

    Raises:
        ImageError: No photograph is large enough.
    """

    def __init__(self, photos: PhotoSet, size: int) -> None:
        self.size = size
        groups = [[_scales(photo, size) for photo in group] for group in photos.groups]
        self.groups = [fitting for group in groups if (fitting := [scales for scales in group if scales])]
        if not self.groups:
            raise ImageError(f"expected photographs of at least {size} pixels a side, got smaller ones only")

    def draw(self, count: int, rng: np.random.Generator) -> NDArray[np.uint8]:
        """Draws crops (count, 3, size, size): a photograph, one of its files, a scale, a place, a flip and a turn."""
        return np.stack([self._crop(rng) for _ in range(count)])

    def _crop(self, rng: np.random.Generator) -> NDArray[np.uint8]:
        files = self.groups[rng.integers(len(self.groups))]
        scales = files[rng.integers(len(files))]
        odds = np.array([ODDS[k] for k in scales])
        photo = scales[int(rng.choice(list(scales), p=odds / odds.sum()))]
        top, left = (rng.integers(side - self.size + 1) for side in photo.shape[:2])
        crop = photo[top : top + self.size, left : left + self.size, :][:, :: int(rng.choice((-1, 1)))]
        turned: NDArray[np.uint8] = np.rot90(crop, int(rng.integers(4))).transpose(2, 0, 1)
        return turned


def _scales(photo: RgbImage, size: int) -> dict[int, RgbImage]:
    return {k: _averaged(photo, k) for k in ODDS if min(photo.shape[:2]) >= k * size}


def _averaged(photo: RgbImage, k: int) -> RgbImage:
    height, width = photo.shape[0] // k, photo.shape[1] // k
    blocks = photo[: height * k, : width * k].reshape(height, k, width, k, 3)
    averages: RgbImage = (blocks.mean(axis=(1, 3), dtype=np.float32) + 0.5).astype(np.uint8)
    return averages
