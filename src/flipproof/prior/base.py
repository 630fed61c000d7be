r"""What a codec asks of a prior.

A prior knows pictures. Given :math:`y = x + \sigma n` with unit white noise :math:`n` it returns the posterior
mean :math:`D(y, \sigma) = \mathbb{E}[x \mid y]`; given the same of a picture averaged over 2x2 blocks it
predicts the picture at full resolution. Pictures are tensors with shape :math:`(B, 3, H, W)` in :math:`[-1, 1]`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Prior"]


class Prior(ABC):
    """A pretrained denoiser; encoder and decoder must hold the same one."""

    name: ClassVar[str]

    @property
    @abstractmethod
    def fingerprint(self) -> int:
        """The first 32 bits of the SHA-256 of the weights, written into every file."""

    @abstractmethod
    def denoise(self, y: Tensor, sigma: float) -> Tensor:
        """Estimates the picture behind a noisy one.

        Arguments:
            y: Noisy pictures with shape (B, 3, H, W), any H and W from 1.
            sigma: Standard deviation of the noise, above 0.

        Returns:
            The posterior means with the shape of ``y``.
        """

    @abstractmethod
    def refine(self, y: Tensor, sigma: float) -> Tensor:
        """Predicts the picture at twice the resolution of a noisy one.

        Arguments:
            y: Pictures averaged over 2x2 blocks, plus noise, with shape (B, 3, H, W).
            sigma: Standard deviation of the noise on those averages, above 0.

        Returns:
            The posterior means with shape (B, 3, 2H, 2W).
        """
