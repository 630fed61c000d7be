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

__all__ = ["SIGMAS", "yardstick"]

PHOTOGRAPHS = ("05", "08", "19", "23")
SIGMAS = (5, 15, 25, 50, 75, 100, 150, 255)


def yardstick(prior: Prior, folder: Path) -> dict[str, float]:
    """Measures mean PSNR over the 256x256 centre crops of Kodak 05, 08, 19 and 23.

    Arguments:
        prior: What to measure.
        folder: Holds ``05.png`` and so on.

    Returns:
        Decibels by row: ``denoise/25`` for noise of 25/255 on the sRGB crop; ``refine/25`` for the crop averaged
        over 2x2 blocks plus noise of 25/255, brought back to full size.

    Raises:
        ImageError: A photograph is missing.
    """
    crops = torch.cat([_crop(folder / f"{name}.png") for name in PHOTOGRAPHS])
    coarse = functional.avg_pool2d(crops, 2)
    rows = {}
    for sigma in SIGMAS:
        s = sigma / 127.5
        rows[f"denoise/{sigma}"] = _psnr(prior.denoise(_noisy(crops, s), s), crops)
        rows[f"refine/{sigma}"] = _psnr(prior.refine(_noisy(coarse, s), s), crops)
    return rows


def _crop(path: Path) -> Tensor:
    try:
        photo = np.asarray(Image.open(path).convert("RGB"))
    except OSError as error:
        raise ImageError(f"the yardstick needs {path}: {error}") from error
    top, left = photo.shape[0] // 2 - 128, photo.shape[1] // 2 - 128
    crop = photo[top : top + 256, left : left + 256].astype(np.float32) / 127.5 - 1
    return torch.from_numpy(crop.transpose(2, 0, 1))[None]


def _noisy(x: Tensor, sigma: float) -> Tensor:
    noise = np.random.default_rng(0).standard_normal(x.shape, dtype=np.float32)
    return x + sigma * torch.from_numpy(noise)


def _psnr(estimate: Tensor, truth: Tensor) -> float:
    errors = ((estimate.clamp(-1, 1) - truth) / 2).square().mean(dim=(1, 2, 3))
    return round(float((-10 * errors.log10()).mean()), 3)
