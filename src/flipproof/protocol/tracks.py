r"""Tracks: each track's index and sign side by side, on :math:`\log_2 B + 1` bits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from flipproof.bits import BitArray, pack_numbers, unpack_numbers
from flipproof.protocol.base import PlainProtocol
from flipproof.selection.base import Selection

__all__ = ["TracksProtocol"]


@dataclass(frozen=True)
class TracksProtocol(PlainProtocol):
    """Tracks one by one: index within the track, then sign (1 is negative); every value is legal.

    Attributes:
        tracks: Number M of tracks.
        index_bits: Bits of an index; a track has ``2**index_bits`` atoms.
    """

    tracks: int
    index_bits: int

    @property
    def atoms(self) -> int:
        """Codebook size: all atoms of all tracks."""
        return self.tracks << self.index_bits

    @property
    def bits(self) -> int:
        """Length of a step in bits."""
        return self.tracks * (self.index_bits + 1)

    @property
    def sign_bits(self) -> int:
        """One for every track."""
        return self.tracks

    def write(self, selection: Selection) -> BitArray:  # noqa: D102 (protocol)
        rows = (selection.atoms[0] // self.tracks).cpu().numpy()
        negative = (selection.signs[0] < 0).cpu().numpy()
        return pack_numbers(rows << 1 | negative, self.index_bits + 1).ravel()

    def read(self, bits: BitArray, known: NDArray[np.bool_]) -> Selection:  # noqa: D102 (protocol)
        words = unpack_numbers(bits.reshape(len(bits), self.tracks, self.index_bits + 1))
        whole = known.reshape(self.tracks, self.index_bits + 1).all(axis=1)
        signs = (1.0 - 2.0 * (words & 1)) * whole
        atoms = (words >> 1) * self.tracks + np.arange(self.tracks)
        return Selection(torch.from_numpy(atoms), torch.from_numpy(signs.astype(np.float32)))

    def doubt(self, steering: Selection, reliability: NDArray[np.float32]) -> Selection:
        r"""Weighs every atom with its posterior mean, but for other atoms, all of which are about as likely.

        Where bit :math:`j` of a track is right with probability :math:`p_j = 1 / (1 + e^{-|\ell_j|})`, and :math:`p_0`
        is that of the sign, the weight is :math:`(2 p_0 - 1) \prod_{j > 0} p_j`.
        """
        right = 1 / (1 + np.exp(-reliability.reshape(len(reliability), self.tracks, self.index_bits + 1)))
        weights = (2 * right[..., -1] - 1) * right[..., :-1].prod(axis=-1)
        return Selection(steering.atoms, steering.signs * torch.from_numpy(weights.astype(np.float32)))
