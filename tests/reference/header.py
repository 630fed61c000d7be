"""The header fields that all codecs have."""

from __future__ import annotations

from dataclasses import dataclass

from reference.bits import FieldReader
from reference.codebook import Codebook, Gaussian, Rotated
from reference.refusal import require

CODECS = ("tracks", "turbo-ddcm", "robust-turbo-ddcm", "hybrid-turbo-ddcm", "ddcm", "diffc", "robust-diffc", "trellis")


@dataclass(frozen=True)
class Space:
    """Channels, pixels per sample along a side, and deviation of a sample."""

    channels: int
    factor: int
    deviation: float


@dataclass(frozen=True)
class Header:
    """The common fields."""

    codec: str
    fingerprint: int
    height: int
    width: int
    space: Space
    gaussian: bool

    def shape(self, coarsest: int, grid: int) -> tuple[int, int, int]:
        """Channels, rows and columns of a grid."""
        block = self.space.factor * coarsest
        rows, columns = (-(-side // block) * coarsest // grid for side in (self.height, self.width))
        return self.space.channels, rows, columns

    def codebook(self, size: int, step: int) -> Codebook:
        return Gaussian(size, step) if self.gaussian else Rotated(size, step)

    @property
    def most_bits(self) -> int:
        """Most bits of a payload that the header gives the length of."""
        return 24 * self.height * self.width + 1280


def read_header(reader: FieldReader) -> Header:
    codec = reader.number(8)
    require(1 <= codec <= len(CODECS))
    fingerprint, height, width = reader.number(32), reader.number(14), reader.number(14)
    require(1 <= height * width <= 2**24)
    reader.number(16)  # the checksum tells of damage and changes no picture
    channels, factor, deviation = reader.number(5), 1 << reader.number(3), (0.5, 1.0)[reader.number(1)]
    require(channels >= 1)
    gaussian = reader.number(1) == 1
    return Header(CODECS[codec - 1], fingerprint, height, width, Space(channels, factor, deviation), gaussian)
