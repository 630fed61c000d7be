"""Codebooks by name."""

from __future__ import annotations

from flipproof.codebook.base import Codebook
from flipproof.codebook.gaussian import GaussianCodebook
from flipproof.codebook.rotated import RotatedCodebook
from flipproof.errors import SpecError

__all__ = ["KINDS", "make_codebook"]

KINDS = ("rotated", "gaussian")
"""The kinds of codebook. The index of a kind is the number written in files: new kinds go at the end."""


def make_codebook(kind: str, size: int, atoms: int, step: int) -> Codebook:
    """Makes the codebook of one step.

    Arguments:
        kind: One of :data:`KINDS`.
        size: Length n of an atom.
        atoms: Number K of atoms.
        step: Which step of the chain.

    Raises:
        SpecError: If there is no such kind, or a number is out of range.

    Example:
        >>> make_codebook("gaussian", size=4, atoms=3, step=0)
        GaussianCodebook(size=4, atoms=3, step=0, seed=0)
    """
    if kind == "rotated":
        return RotatedCodebook(size, atoms, step)
    if kind == "gaussian":
        return GaussianCodebook(size, atoms, step)
    raise SpecError(f"codebook: expected one of {', '.join(KINDS)}, got {kind!r}")
