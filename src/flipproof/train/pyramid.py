"""Training crops in bytes, from photographs kept at several scales: drawing one costs next to nothing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flipproof.errors import ImageError
from flipproof.image import RgbImage
from flipproof.train.data import PhotoSet

__all__ = ["Pyramid"]


class Pyramid:
    """Photographs and their averages over blocks, grouped by the picture they come from.

    Arguments:
        photos: Photographs.
        size: Side of the crops in pixels.
        scales: Sides of the blocks, 1 for the photograph as it is. One is drawn evenly of those for which a photograph
            is large enough; to weigh a scale, repeat it.

    Raises:
        ImageError: No photograph is large enough.
    """

    def __init__(self, photos: PhotoSet, size: int, scales: tuple[int, ...] = (1, 1, 2, 2, 4)) -> None:
        self.size = size
        groups = [[_fitting(photo, size, scales) for photo in group] for group in photos.groups]
        self.groups = [fitting for group in groups if (fitting := [averages for averages in group if averages])]
        if not self.groups:
            least = size * min(scales)
            raise ImageError(f"expected photographs of at least {least} pixels a side, got smaller ones only")

    def draw(self, count: int, rng: np.random.Generator) -> NDArray[np.uint8]:
        """Draws crops (count, 3, size, size): a photograph, one of its files, a scale, a place, a flip and a turn."""
        return np.stack([self._crop(rng) for _ in range(count)])

    def _crop(self, rng: np.random.Generator) -> NDArray[np.uint8]:
        files = self.groups[rng.integers(len(self.groups))]
        averages = files[rng.integers(len(files))]
        photo = averages[rng.integers(len(averages))]
        top, left = (rng.integers(side - self.size + 1) for side in photo.shape[:2])
        crop = photo[top : top + self.size, left : left + self.size, :][:, :: int(rng.choice((-1, 1)))]
        turned: NDArray[np.uint8] = np.rot90(crop, int(rng.integers(4))).transpose(2, 0, 1)
        return turned


def _fitting(photo: RgbImage, size: int, scales: tuple[int, ...]) -> list[RgbImage]:
    """Returns a photograph at the scales for which it is large enough; repeated ones share their memory."""
    averages = {k: _averaged(photo, k) for k in set(scales) if min(photo.shape[:2]) >= k * size}
    return [averages[k] for k in scales if k in averages]


def _averaged(photo: RgbImage, k: int) -> RgbImage:
    if k == 1:
        return photo
    height, width = photo.shape[0] // k, photo.shape[1] // k
    blocks = photo[: height * k, : width * k].reshape(height, k, width, k, 3)
    averages: RgbImage = (blocks.mean(axis=(1, 3), dtype=np.float32) + 0.5).astype(np.uint8)
    return averages
