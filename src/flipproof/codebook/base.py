r"""What a codec asks of a codebook.

A codebook is a matrix of :math:`K` known noise atoms :math:`q_k \in \mathbb{R}^n` of unit variance per sample, so
:math:`\lVert q_k \rVert` is about :math:`\sqrt{n}`. Encoder and decoder make the same atoms from a hash of names.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from flipproof.errors import SpecError

__all__ = ["Codebook", "check_atoms", "check_shape", "check_vectors"]


class Codebook(Protocol):
    """The atoms of one step of a chain.

    The arithmetic is float32 whatever the type of the arguments, on the device of the arguments.
    """

    @property
    def size(self) -> int:
        """Length n of an atom."""

    @property
    def atoms(self) -> int:
        """Number K of atoms."""

    def analyse(self, vectors: Tensor) -> Tensor:
        """Returns the inner products of vectors (B, n) with all atoms, as (B, K) float32."""

    def synthesise(self, atoms: Tensor, weights: Tensor) -> Tensor:
        """Returns weighted sums of atoms, as (B, n) float32.

        Arguments:
            atoms: Row numbers with shape (B, M), int64. An atom named twice counts twice.
            weights: Their weights with shape (B, M). An atom of weight zero is not looked at.
        """

    def combine(self, weights: Tensor) -> Tensor:
        """Returns sums of the first atoms with weights (B, M), M at most K and n, as (B, n) float32."""

    def noise(self, batch: int) -> Tensor:
        """Returns known white noise of unit variance (batch, n) on the CPU, the same for every chain."""


def check_shape(size: int, atoms: int, most: int) -> None:
    """Checks the shape of a codebook.

    Arguments:
        size: Length n of an atom.
        atoms: Number K of atoms.
        most: The largest legal value of both.

    Raises:
        SpecError: If one of them is not in [1, most].
    """
    for name, value in (("size", size), ("atoms", atoms)):
        if not 1 <= value <= most:
            raise SpecError(f"codebook: expected {name} in [1, {most}], got {value}")


def check_vectors(codebook: Codebook, vectors: Tensor) -> None:
    """Checks what :meth:`Codebook.analyse` is given.

    Raises:
        SpecError: If the shape is not (B, n).
    """
    if vectors.ndim != 2 or vectors.shape[1] != codebook.size:
        raise SpecError(f"codebook: expected vectors (B, {codebook.size}), got {tuple(vectors.shape)}")


def check_atoms(codebook: Codebook, atoms: Tensor, weights: Tensor) -> None:
    """Checks what :meth:`Codebook.synthesise` is given.

    Raises:
        SpecError: If the shapes are not one and the same (B, M), or an atom whose weight is not zero is not in [0, K).
    """
    if atoms.ndim != 2 or atoms.shape != weights.shape:
        raise SpecError(
            f"codebook: expected atoms and weights (B, M), got {tuple(atoms.shape)} and {tuple(weights.shape)}"
        )
    wrong = atoms[((atoms < 0) | (atoms >= codebook.atoms)) & (weights != 0)]
    if len(wrong):
        raise SpecError(f"codebook: expected atoms in [0, {codebook.atoms}), got {int(wrong[0])}")
