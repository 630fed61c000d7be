"""Peak signal-to-noise ratio."""

from __future__ import annotations

import math

import numpy as np

from flipproof.image import RgbImage
from flipproof.metric.pair import check_pair

__all__ = ["psnr"]


def psnr(image: RgbImage, reference: RgbImage) -> float:
    r"""Returns :math:`10 \log_{10} (255^2 / \mathrm{MSE})` over all samples of two 8-bit pictures, in dB.

    Arguments:
        image: Array (H, W, 3), uint8.
        reference: Array of the same shape.

    Returns:
        Decibels, higher is better; infinite for equal pictures.

    Raises:
        ImageError: The shapes or types differ from that.

    Example:
        >>> black = np.zeros((2, 2, 3), np.uint8)
        >>> round(psnr(black + 1, black), 4)
        48.1308
    """
    check_pair(image, reference)
    error = np.mean((image.astype(np.float64) - reference) ** 2)
    return math.inf if error == 0 else float(10 * np.log10(255**2 / error))
