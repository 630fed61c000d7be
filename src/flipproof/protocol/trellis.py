"""Trellis: one bit for every block, in order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from flipproof.bits import BitArray
from flipproof.protocol.base import PlainProtocol
from flipproof.selection.trellis import Blocks, TrellisSteering, windows

__all__ = ["TrellisProtocol"]


@dataclass(frozen=True)
class TrellisProtocol(PlainProtocol):
    """The bits of a trellis as they are; every value is legal.

    Attributes:
        samples: Samples n of the step.
        bits: Bits T of the step, at most n.
        window: Bits L of a window.
    """

    samples: int
    bits: int
    window: int

    @property
    def blocks(self) -> Blocks:
        """How the samples are cut."""
        return Blocks(self.samples, self.bits, self.window)

    @property
    def atoms(self) -> int:
        """Codebook size: a full rotation."""
        return self.samples

    @property
    def sign_bits(self) -> int:
        """None: every bit helps to name codewords."""
        return 0

    def write(self, selection: TrellisSteering) -> BitArray:
        """Returns the bits (T,): the lowest of every window."""
        return (selection.chosen[0].cpu().numpy() & 1).astype(np.uint8)

    def read(self, bits: BitArray, known: NDArray[np.bool_]) -> TrellisSteering:  # noqa: D102 (protocol)
        whole = windows((~known).astype(np.uint8)[None], self.window) == 0
        weights = torch.from_numpy(np.broadcast_to(whole, bits.shape).astype(np.float32))
        return TrellisSteering(self.blocks, torch.from_numpy(windows(bits, self.window)), weights)

    def doubt(self, steering: TrellisSteering, reliability: NDArray[np.float32]) -> TrellisSteering:
        r"""Weighs every codeword with the probability that its window is right.

        Bits :math:`j` are right with probability :math:`1 / (1 + e^{-|\ell_j|})` each; the other codewords, all about
        as likely, cancel on average.
        """
        right = 1 / (1 + np.exp(-reliability))
        weight = right.copy()
        for j in range(1, self.window):
            weight *= np.roll(right, j, axis=-1)
        weights = steering.weights * torch.from_numpy(weight.astype(np.float32))
        return TrellisSteering(steering.blocks, steering.chosen, weights)
