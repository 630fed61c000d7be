r"""A codebook of orthonormal noise atoms that is never stored.

Atom :math:`k` is row :math:`k` of :math:`H S`, where :math:`S` is a diagonal of random signs and :math:`H` the
orthonormal discrete Hartley transform of length :math:`n`,

.. math:: H_{kj} = \frac{1}{\sqrt{n}} \left( \cos \frac{2 \pi k j}{n} + \sin \frac{2 \pi k j}{n} \right) = H_{jk},
    \qquad H H = I.

Random signs make any fixed vector look like white noise to all rows at once (Ailon and Chazelle, 2009), so the
:math:`n` inner products of a residual with the atoms behave like those of Gaussian atoms, at the price of one
fast Fourier transform of any length. The signs are bits of Philox4x64-10 (Salmon et al., 2011), keyed by a hash;
they are the same on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from flipproof.seeds import derive

__all__ = ["RotatedCodebook", "hartley", "random_signs"]


def random_signs(count: int, key: int) -> Tensor:
    """Returns ``count`` signs as a float32 tensor of -1 and 1.

    Bit ``i`` of the Philox stream (little-endian words, lowest bit first) set means -1.

    Arguments:
        count: How many.
        key: 128-bit Philox key.
    """
    words = np.random.Philox(key=key).random_raw(-(-count // 64)).astype("<u8")
    bits = np.unpackbits(words.view(np.uint8), count=count, bitorder="little")
    return torch.from_numpy(1 - 2 * bits.astype(np.float32))


def hartley(x: Tensor) -> Tensor:
    """Applies the orthonormal discrete Hartley transform, its own inverse, along the last axis of (..., n)."""
    half = torch.fft.rfft(x, norm="ortho")
    mirrored = (half.real + half.imag)[..., 1 : (x.shape[-1] + 1) // 2]
    return torch.cat([half.real - half.imag, mirrored.flip(-1)], dim=-1)


@dataclass(frozen=True)
class RotatedCodebook:
    """The atoms of one step.

    Attributes:
        size: Length n of an atom, and their number.
        step: Which step of the chain; every step has its own signs.
        seed: Root of the signs.
    """

    size: int
    step: int
    seed: int = 0

    def analyse(self, vectors: Tensor) -> Tensor:
        """Returns the inner products of vectors (B, n) with all n atoms, as (B, n)."""
        return hartley(vectors.float() * self._signs().to(vectors.device))

    def synthesise(self, coefficients: Tensor) -> Tensor:
        """Returns the sums of atoms weighted by coefficients (B, n), as (B, n); the inverse of :meth:`analyse`."""
        return hartley(coefficients.float()) * self._signs().to(coefficients.device)

    def noise(self, batch: int) -> Tensor:
        """Returns known white noise of unit variance (batch, n), the same for every chain."""
        return hartley(self._signs("known noise")).expand(batch, self.size)

    def _signs(self, purpose: str = "rotated codebook") -> Tensor:
        return random_signs(self.size, derive(purpose=purpose, size=self.size, step=self.step, seed=self.seed))
