"""What every metric asks of its two pictures."""

from __future__ import annotations

import numpy as np

from flipproof.errors import ImageError
from flipproof.image import RgbImage

__all__ = ["check_pair"]


def check_pair(image: RgbImage, reference: RgbImage, smallest: int = 1) -> None:
    """Checks a picture and its reference.

    Arguments:
        image: Array (H, W, 3), uint8.
        reference: Array of the same shape.
        smallest: The least height and width, in pixels.

    Raises:
        ImageError: The shapes or types differ from that.
    """
    if image.dtype != np.uint8 or reference.dtype != np.uint8 or image.shape != reference.shape:
        raise ImageError(
            f"expected two uint8 pictures of one shape, got {image.dtype} {image.shape} "
            f"and {reference.dtype} {reference.shape}"
        )
    if image.ndim != 3 or image.shape[2] != 3 or min(image.shape[:2]) < smallest:
        raise ImageError(f"expected arrays (H, W, 3) with sides of at least {smallest}, got {image.shape}")
