"""What an encoder steers its chain towards."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from flipproof.chain import Proposal, haar_detail
from flipproof.errors import ImageError
from flipproof.image import RgbImage
from flipproof.prior.base import Prior

__all__ = ["Priority", "Target", "to_picture", "to_tensor"]

Priority = NDArray[np.floating] | NDArray[np.integer]
"""How much each pixel matters, (H, W), 0 or more; only ratios count."""


@dataclass(frozen=True)
class Target:
    """A picture in the space of a prior, and what each sample of it is worth.

    Attributes:
        x: The picture, padded to whole blocks, with shape (1, C, h, w).
        real: 1 where a sample covers any of the picture, 0 in the padding, with shape (1, 1, h, w).
        priority: Weights with a mean square of 1 over the picture, with shape (1, 1, h, w).
        prior: Whose space it is.
        judge: Who tells detail from noise.
    """

    x: Tensor
    real: Tensor
    priority: Tensor
    prior: Prior
    judge: Prior
    _grids: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict, repr=False, compare=False)
    _bold: dict[tuple[int, float], Tensor] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(
        cls,
        image: RgbImage,
        prior: Prior,
        coarsest: int,
        device: str,
        priority: Priority | None = None,
        judge: Prior | None = None,
    ) -> Target:
        """Maps a picture (H, W, 3) to the space of a prior.

        Arguments:
            image: The picture.
            prior: Whose space it goes to.
            coarsest: Averaging factor of the coarsest grid.
            device: Where to compute.
            priority: Weights of the pixels; equal if None.
            judge: Who tells detail from noise; the prior if None.

        Raises:
            ImageError: The weights have another shape, are negative, not finite, or all zero.
        """
        factor = prior.space.factor
        pixels = _pad(to_tensor(image).to(device), factor * coarsest)
        real = pixels.new_zeros(1, 1, *pixels.shape[2:])
        real[:, :, : image.shape[0], : image.shape[1]] = 1
        weights = real if priority is None else real * _weights(priority, image, factor * coarsest).to(device)
        x = prior.encode(pixels)
        worth = functional.avg_pool2d(weights, factor)
        return cls(x, functional.max_pool2d(real, factor), worth, prior, prior if judge is None else judge)

    @property
    def shape(self) -> tuple[int, int, int]:
        """One chain, its rows and columns."""
        return 1, self.x.shape[2], self.x.shape[3]

    def residual(self, proposal: Proposal, faint: float = 0.0) -> Tensor:
        """Returns the weighted x - D on the samples a proposal moves, as (1, n), zero where there is only padding.

        Arguments:
            proposal: Where the chain could go next.
            faint: Without the detail of x that the judge takes for noise of this deviation; 0 for all of it.
        """
        truth, worth = self._on(proposal.target.grid)
        if faint:
            truth = self._without(truth, proposal.target.grid, faint)
        if proposal.growing:
            truth = haar_detail(truth)
            worth = functional.max_pool2d(worth, 2)
        difference = (truth.flatten(1) - proposal.mean).view(-1, *worth.shape[2:])
        return difference.mul_(worth[0]).view(1, -1)

    def _on(self, grid: int) -> tuple[Tensor, Tensor]:
        """Returns the picture and the worth of its samples on a grid."""
        if grid not in self._grids:
            self._grids.clear()  # chains only go to finer grids
            worth = functional.max_pool2d(self.real, grid) * functional.avg_pool2d(self.priority, grid)
            self._grids[grid] = functional.avg_pool2d(self.x, grid) if grid > 1 else self.x, worth
        return self._grids[grid]

    def _without(self, truth: Tensor, grid: int, faint: float) -> Tensor:
        """Returns the picture on a grid without faint detail; remembers the last one."""
        if (grid, faint) not in self._bold:
            self._bold.clear()
            self._bold[grid, faint] = self.judge.denoise(truth, faint)
        return self._bold[grid, faint]


def to_tensor(image: RgbImage) -> Tensor:
    """Returns an 8-bit picture (H, W, 3) as a tensor (1, 3, H, W) in [-1, 1]."""
    return torch.tensor(image).permute(2, 0, 1)[None].float() / 127.5 - 1


def to_picture(tensor: Tensor) -> RgbImage:
    """Returns a tensor (3, H, W) in [-1, 1], clipped and rounded, as an 8-bit picture (H, W, 3)."""
    levels = tensor.clamp(-1, 1).add_(1).mul_(127.5).round_().to(torch.uint8)
    return levels.permute(1, 2, 0).cpu().numpy()


def _pad(x: Tensor, block: int) -> Tensor:
    """Repeats the bottom and right edges of (1, C, H, W) up to whole blocks."""
    return functional.pad(x, (0, -x.shape[3] % block, 0, -x.shape[2] % block), mode="replicate")


def _weights(priority: Priority, image: RgbImage, block: int) -> Tensor:
    try:
        if np.iscomplexobj(priority):
            raise ImageError("expected a priority map of real numbers, got complex ones")
        weights = np.asarray(priority, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ImageError(f"expected a priority map of numbers: {error}") from error
    if weights.shape != image.shape[:2]:
        raise ImageError(f"expected a priority map of {image.shape[:2]}, got {weights.shape}")
    most = weights.max()
    if not (np.isfinite(most) and most > 0 and weights.min() >= 0):
        raise ImageError("expected a finite priority map of 0 or more, and more than 0 somewhere")
    weights = weights / most  # so that no square overflows
    scaled = weights / np.sqrt(np.mean(weights**2))
    return _pad(torch.from_numpy(scaled.astype(np.float32))[None, None], block)
