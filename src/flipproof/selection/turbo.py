"""Turbo-DDCM's selection: the M atoms of largest absolute inner product with the residual, each with its sign."""

from __future__ import annotations

from torch import Tensor

from flipproof.selection.base import Selection

__all__ = ["select_turbo"]


def select_turbo(products: Tensor, atoms: int, count: int) -> Selection:
    """Takes the best ``count`` of the first ``atoms`` atoms.

    Arguments:
        products: Inner products (1, n) of the residual with all n atoms.
        atoms: Codebook size K, at most n.
        count: Atoms M to take, at most K.
    """
    best = products[:, :atoms].abs().topk(count).indices
    return Selection(best, products.gather(1, best).sign())
