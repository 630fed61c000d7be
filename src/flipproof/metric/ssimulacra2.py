r"""SSIMULACRA 2.1 (Sneyers, 2023, https://github.com/cloudinary/ssimulacra2), tuned to viewers' opinions of codecs.

Both pictures become XYB, the perceptual colours of JPEG XL, at six scales; a scale is the 2x2 average, in linear light,
of the one before it. With :math:`\mu`, :math:`\sigma` the means, variances and covariances under a window, three maps
of errors are made of each colour at each scale:

.. math:: \begin{aligned} s &= \max\left(0, 1 - (1 - (\mu_x - \mu_y)^2)
        \frac{2 \sigma_{xy} + C}{\sigma_x^2 + \sigma_y^2 + C}\right), \quad C = 0.0009, \\
    e &= \frac{1 + |x - \mu_x|}{1 + |y - \mu_y|} - 1, \quad \text{artifacts} = \max(0, e), \quad
        \text{lost detail} = \max(0, -e), \end{aligned}

x the picture and y its reference. Their means and 4-norms, 108 numbers, are weighed, added and mapped to a score: 100
for equal pictures; 90 cannot be told apart, 70 is high quality, 50 medium, 30 low; below 0 is possible.

The window is the recursive Gaussian of libjxl (Charalampidis, 2016, https://doi.org/10.1109/TSP.2016.2549985), whose
response is the finite sum of cosines made here; as there, the outside counts as zero.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from flipproof.image import RgbImage
from flipproof.metric.pair import check_pair

__all__ = ["SMALLEST", "ssimulacra2"]

SMALLEST = 8
"""The least height and width, in pixels; scales that come after a smaller one are left out."""

_SCALES = 6
_RADIUS, _DEVIATION = 5, 1.5
_C = 0.0009
_ABSORBANCE = (
    (0.30, 0.622, 0.078),
    (0.23, 0.692, 0.078),
    (0.24342268924547819, 0.20476744424496821, 0.55180986650955360),
)
_BIAS = 0.0037930732552754493

_WEIGHTS = (
    (0.0, 0.0007376606707406586, 0.0, 0.0, 0.0007793481682867309, 0.0),
    (0.0, 0.0004371155730107379, 0.0, 1.1041726426657346, 0.00066284834129271, 0.00015231632783718752),
    (0.0, 0.0016406437456599754, 0.0, 1.8422455520539298, 11.441172603757666, 0.0),
    (0.0007989109436015163, 0.000176816438078653, 0.0, 1.8787594979546387, 10.94906990605142, 0.0),
    (
        0.0007289346991508072,
        0.9677937080626833,
        0.0,
        0.00014003424285435884,
        0.9981766977854967,
        0.00031949755934435053,
    ),
    (0.0004550992113792063, 0.0, 0.0, 0.0013648766163243398, 0.0, 0.0),
    (0.0, 0.0, 0.0, 7.466890328078848, 0.0, 17.445833984131262),
    (0.0006235601634041466, 0.0, 0.0, 6.683678146179332, 0.00037724407979611296, 1.027889937768264),
    (225.20515300849274, 0.0, 0.0, 19.213238186143016, 0.0011401524586618361, 0.001237755635509985),
    (176.39317598450694, 0.0, 0.0, 24.43300999870476, 0.28520802612117757, 0.0004485436923833408),
    (0.0, 0.0, 0.0, 34.77906344483772, 44.835625328877896, 0.0),
    (0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    (0.0, 0.0008680556573291698, 0.0, 0.0, 0.0, 0.0),
    (0.0, 0.0005313191874358747, 0.0, 0.00016533814161379112, 0.0, 0.0),
    (0.0, 0.0, 0.0, 0.0004179171803251336, 0.0017290828234722833, 0.0),
    (0.0020827005846636437, 0.0, 0.0, 8.826982764996862, 23.19243343998926, 0.0),
    (
        95.1080498811086,
        0.9863978034400682,
        0.9834382792465353,
        0.0012286405048278493,
        171.2667255897307,
        0.9807858872435379,
    ),
    (0.0, 0.0, 0.0, 0.0005130064588990679, 0.0, 0.00010854057858411537),
)
"""A line per colour (X, Y, B) and scale, finest first: of the means of s, artifacts and loss, then of the 4-norms."""


def ssimulacra2(image: RgbImage, reference: RgbImage) -> float:
    """Returns the score of a picture.

    Arguments:
        image: Array (H, W, 3), uint8, sRGB, with sides of at least 8.
        reference: Array of the same shape; exchanging the two gives another score.

    Returns:
        At most 100, for equal pictures; higher is better.

    Raises:
        ImageError: The shapes or types differ from that.
    """
    check_pair(image, reference, SMALLEST)
    norms = [_norms(*pair) for pair in _scales(_to_linear(image), _to_linear(reference))]
    weights = torch.tensor(_WEIGHTS, dtype=torch.float64).flatten()
    ordered = torch.stack(norms, dim=1).flatten()
    error = 0.9562382616834844 * float(weights[: len(ordered)] @ ordered)
    error = 2.326765642916932 * error - 0.020884521182843837 * error**2 + 6.248496625763138e-05 * error**3
    score: float = 100 - 10 * max(error, 0.0) ** 0.6276336467831387
    return score


def _to_linear(image: RgbImage) -> Tensor:
    """Makes float64 (3, H, W), linear light in [0, 1]."""
    x = torch.tensor(np.ascontiguousarray(image)).permute(2, 0, 1).double() / 255
    return torch.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)


def _scales(x: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields both pictures as positive XYB, scale by scale."""
    for scale in range(_SCALES):
        if min(x.shape[1:]) < SMALLEST:
            return
        if scale:
            x, y = _halve(x), _halve(y)
        yield _to_xyb(x), _to_xyb(y)


def _to_xyb(linear: Tensor) -> Tensor:
    """X is red minus green, Y their mean, B is blue; each moved and stretched to about [0, 1]."""
    mixed = torch.einsum("ij,jhw->ihw", torch.tensor(_ABSORBANCE, dtype=torch.float64), linear) + _BIAS
    long, medium, short = mixed.clamp(min=0) ** (1 / 3) - _BIAS ** (1 / 3)
    y = (long + medium) / 2
    return torch.stack([7 * (long - medium) + 0.42, y + 0.01, short - y + 0.55])


def _halve(x: Tensor) -> Tensor:
    """Averages 2x2 blocks of (3, H, W); an odd last row or column counts twice."""
    height, width = x.shape[1:]
    return functional.avg_pool2d(functional.pad(x[None], (0, width % 2, 0, height % 2), mode="replicate"), 2)[0]


def _norms(x: Tensor, y: Tensor) -> Tensor:
    """Means and 4-norms (3, 2, 3) of the three maps of errors of each colour."""
    mean_x, mean_y = _blur(x), _blur(y)
    spread = (_blur(x * x) - mean_x**2) + (_blur(y * y) - mean_y**2)
    structure = (2 * (_blur(x * y) - mean_x * mean_y) + _C) / (spread + _C)
    dissimilar = (1 - (1 - (mean_x - mean_y) ** 2) * structure).clamp(min=0)
    edge = (1 + (x - mean_x).abs()) / (1 + (y - mean_y).abs()) - 1
    maps = torch.stack([dissimilar, edge.clamp(min=0), (-edge).clamp(min=0)], dim=1).flatten(2)
    return torch.stack([maps.mean(dim=2), (maps**4).mean(dim=2) ** 0.25], dim=1)


def _blur(x: Tensor) -> Tensor:
    """Weighs (3, H, W) by the window along each axis, as a sum of shifted slices."""
    window = _window()
    for axis in (1, 2):
        margin = [0, 0, 0, 0]
        margin[4 - 2 * axis : 6 - 2 * axis] = [_RADIUS - 1, _RADIUS - 1]
        padded = functional.pad(x, margin)
        length = x.shape[axis]
        x = padded.narrow(axis, 0, length) * window[0]
        for start, weight in enumerate(window[1:], 1):
            x.add_(padded.narrow(axis, start, length), alpha=weight)
    return x


@cache
def _window() -> tuple[float, ...]:
    r"""Nine weights, :math:`h_n = \sum_k b_k \cos(k \pi n / 2 N)` with k = 1, 3, 5 and N = 5.

    The b are those of the Gaussian, moved as little as it takes to make the sum 1 and the variance exact.
    """
    n = np.arange(1 - _RADIUS, _RADIUS)
    frequencies = np.array([1, 3, 5]) * np.pi / (2 * _RADIUS)
    cosines = np.cos(np.outer(n, frequencies))
    wanted = np.exp(-((_DEVIATION * frequencies) ** 2) / 2) / _RADIUS
    moments = np.stack([cosines.sum(axis=0), n**2 @ cosines])
    lack = np.array([1, _DEVIATION**2]) - moments @ wanted
    return tuple((cosines @ (wanted + np.linalg.pinv(moments) @ lack)).tolist())
