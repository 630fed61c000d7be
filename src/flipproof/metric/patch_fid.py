"""Fréchet inception distance over patches: how far decoded pictures as a set are from the originals as a set.

FID needs thousands of pictures, so Mentzer et al. (2020, https://arxiv.org/abs/2006.09965) take the non-overlapping
patches of a grid for pictures, and again those of the grid shifted by half a patch along both axes; the code of MS-ILLM
(Muckley et al., 2023, https://arxiv.org/abs/2301.11189) leaves the second out where a side is shorter than one and a
half patches, and so does this. They use patches of 256 pixels on large pictures; for 24 pictures of Kodak's size
64 is usual, since fewer patches than the 2048 features leave the covariances short of rank. Values depend on how many
patches there are: compare only those of the same pictures, sizes and patches.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from flipproof.errors import ImageError
from flipproof.image import RgbImage
from flipproof.metric.frechet import Gaussian, frechet_distance
from flipproof.metric.inception import Inception
from flipproof.metric.pair import check_pair

__all__ = ["PATCH", "Extractor", "PatchFid", "patches"]

PATCH = 64
"""Side of a patch, in pixels."""

_BATCH = 16


class Extractor(Protocol):
    """What makes features of patches."""

    def features(self, pictures: NDArray[np.uint8], /) -> NDArray[np.float64]:
        """Returns an array (B, D) for pictures (B, H, W, 3)."""


class PatchFid:
    """Collects pictures, pair by pair, and compares the two sets.

    Arguments:
        extractor: What makes features of patches; :meth:`load` takes the published network.
        patch: Side of a patch, in pixels.

    Raises:
        ImageError: A patch of less than two pixels.

    Example:
        >>> class Mean:
        ...     def features(self, pictures):
        ...         return pictures.mean(axis=(1, 2))
        >>> fid, black = PatchFid(Mean(), patch=16), np.zeros((32, 32, 3), np.uint8)
        >>> fid.update(black + 2, black)  # two patches along each axis, and one in the middle
        5
        >>> fid.compute()
        12.0
    """

    def __init__(self, extractor: Extractor, patch: int = PATCH) -> None:
        if patch < 2:
            raise ImageError(f"expected patches of at least 2 pixels, got {patch}")
        self.extractor = extractor
        self.patch = patch
        self._decoded: Gaussian | None = None
        self._reference: Gaussian | None = None

    @classmethod
    def load(cls, patch: int = PATCH, device: str = "cpu") -> PatchFid:
        """Returns the metric on the published Inception network.

        Raises:
            WeightsError: The weights were not fetched yet (``flipproof weights fetch inception``), or are damaged.
        """
        return cls(Inception.load(device), patch)

    @property
    def count(self) -> int:
        """How many patches of each set there are so far."""
        return self._decoded.count if self._decoded else 0

    def update(self, decoded: RgbImage, reference: RgbImage) -> int:
        """Adds a picture to each set.

        Arguments:
            decoded: Array (H, W, 3), uint8, with sides of at least a patch.
            reference: Array of the same shape.

        Returns:
            How many patches it has.

        Raises:
            ImageError: The shapes or types differ from that.
        """
        check_pair(decoded, reference, self.patch)
        ours, theirs = (Gaussian.fit(self._features(picture)) for picture in (decoded, reference))
        self._decoded = self._decoded + ours if self._decoded else ours
        self._reference = self._reference + theirs if self._reference else theirs
        return ours.count

    def compute(self) -> float:
        """Returns the distance between the sets; 0 for equal ones, lower is better.

        Raises:
            ImageError: There are fewer than two patches.
        """
        if self._decoded is None or self._reference is None:
            raise ImageError("expected at least two patches to compare, got none")
        return frechet_distance(self._decoded, self._reference)

    def _features(self, picture: RgbImage) -> NDArray[np.float64]:
        cut = patches(picture, self.patch)
        return np.concatenate(
            [self.extractor.features(cut[start : start + _BATCH]) for start in range(0, len(cut), _BATCH)]
        )


def patches(picture: RgbImage, side: int) -> NDArray[np.uint8]:
    """Cuts a picture into the squares of a grid, then into those of the grid half a square further on.

    Arguments:
        picture: Array (H, W, 3) with sides of at least a square's.
        side: Of a square, in pixels.

    Returns:
        Array (N, side, side, 3); the rest at the right and at the bottom is left out, and so is the second grid where
        a side of the picture is shorter than one and a half squares.
    """
    grids = [_grid(picture, side)]
    if min(picture.shape[:2]) >= 1.5 * side:
        grids.append(_grid(picture[side // 2 :, side // 2 :], side))
    return np.concatenate(grids)


def _grid(picture: RgbImage, side: int) -> NDArray[np.uint8]:
    rows, columns = (length // side for length in picture.shape[:2])
    blocks = picture[: rows * side, : columns * side].reshape(rows, side, columns, side, 3)
    return blocks.swapaxes(1, 2).reshape(-1, side, side, 3)
