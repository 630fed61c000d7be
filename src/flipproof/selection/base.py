r"""What an encoder takes from a codebook at one step.

A selection names signed atoms of a :class:`~flipproof.codebook.rotated.RotatedCodebook`. The steering noise is their
sum, scaled to unit variance: :math:`z = \sqrt{n}\, \sum_i s_i q_{k_i} / \lVert \sum_i s_i q_{k_i} \rVert`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from flipproof.codebook.rotated import RotatedCodebook

__all__ = ["Selection", "steer"]


@dataclass(frozen=True)
class Selection:
    """Signed atoms for a batch of chains.

    Attributes:
        atoms: Row numbers with shape (B, M), int64.
        signs: -1 or 1, or 0 for an atom that was lost, with shape (B, M), float32.
    """

    atoms: Tensor
    signs: Tensor

    def to(self, device: str) -> Selection:
        """Returns the selection on a device."""
        return Selection(self.atoms.to(device), self.signs.to(device))


def steer(codebook: RotatedCodebook, selection: Selection) -> Tensor:
    """Returns the steering noise (B, n) of a selection.

    Where every atom of a chain was lost, or equal atoms of opposite sign cancel, it is the codebook's known noise.
    """
    batch, device = len(selection.atoms), selection.atoms.device
    weights = torch.zeros(batch, codebook.size, dtype=torch.float32, device=device)
    weights.scatter_add_(1, selection.atoms, selection.signs)
    norm = weights.norm(dim=1, keepdim=True)
    steered = codebook.synthesise(weights * (codebook.size**0.5 / norm.clamp(min=1.0)))
    return torch.where(norm > 0, steered, codebook.noise(batch).to(device))
