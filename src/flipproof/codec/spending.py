r"""How the bits of a step buy progress along a chain.

A step that moves a chain from noise :math:`\sigma_t` to :math:`\sigma_s` asks for a steering noise :math:`z` whose
inner product with the residual satisfies

.. math:: \frac{\langle z, r \rangle^2}{|r|^2} = G
    = \beta |r|^2 \left( \frac{1}{\sigma_s^2} - \frac{1}{\sigma_t^2} \right).

:math:`\beta < 1` lets the chain run a little ahead of what it has paid for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from flipproof.bits import BitArray
from flipproof.codebook.base import Codebook
from flipproof.protocol.base import SelectionProtocol
from flipproof.protocol.tracks import TracksProtocol
from flipproof.protocol.trellis import TrellisProtocol
from flipproof.selection.base import Steering
from flipproof.selection.tracks import capture, select_tracks, track_bits
from flipproof.selection.trellis import select_trellis

__all__ = ["Spending", "TrackSpending", "TrellisSpending"]


class Spending(Protocol):
    """What one unit of a budget is, a track or a bit, and what it buys."""

    @property
    def scale(self) -> float:
        """The factor beta."""

    @property
    def field_bits(self) -> int:
        """Header bits of the budget of the last step."""

    def most(self, size: int) -> int:
        """Returns the largest budget of a step of so many samples."""

    def protocol(self, size: int, amount: int) -> SelectionProtocol:
        """Returns how a step of ``size`` samples writes a budget, at most :meth:`most`."""

    def amount(self, size: int, gain: float) -> float:
        """Returns the budget that captures G."""

    def gain(self, size: int, amount: int) -> float:
        """Returns the G that a budget captures."""

    def select(
        self,
        codebook: Codebook,
        residual: Tensor,
        protocol: Any,  # noqa: ANN401 (each takes what its own `protocol` returns)
    ) -> tuple[BitArray, Steering]:
        """Returns the bits that steer one chain along its residual (1, n), and what a decoder makes of them."""


@dataclass(frozen=True)
class TrackSpending:
    r"""Tracks of at most :math:`B = 2^\text{longest}` signed atoms: :math:`G = M c_B^2` for M tracks.

    Attributes:
        longest: Index bits of the longest tracks, 0 to 15.
        scale: The factor beta.
    """

    longest: int
    scale: float = 0.8
    field_bits: int = 22

    def most(self, size: int) -> int:  # noqa: D102 (protocol)
        return min(size, (1 << self.field_bits) - 1)

    def protocol(self, size: int, amount: int) -> TracksProtocol:  # noqa: D102 (protocol)
        return TracksProtocol(amount, track_bits(size, amount, self.longest))

    def amount(self, size: int, gain: float) -> float:  # noqa: D102 (protocol)
        bits = self.longest
        for _ in range(3):
            tracks = gain / capture(bits) ** 2
            bits = track_bits(size, max(1, math.ceil(tracks)), self.longest)
        return tracks

    def gain(self, size: int, amount: int) -> float:  # noqa: D102 (protocol)
        return amount * capture(track_bits(size, amount, self.longest)) ** 2

    def select(  # noqa: D102 (protocol)
        self, codebook: Codebook, residual: Tensor, protocol: TracksProtocol
    ) -> tuple[BitArray, Steering]:
        selection = select_tracks(codebook.analyse(residual), protocol.tracks, protocol.index_bits)
        return protocol.write(selection), selection


@dataclass(frozen=True)
class TrellisSpending:
    r"""A trellis: :math:`G = \eta\, n \left(1 - 2^{-2 T / n}\right)` for T bits.

    That is the rate-distortion bound of white samples but for the factor :math:`\eta`, about 0.9.

    Attributes:
        window: Bits of a window, 2 to 15.
        scale: The factor beta.
    """

    window: int
    scale: float = 0.9
    field_bits: int = 26

    @property
    def efficiency(self) -> float:
        """The factor eta, which grows with the window."""
        return 1 - 1 / self.window

    def most(self, size: int) -> int:  # noqa: D102 (protocol)
        return max(1, min(size // 2, (1 << self.field_bits) - 1))

    def protocol(self, size: int, amount: int) -> TrellisProtocol:  # noqa: D102 (protocol)
        return TrellisProtocol(size, amount, self.window)

    def amount(self, size: int, gain: float) -> float:  # noqa: D102 (protocol)
        share = min(0.5, gain / (size * self.efficiency))
        return -size / 2 * math.log2(1 - share)

    def gain(self, size: int, amount: int) -> float:  # noqa: D102 (protocol)
        return size * self.efficiency * (1 - 4 ** (-amount / size))

    def select(  # noqa: D102 (protocol)
        self, codebook: Codebook, residual: Tensor, protocol: TrellisProtocol
    ) -> tuple[BitArray, Steering]:
        bits = select_trellis(codebook.analyse(residual)[0], protocol.blocks)
        steering = protocol.read(bits[None], np.ones(len(bits), np.bool_))
        return bits, steering.to(str(residual.device))
