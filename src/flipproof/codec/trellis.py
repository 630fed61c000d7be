r"""The default codec: a chain steered by a trellis; see :mod:`flipproof.selection.trellis`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from flipproof.bits import BitReader
from flipproof.codec.grown import GrownCodec
from flipproof.codec.script import Common, Script
from flipproof.codec.spending import TrellisSpending
from flipproof.errors import HeaderError
from flipproof.selection.trellis import MOST_WINDOW

__all__ = ["TrellisCodec"]


@dataclass(frozen=True)
class TrellisCodec(GrownCodec):
    """A chain steered by a trellis.

    Attributes:
        window: Bits that name a codeword, 2 to 15: more save bits, fewer lose less per flip and are quicker to find.
            The other parameters are those of :class:`~flipproof.codec.grown.GrownCodec`; the codebook is rotated.
    """

    name: ClassVar[str] = "trellis"
    window: int = 11

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_parameters(
            ("window", 2 <= self.window <= MOST_WINDOW, f"from 2 to {MOST_WINDOW}"),
            ("codebook", self.codebook == "rotated", "rotated"),
        )

    @property
    def longest(self) -> int:  # noqa: D102 (inherited)
        return self.window

    @classmethod
    def spending(cls, longest: int) -> TrellisSpending:  # noqa: D102 (inherited)
        if longest < 2:
            raise HeaderError(f"expected a window of 2 to {MOST_WINDOW} bits, got {longest}")
        return TrellisSpending(longest)

    @classmethod
    def read_script(cls, reader: BitReader, common: Common) -> Script:  # noqa: D102 (inherited)
        if common.codebook != "rotated":
            raise HeaderError(f"expected a rotated codebook, got a {common.codebook} one")
        return super().read_script(reader, common)
