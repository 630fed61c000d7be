r"""Tracks: the best signed atom of every one of M disjoint tracks of B atoms.

Track :math:`m` holds the atoms :math:`m, m + M, m + 2M, \dots`. A choice costs :math:`\log_2 B + 1` bits and shares
nothing with its neighbours: one flipped bit costs one atom. The idea is that of the interleaved single-pulse tracks
of ACELP speech coders.

The inner products of a residual :math:`r` with the atoms, in units of :math:`|r|`, are standard normal, so a track
captures :math:`c_B = \mathbb{E} \max_{i \le B} |g_i|`, and a step that should move the chain by

.. math:: \frac{|r|^2}{c_B^2} \left( \frac{1}{\sigma_s^2} - \frac{1}{\sigma_t^2} \right) = M

needs :math:`M` tracks.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor

from flipproof.selection.base import Selection, signs_of

__all__ = ["capture", "select_tracks", "track_bits"]


@cache
def capture(bits: int) -> float:
    r"""Returns :math:`c_B` for tracks of :math:`B = 2^{bits}` atoms.

    :math:`\mathbb{E} \max = \int_0^\infty 1 - \mathrm{erf}(g / \sqrt 2)^B \, dg`, by the trapezoidal rule.

    Example:
        >>> round(capture(0), 4), round(capture(8), 4)
        (0.7979, 3.0442)
    """
    g = np.linspace(0, 9, 9001)
    density = np.exp(-(g**2) / 2) * np.sqrt(2 / np.pi)
    erf = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2 * np.diff(g))])
    return float(np.trapezoid(1 - np.minimum(erf, 1) ** (2**bits), g))


def track_bits(size: int, tracks: int, most: int) -> int:
    """Returns the index bits of the longest tracks, at most ``2**most`` atoms each, that fit ``size`` atoms."""
    return max(0, min(most, (size // max(1, tracks)).bit_length() - 1))


def select_tracks(products: Tensor, tracks: int, bits: int) -> Selection:
    """Takes the atom of largest absolute inner product from every track.

    Arguments:
        products: Inner products (1, K) of the residual with all atoms.
        tracks: Number M of tracks, with ``tracks * 2**bits <= K``.
        bits: Index bits of a track.
    """
    table = products[0, : tracks << bits].view(1 << bits, tracks)
    rows = table.abs().argmax(dim=0)
    atoms = rows * tracks + torch.arange(tracks, device=rows.device)
    return Selection(atoms[None], signs_of(table.gather(0, rows[None])))
