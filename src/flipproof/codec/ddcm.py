r"""DDCM: denoising diffusion codebook models (https://arxiv.org/abs/2502.01189).

Every step but the first is coded by matching pursuit over K atoms: the atom of largest inner product with the residual,
then M - 1 more, each mixed in with one of :math:`2^C` convex coefficients. The payload has
:math:`(T - 1)(M \lceil \log_2 K \rceil + (M - 1) C)` bits; K is a power of two, so the :math:`\log_2 K` of the paper
is the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from flipproof.bits import BitReader, BitWriter
from flipproof.codebook.base import Codebook
from flipproof.codec.uniform import UniformCodec
from flipproof.protocol.base import SelectionProtocol
from flipproof.protocol.pursuit import PursuitProtocol
from flipproof.schedule import even_timesteps
from flipproof.selection.pursuit import Pursuit, select_pursuit

__all__ = ["DDCM"]


@dataclass(frozen=True)
class DDCM(UniformCodec):
    """DDCM with matching pursuit.

    Attributes:
        steps: Levels T, spread evenly over the 1000 timesteps.
        atoms: Codebook size K.
        coefficient_bits: Bits C of a coefficient, 1 to 8. The other parameters are those of
            :class:`~flipproof.codec.uniform.UniformCodec` and :class:`~flipproof.codec.rcc.ChainCodec`.
    """

    name: ClassVar[str] = "ddcm"
    steps: int = 1000
    atoms: int = 8192
    coefficient_bits: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_parameters(
            ("coefficient_bits", 1 <= self.coefficient_bits <= 8, "from 1 to 8"),
        )

    @staticmethod
    def timesteps(steps: int) -> tuple[int, ...]:
        """Returns T timesteps spread evenly over all."""
        return even_timesteps(steps)

    def free_for(self, count: int, pixels: int) -> int:  # noqa: D102 (inherited)
        return 0

    def protocol(self, count: int) -> SelectionProtocol:  # noqa: D102 (inherited)
        return PursuitProtocol(self.atoms, count, self.coefficient_bits)

    def analyses(self, count: int) -> int:  # noqa: D102 (inherited)
        return count

    def select(self, codebook: Codebook, residual: Tensor, count: int) -> Pursuit:  # noqa: D102 (inherited)
        return select_pursuit(codebook, residual, count, self.coefficient_bits)

    @classmethod
    def read_protocol(cls, reader: BitReader, atoms: int, count: int) -> SelectionProtocol:  # noqa: D102 (inherited)
        return PursuitProtocol(atoms, count, 1 + reader.read("coefficient bits C - 1", 3))

    def protocol_fields(self, writer: BitWriter, count: int) -> None:  # noqa: D102 (inherited)
        writer.write("coefficient bits C - 1", self.coefficient_bits - 1, 3)
