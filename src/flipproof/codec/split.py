"""How a file divides into header, indices, signs and parity."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Split"]


@dataclass(frozen=True, kw_only=True)
class Split:
    """The parts of a file, in bits; their sum is that of the file.

    Attributes:
        header: Magic, lengths, and whatever else says how to read the rest.
        indices: Which atoms are taken; in files without atoms, whatever carries the picture.
        signs: Signs and coefficients of atoms.
        parity: Of error-correcting codes, and the padding of their blocks.
    """

    header: int = 0
    indices: int = 0
    signs: int = 0
    parity: int = 0

    @property
    def total(self) -> int:
        """All bits.

        Example:
            >>> Split(header=8, indices=90, parity=30).total
            128
        """
        return self.header + self.indices + self.signs + self.parity
