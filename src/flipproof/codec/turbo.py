r"""Turbo-DDCM (https://arxiv.org/abs/2511.06424) and Robust Turbo-DDCM (https://arxiv.org/abs/2604.05743).

Every coded step takes the M atoms of largest absolute inner product with the residual, each with its sign; the sum is
scaled to unit variance. Turbo-DDCM writes the indices of a step as one lexicographic rank, the robust variant writes
each alone, the hybrid the strongest few alone; nothing else differs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from flipproof.bits import BitReader, BitWriter
from flipproof.codebook.base import Codebook
from flipproof.codec.uniform import MOST_COUNT, UniformCodec
from flipproof.errors import HeaderError
from flipproof.protocol.base import SelectionProtocol
from flipproof.protocol.hybrid import HybridProtocol
from flipproof.protocol.independent import IndependentProtocol
from flipproof.protocol.lexicographic import LexicographicProtocol
from flipproof.schedule import turbo_timesteps
from flipproof.selection.base import Selection
from flipproof.selection.turbo import select_turbo

__all__ = ["HybridTurboDDCM", "RobustTurboDDCM", "TurboDDCM", "published_free_steps"]

FREE_FROM, FREE_TO = 0.01, 0.15
FREE_EDGES, FREE_EDGES_LARGE, FREE_LARGE = 70, 20, 768 * 768


def published_free_steps(bpp: float, pixels: int, steps: int) -> int:
    """Returns the number N of steps without bits that Turbo-DDCM takes.

    Of p edges, spaced evenly in the logarithm of the rate from 0.01 to 0.15 bits per pixel, both ends included, N is
    p - 1 less the number of those below the rate, from 0 to T - 2. There are 70 edges up to 768x768 pixels, 20 above.

    Arguments:
        bpp: Payload bits per pixel that the file would have with N = 0.
        pixels: Pixels of the picture.
        steps: Levels T.

    Example:
        >>> published_free_steps(29 * 1091 / 512**2, 512**2, 30)
        5
    """
    edges = FREE_EDGES if pixels <= FREE_LARGE else FREE_EDGES_LARGE
    place = (edges - 1) * math.log(bpp / FREE_FROM) / math.log(FREE_TO / FREE_FROM)
    return min(max(0, edges - 1 - max(0, math.ceil(place))), steps - 2)


@dataclass(frozen=True)
class TurboDDCM(UniformCodec):
    """Turbo-DDCM with lexicographic ranks.

    Attributes:
        free_steps: Last steps N without bits, at most T - 2; None follows the published rule. The other parameters are
            those of :class:`~flipproof.codec.uniform.UniformCodec` and :class:`~flipproof.codec.rcc.ChainCodec`.
    """

    name: ClassVar[str] = "turbo-ddcm"
    free_steps: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_parameters(
            ("free_steps", self.free_steps is None or 0 <= self.free_steps <= self.steps - 2, "from 0 to steps - 2"),
        )

    @staticmethod
    def timesteps(steps: int) -> tuple[int, ...]:
        """Returns T of the 162 timesteps of Turbo-DDCM."""
        return turbo_timesteps(steps)

    def free_for(self, count: int, pixels: int) -> int:  # noqa: D102 (inherited)
        if self.free_steps is not None:
            return self.free_steps
        return published_free_steps((self.steps - 1) * self.protocol(count).bits / pixels, pixels, self.steps)

    def protocol(self, count: int) -> SelectionProtocol:  # noqa: D102 (inherited)
        return LexicographicProtocol(self.atoms, count)

    def select(self, codebook: Codebook, residual: Tensor, count: int) -> Selection:  # noqa: D102 (inherited)
        return select_turbo(codebook.analyse(residual), count)

    @classmethod
    def read_protocol(cls, reader: BitReader, atoms: int, count: int) -> SelectionProtocol:  # noqa: D102 (inherited)
        return LexicographicProtocol(atoms, count)


@dataclass(frozen=True)
class RobustTurboDDCM(TurboDDCM):
    """Turbo-DDCM with every index on its own."""

    name: ClassVar[str] = "robust-turbo-ddcm"

    def protocol(self, count: int) -> SelectionProtocol:  # noqa: D102 (inherited)
        return IndependentProtocol(self.atoms, count)

    @classmethod
    def read_protocol(cls, reader: BitReader, atoms: int, count: int) -> SelectionProtocol:  # noqa: D102 (inherited)
        return IndependentProtocol(atoms, count)


@dataclass(frozen=True)
class HybridTurboDDCM(TurboDDCM):
    """Turbo-DDCM with the strongest indices on their own and one rank for the others.

    Attributes:
        alone: Indices B on their own, 0 to 4096; cut to M. The other parameters are those of :class:`TurboDDCM`.
    """

    name: ClassVar[str] = "hybrid-turbo-ddcm"
    alone: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_parameters(("alone", 0 <= self.alone <= MOST_COUNT, f"from 0 to {MOST_COUNT}"))

    def protocol(self, count: int) -> SelectionProtocol:  # noqa: D102 (inherited)
        return HybridProtocol(self.atoms, count, min(self.alone, count))

    @classmethod
    def read_protocol(cls, reader: BitReader, atoms: int, count: int) -> SelectionProtocol:  # noqa: D102 (inherited)
        alone = reader.read("atoms alone B", 13)
        if alone > count:
            raise HeaderError(f"expected at most {count} atoms alone, got {alone}")
        return HybridProtocol(atoms, count, alone)

    def protocol_fields(self, writer: BitWriter, count: int) -> None:  # noqa: D102 (inherited)
        writer.write("atoms alone B", min(self.alone, count), 13)
