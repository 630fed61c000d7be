r"""Structural similarity at one scale and at five.

SSIM (Wang et al., 2004) is the mean over windows, Gaussian with deviation 1.5 and 11x11 wide, of

.. math:: l = \frac{2 \mu_x \mu_y + C_1}{\mu_x^2 + \mu_y^2 + C_1}, \quad
    s = \frac{2 \sigma_{xy} + C_2}{\sigma_x^2 + \sigma_y^2 + C_2}, \quad C_1 = (0.01 L)^2, C_2 = (0.03 L)^2, L = 255,

multiplied. MS-SSIM (Wang, Simoncelli and Bovik, 2003) is the product of the means of s at four scales and of ls at the
fifth, with exponents found by asking viewers; a scale is the 2x2 average of the one before it. Windows that would leave
the picture are left out. Each of R, G and B is measured alone, and the three are averaged, as is the custom in learned
compression.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from flipproof.image import RgbImage
from flipproof.metric.pair import check_pair

__all__ = ["SMALLEST", "ms_ssim", "ssim"]

EXPONENTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Of the five scales, finest first (Wang et al., 2003, section 3.2)."""

WINDOW, DEVIATION = 11, 1.5
SMALLEST = (WINDOW - 1) * 2 ** (len(EXPONENTS) - 1) + 1
"""The least height and width, in pixels, that leaves one window at the coarsest scale."""

_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def ssim(image: RgbImage, reference: RgbImage) -> float:
    """Returns the mean structural similarity at full resolution.

    Arguments:
        image: Array (H, W, 3), uint8, with sides of at least 11.
        reference: Array of the same shape.

    Returns:
        At most 1, for equal pictures.

    Raises:
        ImageError: The shapes or types differ from that.
    """
    check_pair(image, reference, WINDOW)
    return float(_similarity(_to_tensor(image), _to_tensor(reference))[0].mean())


def ms_ssim(image: RgbImage, reference: RgbImage) -> float:
    """Returns the multi-scale structural similarity.

    A negative mean of s at any scale counts as 0, and makes the whole 0.

    Arguments:
        image: Array (H, W, 3), uint8, with sides of at least 161.
        reference: Array of the same shape.

    Returns:
        In [0, 1], 1 for equal pictures.

    Raises:
        ImageError: The shapes or types differ from that.
    """
    check_pair(image, reference, SMALLEST)
    x, y = _to_tensor(image), _to_tensor(reference)
    product = x.new_ones(3)
    for exponent in EXPONENTS[:-1]:
        product *= _similarity(x, y)[1].clamp(min=0) ** exponent
        x, y = _halve(x), _halve(y)
    product *= _similarity(x, y)[0].clamp(min=0) ** EXPONENTS[-1]
    return float(product.mean())


def _to_tensor(image: RgbImage) -> Tensor:
    """Makes float64 (3, 1, H, W): in float32 the variance of bright flat areas would drown in rounding."""
    return torch.tensor(np.ascontiguousarray(image)).permute(2, 0, 1)[:, None].double()


def _similarity(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Means over all windows of ls and of s, each (3,)."""
    mean_x, mean_y = _blur(x), _blur(y)
    variance_x, variance_y = _blur(x * x) - mean_x**2, _blur(y * y) - mean_y**2
    structure = (2 * (_blur(x * y) - mean_x * mean_y) + _C2) / (variance_x + variance_y + _C2)
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
    return (luminance * structure).mean(dim=(1, 2, 3)), structure.mean(dim=(1, 2, 3))


def _blur(x: Tensor) -> Tensor:
    """Weighs (3, 1, H, W) by the window, along each axis as a sum of shifted slices (ten times faster than conv2d)."""
    offsets = torch.arange(WINDOW) - WINDOW // 2
    window = torch.softmax(-(offsets.double() ** 2) / (2 * DEVIATION**2), dim=0).tolist()
    for axis in (2, 3):
        length = x.shape[axis] - WINDOW + 1
        total = x.narrow(axis, 0, length) * window[0]
        for start in range(1, WINDOW):
            total.add_(x.narrow(axis, start, length), alpha=window[start])
        x = total
    return x


def _halve(x: Tensor) -> Tensor:
    """Averages 2x2 blocks; an odd last row or column counts twice."""
    height, width = x.shape[2:]
    return functional.avg_pool2d(functional.pad(x, (0, width % 2, 0, height % 2), mode="replicate"), 2)
