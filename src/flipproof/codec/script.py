"""All that the header of a reverse-channel-coding file says: the chain, step by step.

The fields start with what every codec of the family has: its number, the fingerprint of the prior, the size of the
picture, a CRC-16 of the payload, the space of the prior, the kind of codebook. The codec's own follow.
"""

from __future__ import annotations

from dataclasses import dataclass

from flipproof import container
from flipproof.bits import BitReader, BitWriter
from flipproof.codebook.make import KINDS
from flipproof.errors import DecodeError, HeaderError, ImageError, SpecError
from flipproof.image import check_size
from flipproof.prior.base import DEVIATIONS, Space
from flipproof.protocol.base import SelectionProtocol
from flipproof.schedule import Level, Schedule

__all__ = ["COMMON_BITS", "WIRE_NAMES", "WIRE_NUMBERS", "Common", "Script", "Step", "read_common", "write_common"]

WIRE_NUMBERS = {
    "tracks": 1,
    "turbo-ddcm": 2,
    "robust-turbo-ddcm": 3,
    "hybrid-turbo-ddcm": 4,
    "ddcm": 5,
    "diffc": 6,
    "robust-diffc": 7,
    "trellis": 8,
}
WIRE_NAMES = {number: name for name, number in WIRE_NUMBERS.items()}
COMMON_BITS = 8 + 32 + 14 + 14 + 16 + 5 + 3 + 1 + 1
"""Header bits that all these codecs share."""
MOST_GAUSSIAN = 2**24
"""Longest Gaussian atom."""
MOST_DRAWN = 2**36
"""Most samples of Gaussian atoms, in units of payload bits times samples, that a header may ask a decoder to draw."""


@dataclass(frozen=True)
class Step:
    """One step of a chain.

    Attributes:
        level: Where it goes.
        growing: Whether only the detail band moves.
        protocol: How its selection is written. None for a step without bits: known noise where a chain starts, else
            deterministic.
    """

    level: Level
    growing: bool
    protocol: SelectionProtocol | None

    @property
    def bits(self) -> int:
        """Payload bits of the step."""
        return self.protocol.bits if self.protocol else 0


@dataclass(frozen=True)
class Common:
    """What the headers of all codecs of the family say.

    Attributes:
        height: Rows of the picture.
        width: Columns of the picture.
        space: Where the chain lives.
        codebook: Kind of codebook.
        checksum: CRC-16 of the payload.
        fingerprint: The prior the file was made with.
    """

    height: int
    width: int
    space: Space
    codebook: str
    checksum: int = 0
    fingerprint: int = 0

    def shape(self, coarsest: int) -> tuple[int, int]:
        """Returns rows and columns of the space, whole blocks of the coarsest grid, that cover the picture."""
        block = self.space.factor * coarsest
        return -(-self.height // block) * coarsest, -(-self.width // block) * coarsest

    def samples(self, coarsest: int, grid: int) -> int:
        """Returns the number of samples of a grid of a chain that starts on the coarsest."""
        rows, columns = self.shape(coarsest)
        return self.space.channels * (rows // grid) * (columns // grid)


@dataclass(frozen=True)
class Script:
    """A header understood.

    Attributes:
        common: What all codecs say.
        schedule: Proposes the levels.
        steps: The steps to take.
        stored: Payload bytes, without parity, where they do not follow from the steps.
    """

    common: Common
    schedule: Schedule
    steps: tuple[Step, ...]
    stored: int | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the chain's finest grid."""
        return self.common.shape(self.schedule.first.grid)

    @property
    def payload_size(self) -> int:
        """Payload bytes, without parity."""
        return -(-sum(step.bits for step in self.steps) // 8) if self.stored is None else self.stored

    @property
    def sign_bits(self) -> int:
        """Payload bits that are signs or coefficients of atoms; none where an entropy coder mixes all of them."""
        return sum(step.protocol.sign_bits for step in self.steps if step.protocol) if self.stored is None else 0

    @property
    def index_bits(self) -> int:
        """Payload bits that say which atoms are taken; those of an entropy coder fill whole bytes."""
        if self.stored is not None:
            return 8 * self.stored
        return sum(step.bits for step in self.steps) - self.sign_bits

    def check_work(self) -> None:
        """Checks that Gaussian atoms can be drawn in minutes.

        Raises:
            HeaderError: They cannot.
        """
        if self.common.codebook == "gaussian":
            coarsest = self.schedule.first.grid
            samples = [self.common.samples(coarsest, step.level.grid) for step in self.steps]
            drawn = sum(step.bits * size for step, size in zip(self.steps, samples, strict=True))
            if drawn > MOST_DRAWN or max(samples) > MOST_GAUSSIAN:
                raise HeaderError("more Gaussian atoms than can be drawn in minutes, or longer ones")


def write_common(name: str, common: Common) -> BitWriter:
    """Returns the first header fields of a file.

    Raises:
        SpecError: The codec has no number.
    """
    if name not in WIRE_NUMBERS:
        raise SpecError(f"expected a codec that files have a number for, {', '.join(WIRE_NUMBERS)}, got {name}")
    writer, space = BitWriter(), common.space
    writer.write("codec", WIRE_NUMBERS[name], 8)
    writer.write("prior", common.fingerprint, 32)
    writer.write("height", common.height, 14)
    writer.write("width", common.width, 14)
    writer.write("payload checksum", common.checksum, 16)
    writer.write("channels", space.channels, 5)
    writer.write("pixels per sample (log2)", space.factor.bit_length() - 1, 3)
    writer.write("deviation (0.5, 1)", DEVIATIONS.index(space.deviation), 1)
    writer.write("codebook (rotated, gaussian)", KINDS.index(common.codebook), 1)
    return writer


def read_common(name: str, file: container.Container) -> tuple[BitReader, Common]:
    """Reads what :func:`write_common` wrote.

    Returns:
        The reader, at the codec's own fields, and what the first ones say.

    Raises:
        DecodeError: It is a file of another codec.
        HeaderError: The fields make no sense.
    """
    reader = BitReader(file.fields)
    number = reader.read("codec", 8)
    if number != WIRE_NUMBERS[name]:
        raise DecodeError(f"expected a file of {name}, got one of {WIRE_NAMES.get(number, f'codec {number}')}")
    fingerprint = reader.read("prior", 32)
    height, width = reader.read("height", 14), reader.read("width", 14)
    try:
        check_size(height, width)
    except ImageError as error:
        raise HeaderError(str(error)) from error
    checksum = reader.read("payload checksum", 16)
    channels = reader.read("channels", 5)
    factor = 1 << reader.read("pixels per sample (log2)", 3)
    deviation = DEVIATIONS[reader.read("deviation (0.5, 1)", 1)]
    if not channels:
        raise HeaderError("expected at least one channel, got none")
    codebook = KINDS[reader.read("codebook (rotated, gaussian)", 1)]
    return reader, Common(height, width, Space(channels, factor, deviation), codebook, checksum, fingerprint)
