"""Turbo-DDCM's selection: the M atoms of largest absolute inner product with the residual, each with its sign."""

from __future__ import annotations

from torch import Tensor

from flipproof.selection.base import Selection, signs_of

__all__ = ["select_turbo"]


def select_turbo(products: Tensor, count: int) -> Selection:
    """Takes the best ``count`` atoms, best first.

    Arguments:
        products: Inner products (1, K) of the residual with all atoms.
        count: Atoms M to take, at most K.
    """
    best = products.abs().topk(count).indices
    return Selection(best, signs_of(products.gather(1, best)))
