"""Denoising quality of a prior on four fixed crops, to compare with published denoisers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from flipproof.errors import ImageError
from flipproof.prior.base import Prior

__all__ = ["SIGMAS", "add_noise", "load_crops", "mean_psnr", "yardstick"]

PHOTOGRAPHS = ("05", "08", "19", "23")
SIGMAS = (5, 15, 25, 50, 75, 100, 150, 255)
"""Noise levels of the yardstick, in units of 1/255 of the range of a picture."""


def yardstick(prior: Prior, folder: Path) -> dict[str, float]:
    """Measures mean PSNR over the 256x256 centre crops of Kodak 05, 08, 19 and 23.

    Arguments:
        prior: What to measure.
        folder: Holds ``05.png`` and so on.

    Returns:
        Decibels by row: ``denoise/25`` for noise of 25/255 on the sRGB crop; ``refine/25`` for the crop averaged
        over 2x2 blocks plus noise of 25/255, brought back to full size.

    Raises:
        ImageError: A photograph is missing or too small.
    """
    crops = load_crops(folder, 256)
    coarse = functional.avg_pool2d(crops, 2)
    rows = {}
    for sigma in SIGMAS:
        s = sigma / 127.5
        rows[f"denoise/{sigma}"] = mean_psnr(prior.denoise(add_noise(crops, s), s), crops)
        rows[f"refine/{sigma}"] = mean_psnr(prior.refine(add_noise(coarse, s), s), crops)
    return rows


def load_crops(folder: Path, size: int) -> Tensor:
    """Returns the centre crops of the four photographs, in [-1, 1], with shape (4, 3, size, size).

    Raises:
        ImageError: A photograph is missing or too small.
    """
    return torch.cat([_crop(folder / f"{name}.png", size) for name in PHOTOGRAPHS])


def add_noise(x: Tensor, sigma: float) -> Tensor:
    """Adds white Gaussian noise of deviation ``sigma``, the same for every picture of a shape."""
    noise = np.random.default_rng(0).standard_normal(x.shape, dtype=np.float32)
    return x + sigma * torch.from_numpy(noise)


def mean_psnr(estimates: Tensor, truths: Tensor) -> float:
    """Returns the mean PSNR in decibels of pictures (B, 3, H, W) in [-1, 1]; estimates are brought to that range."""
    errors = ((estimates.clamp(-1, 1) - truths) / 2).square().mean(dim=(1, 2, 3))
    return round(float((-10 * errors.log10()).mean()), 3)


def _crop(path: Path, size: int) -> Tensor:
    try:
        photo = np.asarray(Image.open(path).convert("RGB"))
    except OSError as error:
        raise ImageError(f"the yardstick needs {path}: {error}") from error
    if min(photo.shape[:2]) < size:
        raise ImageError(f"the yardstick needs {path} to be at least {size} pixels a side, got {photo.shape[:2]}")
    top, left = ((side - size) // 2 for side in photo.shape[:2])
    crop = photo[top : top + size, left : left + size].astype(np.float32) / 127.5 - 1
    return torch.from_numpy(crop.transpose(2, 0, 1))[None]
