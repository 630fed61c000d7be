"""The error that denoisers are trained to make small."""

from __future__ import annotations

from torch import Tensor

__all__ = ["log_error"]

EASE = 0.05
"""Of the variance of the noise, what is added to a squared error: about as much as it is for a whole picture."""


def log_error(made: Tensor, truth: Tensor, sigma: Tensor) -> Tensor:
    r"""Returns :math:`\ln(|g - x|^2 + 0.05 \sigma^2)` with the mean over each patch, averaged over patches.

    The logarithm keeps rough pictures from counting more than smooth ones, as PSNR does, and the term after the error
    keeps the smoothest patches from counting most.

    Arguments:
        made: Patches g (B, 3, H, W).
        truth: Of the photographs, x.
        sigma: Noise of the states that they were made of (B,).
    """
    error = (made.float() - truth).square().mean(dim=(1, 2, 3))
    return (error + EASE * sigma**2).log().mean()
