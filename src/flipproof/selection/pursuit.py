r"""DDCM's selection (https://arxiv.org/abs/2502.01189): a matching pursuit with convex coefficients.

The steering noise starts as the atom of largest inner product with the residual :math:`r`. It has no sign. Then up to
M - 1 times the best mixture with one more atom,

.. math:: z' = \frac{\sqrt{\gamma}\, z + \sqrt{1 - \gamma}\, a_k}{\text{its deviation}}, \qquad
    \gamma = \frac{c}{2^C - 1}, \quad c = 1, \dots, 2^C - 1,

takes its place if its inner product with :math:`r` is larger. Where no mixture is better, the code c = 0 is written,
and a decoder ignores what follows in that step. The code :math:`2^C - 1` leaves :math:`z` as it is, so it is never
taken, and C = 1 is a degenerate setting in which no mixture is ever better.

Deviations are root mean squares about zero. The published code takes the standard deviation about the mean, which
differs by a factor :math:`1 + O(1/n)`, and leaves a lone first atom at its own deviation, which differs from 1 by
:math:`O(1/\sqrt{n})` for Gaussian atoms.

No mixture is formed to be judged: its inner product with :math:`r` is linear in that of :math:`a_k`, and its norm is

.. math:: \gamma \lVert z \rVert^2 + (1 - \gamma) \lVert a_k \rVert^2 + 2 \sqrt{\gamma (1 - \gamma)}\, \langle z, a_k
    \rangle.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import torch
from torch import Tensor

from flipproof.selection.base import LEAST_DEVIATION, unit_variance

if TYPE_CHECKING:
    from flipproof.codebook.base import Codebook

__all__ = ["LOST", "NormedCodebook", "Pursuit", "select_pursuit", "squared_norms"]

LOST = -1
"""Number of an atom that was lost, and code of a coefficient that was."""


@dataclass(frozen=True)
class Pursuit:
    """Atoms and coefficients of the mixtures for a batch of chains.

    Attributes:
        atoms: Numbers of atoms, 0 to K - 1, or -1 for one that was lost, with shape (B, M), int64.
        codes: Codes c of the coefficients of all atoms but the first, 0 to 2^C - 1, or -1 for one that was lost, with
            shape (B, M - 1), int64. From a code 0 on, a chain's atoms and codes mean nothing.
        coefficient_bits: Bits C of a coefficient.
    """

    atoms: Tensor
    codes: Tensor
    coefficient_bits: int

    @property
    def share(self) -> float:
        """Share of the atoms that were not lost, nor their coefficients, from 0 to 1."""
        usable = self.atoms != LOST
        usable[:, 1:] &= self.codes != LOST
        return float(usable.float().mean())

    def to(self, device: str) -> Pursuit:
        """Returns the pursuit on a device."""
        return Pursuit(self.atoms.to(device), self.codes.to(device), self.coefficient_bits)

    def steer(self, codebook: Codebook) -> Tensor:
        """Returns the last mixture (B, n).

        Known noise stands for a lost first atom. A later atom that is lost, or whose coefficient is, is left out.
        """
        z = unit_variance(_atom(codebook, self.atoms[:, :1]), codebook)
        going = torch.ones_like(self.atoms[:, :1], dtype=torch.bool)
        for index in range(self.codes.shape[1]):
            atom, code = self.atoms[:, index + 1, None], self.codes[:, index, None]
            going = going & (code != 0)
            used = going & (atom != LOST) & (code != LOST)
            mixed = _mixture(codebook, z, torch.where(used, atom, LOST), code, self.coefficient_bits)
            z = torch.where(used, mixed, z)
        return z


@runtime_checkable
class NormedCodebook(Protocol):
    """A codebook that knows the norms of its atoms."""

    def squared_norms(self) -> Tensor:
        """Returns the squared norms of all atoms, with shape (K,), float32."""


@dataclass(frozen=True)
class _Choice:
    """One more atom, the code of its coefficient, and the inner product of the mixture with the residual."""

    atom: int
    code: int
    product: float


def squared_norms(codebook: Codebook) -> Tensor:
    """Returns the squared norms of all atoms (K,): exact ones if the codebook offers them, else their mean n."""
    if isinstance(codebook, NormedCodebook):
        return codebook.squared_norms()
    return torch.full((codebook.atoms,), float(codebook.size))


def select_pursuit(codebook: Codebook, residual: Tensor, count: int, coefficient_bits: int) -> Pursuit:
    """Takes up to ``count`` atoms, the first of largest inner product, each further one for the best mixture.

    It costs one analysis per atom and 2^C passes over K numbers for each but the first.

    Arguments:
        codebook: Holds the K atoms.
        residual: What to point at, with shape (1, n).
        count: Atoms M, at least 1.
        coefficient_bits: Bits C of a coefficient, 1 to 8.
    """
    residual = residual.float()
    products = codebook.analyse(residual)
    norms = squared_norms(codebook).to(residual.device)
    taken = products.new_zeros(1, count, dtype=torch.int64)
    codes = products.new_zeros(1, count - 1, dtype=torch.int64)

    taken[0, 0] = products.argmax()
    z = unit_variance(_atom(codebook, taken[:, :1]), codebook)
    reached = float((z * residual).sum())
    for index in range(1, count):
        choice = _best_choice(reached, products[0], codebook.analyse(z)[0], norms, codebook.size, coefficient_bits)
        if choice is None:
            break
        atom, code = torch.full_like(taken[:, :1], choice.atom), torch.full_like(taken[:, :1], choice.code)
        z = _mixture(codebook, z, atom, code, coefficient_bits)
        reached, before = float((z * residual).sum()), reached
        if reached <= before:  # where norms are means, or by rounding
            break
        taken[:, index : index + 1], codes[:, index - 1 : index] = atom, code
    return Pursuit(taken, codes, coefficient_bits)


def _best_choice(
    reached: float, products: Tensor, overlaps: Tensor, norms: Tensor, size: int, coefficient_bits: int
) -> _Choice | None:
    """Returns the best mixture of z with one more atom, or None if none is better than z.

    Arguments:
        reached: Inner product of z with the residual.
        products: Those of all atoms with the residual (K,).
        overlaps: Those of all atoms with z (K,).
        norms: Squared norms of all atoms (K,).
        size: Squared norm of z.
        coefficient_bits: Bits of a coefficient.
    """
    best, most = None, (1 << coefficient_bits) - 1
    for code in range(1, most):
        old, new = math.sqrt(code / most), math.sqrt(1 - code / most)
        squares = old**2 * size + new**2 * norms + 2 * old * new * overlaps
        values = (old * reached + new * products) / (squares / size).clamp(min=LEAST_DEVIATION**2).sqrt()
        product, atom = values.max(dim=0)
        if product > (best.product if best else reached):
            best = _Choice(int(atom), code, float(product))
    return best


def _mixture(codebook: Codebook, z: Tensor, atom: Tensor, code: Tensor, coefficient_bits: int) -> Tensor:
    """Returns the mixtures (B, n) of z (B, n) with atoms (B, 1) at codes (B, 1)."""
    gamma = code.clamp(min=0) / ((1 << coefficient_bits) - 1)
    return unit_variance(gamma.sqrt() * z + (1 - gamma).sqrt() * _atom(codebook, atom), codebook)


def _atom(codebook: Codebook, number: Tensor) -> Tensor:
    """Returns one atom per chain (B, n), zeros for a lost one, from numbers (B, 1)."""
    return codebook.synthesise(number.clamp(min=0), (number != LOST).float())
