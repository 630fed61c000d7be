r"""What a codec asks of a prior.

A prior knows pictures, as they are or through an autoencoder. Its chains live in a :class:`Space`: pixels in
:math:`[-1, 1]`, or latents. Given :math:`y = x + \sigma n` with unit white noise :math:`n` it returns the posterior
mean :math:`D(y, \sigma) = \mathbb{E}[x \mid y]`. A prior of pixels also predicts, from the same of a picture averaged
over 2x2 blocks, the picture at full resolution.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from flipproof.errors import SpecError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["DEVIATIONS", "LATENTS", "PIXELS", "Prior", "Space"]


DEVIATIONS = (0.5, 1.0)


@dataclass(frozen=True)
class Space:
    """Where the chains of a prior live.

    Attributes:
        channels: Channels of a sample, 1 to 31: 3 for pixels.
        factor: Pixels per sample along a side, a power of two up to 128: 1 for pixels.
        deviation: Standard deviation of a sample: 0.5 for pixels, 1 for scaled latents.

    Raises:
        SpecError: One of them is something else.
    """

    channels: int
    factor: int
    deviation: float

    def __post_init__(self) -> None:
        factors = [1 << i for i in range(8)]
        if not (1 <= self.channels <= 31 and self.factor in factors and self.deviation in DEVIATIONS):
            expected = f"1 to 31 channels, a factor of {factors} and a deviation of {DEVIATIONS}"
            raise SpecError(f"expected {expected}, got {self.channels}, {self.factor} and {self.deviation}")


PIXELS = Space(channels=3, factor=1, deviation=0.5)
LATENTS = Space(channels=4, factor=8, deviation=1.0)
"""The latents of Stable Diffusion 1 and 2."""


class Prior(ABC):
    """A pretrained denoiser; encoder and decoder must hold the same one.

    Attributes:
        name: Kind of prior.
        space: Where its chains live.
        precision: Type it computes in, one of :data:`flipproof.prior.load.PRECISIONS`; networks that follow it do too.
    """

    name: ClassVar[str]
    space: Space = PIXELS
    precision: str = "float32"

    @property
    @abstractmethod
    def fingerprint(self) -> int:
        """The first 32 bits of a SHA-256 of the weights, written into every file."""

    @abstractmethod
    def denoise(self, y: Tensor, sigma: float) -> Tensor:
        """Estimates what is behind noise.

        Arguments:
            y: Noisy samples with shape (B, C, h, w), float32.
            sigma: Standard deviation of the noise, above 0.

        Returns:
            The posterior means with the shape and type of ``y``.
        """

    def refine(self, y: Tensor, sigma: float) -> Tensor:
        """Predicts the picture at twice the resolution of a noisy one; for priors of pixels only.

        Arguments:
            y: Pictures averaged over 2x2 blocks, plus noise, with shape (B, 3, H, W).
            sigma: Standard deviation of the noise on those averages, above 0.

        Returns:
            The posterior means with shape (B, 3, 2H, 2W).

        Raises:
            SpecError: The prior knows one resolution only.
        """
        raise SpecError(f"expected a prior of pixels for a chain that grows, got {self.name}")

    def encode(self, pictures: Tensor) -> Tensor:
        """Maps pictures (B, 3, H, W) in [-1, 1], sides multiples of the factor, to the space (B, C, h, w)."""
        return pictures

    def decode(self, x: Tensor) -> Tensor:
        """Maps the space (B, C, h, w) back to pictures (B, 3, H, W)."""
        return x

    def __str__(self) -> str:
        """Name and fingerprint."""
        return f"{self.name}:{self.fingerprint:08x}"


class WrappedPrior(Prior):
    """Base of priors that speak for another one, and change how it is asked.

    Arguments:
        prior: Who answers.
    """

    def __init__(self, prior: Prior) -> None:
        self.prior = prior
        self.space, self.precision = prior.space, prior.precision

    @property
    def fingerprint(self) -> int:
        return self.prior.fingerprint

    def encode(self, pictures: Tensor) -> Tensor:
        return self.prior.encode(pictures)

    def decode(self, x: Tensor) -> Tensor:
        return self.prior.decode(x)
