r"""A codebook of orthogonal noise atoms that is never stored.

Atoms come in blocks of :math:`n`. Atom :math:`k` is row :math:`k \bmod n` of :math:`\sqrt{n} \, H S_b`, with
:math:`b = \lfloor k / n \rfloor`, where :math:`S_b` is a diagonal of random signs, another for every block, and
:math:`H` the orthonormal discrete Hartley transform of length :math:`n`,

.. math:: H_{kj} = \frac{1}{\sqrt{n}} \left( \cos \frac{2 \pi k j}{n} + \sin \frac{2 \pi k j}{n} \right) = H_{jk},
    \qquad H H = I.

So the atoms of a block are orthogonal and each has norm :math:`\sqrt{n}`, and atoms of different blocks have inner
products as small as those of Gaussian atoms. Random signs make any fixed vector look like white noise to all rows at
once (Ailon and Chazelle, 2009), so the inner products of a residual with the atoms behave like those of Gaussian
atoms, at the price of one fast Fourier transform a block, of any length. The signs are bits of Philox4x64-10 (Salmon
et al., 2011), keyed by a hash; they are the same on every machine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from flipproof.codebook.base import check_atoms, check_shape, check_vectors
from flipproof.seeds import derive

__all__ = ["RotatedCodebook", "hartley", "random_signs"]

LONG = 2**22
"""Samples from which NumPy transforms on the CPU."""
MOST = 2**40  # block numbers and their products with n stay far inside int64


def random_signs(count: int, key: int) -> Tensor:
    """Returns ``count`` signs as a float32 tensor of -1 and 1.

    Bit ``i`` of the Philox stream (little-endian words, lowest bit first) set means -1.

    Arguments:
        count: How many.
        key: 128-bit Philox key.
    """
    words = np.random.Philox(key=key).random_raw(-(-count // 64)).astype("<u8")
    signs = np.unpackbits(words.view(np.uint8), count=count, bitorder="little").astype(np.float32)
    signs *= -2
    signs += 1
    return torch.from_numpy(signs)


def hartley(x: Tensor) -> Tensor:
    """Applies the orthonormal discrete Hartley transform, its own inverse, along the last axis of (..., n)."""
    half = _half_spectrum(x)
    result: Tensor = half.real.new_empty(x.shape)
    middle = half.shape[-1]
    result[..., :middle] = half.real - half.imag
    result[..., middle:] = (half.real + half.imag)[..., 1 : (x.shape[-1] + 1) // 2].flip(-1)
    return result


@dataclass(frozen=True)
class RotatedCodebook:
    """The rotated atoms of one step; a :class:`~flipproof.codebook.base.Codebook`.

    Attributes:
        size: Length n of an atom.
        atoms: Number K of atoms; less than, equal to or greater than n.
        step: Which step of the chain; every step has its own signs.
        seed: Root of the signs.

    Raises:
        SpecError: If ``size`` or ``atoms`` is out of range.

    Example:
        >>> codebook = RotatedCodebook(size=4, atoms=3, step=0)
        >>> atom = codebook.synthesise(torch.tensor([[2]]), torch.tensor([[1.0]]))
        >>> atom.round().tolist(), codebook.analyse(atom).round().abs().tolist()
        ([[1.0, -1.0, -1.0, -1.0]], [[0.0, 0.0, 4.0]])
    """

    size: int
    atoms: int
    step: int
    seed: int = 0

    def __post_init__(self) -> None:
        check_shape(self.size, self.atoms, MOST)

    def analyse(self, vectors: Tensor) -> Tensor:
        """Returns the inner products of vectors (B, n) with all atoms, as (B, K) float32."""
        check_vectors(self, vectors)
        vectors, norm = vectors.float(), math.sqrt(self.size)
        if self.atoms <= self.size:
            return hartley((vectors * self._signs(0).to(vectors.device)).mul_(norm))[:, : self.atoms]

        products = vectors.new_empty(len(vectors), self.atoms)
        for block, start in enumerate(range(0, self.atoms, self.size)):
            part = products[:, start : start + self.size]
            signed = (vectors * self._signs(block).to(vectors.device)).mul_(norm)
            part.copy_(hartley(signed)[:, : part.shape[1]])
        return products

    def synthesise(self, atoms: Tensor, weights: Tensor) -> Tensor:
        """Returns the sums of atoms (B, M) with weights (B, M), as (B, n) float32; blocks nobody uses cost nothing."""
        check_atoms(self, atoms, weights)
        weights = weights.float()

        total: Tensor | None = None
        for block in torch.unique(atoms[weights != 0] // self.size).tolist():
            inside = torch.where(atoms // self.size == block, weights, 0.0)
            rows = weights.new_zeros(len(atoms), self.size).scatter_add_(1, atoms % self.size, inside)
            part = hartley(rows).mul_(self._signs(block).to(rows.device))
            total = part if total is None else total.add_(part)
        return weights.new_zeros(len(atoms), self.size) if total is None else total.mul_(math.sqrt(self.size))

    def combine(self, weights: Tensor) -> Tensor:
        """Returns sums of the first atoms with weights (B, M), M at most n, as (B, n) float32."""
        rows = functional.pad(weights.float(), (0, self.size - weights.shape[1]))
        return hartley(rows).mul_(self._signs(0).to(rows.device)).mul_(math.sqrt(self.size))

    def noise(self, batch: int) -> Tensor:
        """Returns known white noise of unit variance (batch, n) on the CPU, the same for every chain."""
        key = derive(purpose="known noise", size=self.size, step=self.step, seed=self.seed)
        return hartley(random_signs(self.size, key)).expand(batch, self.size)

    def _signs(self, block: int) -> Tensor:
        axes = {"block": block} if block else {}
        key = derive(purpose="rotated codebook", size=self.size, step=self.step, seed=self.seed, **axes)
        return random_signs(self.size, key)


def _half_spectrum(x: Tensor) -> Tensor:
    """Returns the orthonormal Fourier transform of real x (..., n), without the half that mirrors it.

    Of long vectors NumPy's takes less memory, and far less than PyTorch's where n has two large prime factors.
    """
    if x.device.type == "cpu" and x.dtype == torch.float32 and x.shape[-1] >= LONG:
        return torch.from_numpy(np.fft.rfft(x.numpy(), norm="ortho"))
    half: Tensor = torch.fft.rfft(x, norm="ortho")
    return half
