r"""What an encoder takes from a codebook at one step, and the steering noise that follows from it.

A selection names signed atoms :math:`a_k` of unit variance. The steering noise is their sum, scaled to unit variance,
:math:`z = \sqrt{n}\, \sum_i s_i a_{k_i} / \lVert \sum_i s_i a_{k_i} \rVert`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

if TYPE_CHECKING:
    from flipproof.codebook.base import Codebook

__all__ = ["LEAST_DEVIATION", "Selection", "Steering", "signs_of", "unit_variance"]

LEAST_DEVIATION = 1e-3
"""A sum of atoms of no more than this deviation has cancelled but for rounding."""


class Steering(Protocol):
    """What a decoder learns from the bits of a step, for a batch of chains."""

    @property
    def share(self) -> float:
        """Share of the selected atoms that were not lost, from 0 to 1."""

    def to(self, device: str) -> Steering:
        """Returns the same on a device."""

    def steer(self, codebook: Codebook) -> Tensor:
        """Returns the steering noise (B, n), float32, of unit variance for every chain."""


@dataclass(frozen=True)
class Selection:
    """Signed atoms for a batch of chains.

    Attributes:
        atoms: Numbers of atoms, 0 to K - 1, with shape (B, M), int64.
        signs: -1 or 1, or 0 for an atom that was lost, with shape (B, M), float32.
    """

    atoms: Tensor
    signs: Tensor

    @property
    def share(self) -> float:
        """Share of the atoms that were not lost, from 0 to 1."""
        return float((self.signs != 0).float().mean())

    def to(self, device: str) -> Selection:
        """Returns the selection on a device."""
        return Selection(self.atoms.to(device), self.signs.to(device))

    def steer(self, codebook: Codebook) -> Tensor:
        """Returns the signed sum of the atoms, scaled to unit variance (B, n).

        Where every atom of a chain was lost, or equal atoms of opposite sign cancel, it is the codebook's known noise.
        """
        return unit_variance(codebook.synthesise(self.atoms, self.signs), codebook)


def signs_of(products: Tensor) -> Tensor:
    """Returns the signs that are written for inner products: -1 below zero, else 1, zero included."""
    return torch.where(products < 0, -1.0, 1.0)


def unit_variance(vectors: Tensor, codebook: Codebook) -> Tensor:
    """Scales vectors (B, n) to a root mean square of 1; known noise replaces those that vanish but for rounding."""
    vanished = _deviation(vectors) <= LEAST_DEVIATION
    if vanished.any():
        vectors = torch.where(vanished, codebook.noise(len(vectors)).to(vectors.device), vectors)
    return vectors / _deviation(vectors)


def _deviation(vectors: Tensor) -> Tensor:
    return vectors.square().mean(dim=1, keepdim=True).sqrt()
