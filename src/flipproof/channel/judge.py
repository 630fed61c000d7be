"""What an adversary wants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from flipproof.errors import ImageError

if TYPE_CHECKING:
    from flipproof.codec.base import Codec
    from flipproof.image import RgbImage

__all__ = ["GRAY", "PictureJudge"]

GRAY = 128
"""What a receiver without a picture sees."""


@dataclass(frozen=True, eq=False)
class PictureJudge:
    """Judges files by the mean squared error of what they decode to, in squared levels.

    A file that does not decode, or to a picture of another size, counts as mid-gray (level 128).

    Attributes:
        codec: Decodes the files.
        picture: What should come out, (H, W, 3), uint8.
    """

    codec: Codec
    picture: RgbImage

    def __post_init__(self) -> None:
        if self.picture.ndim != 3 or self.picture.dtype != np.uint8:
            raise ImageError(f"expected uint8 (H, W, 3), got {self.picture.dtype} {self.picture.shape}")

    def __call__(self, files: Sequence[bytes]) -> NDArray[np.float64]:
        """Returns the mean squared error of each file."""
        images = [result.image for result in self.codec.decode_many(files)]
        return np.array([self._error(image) for image in images])

    def _error(self, image: RgbImage | None) -> float:
        shown = np.float64(GRAY) if image is None or image.shape != self.picture.shape else image
        return float(np.mean((shown - self.picture.astype(np.float64)) ** 2))
