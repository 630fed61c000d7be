"""The syntax of HEVC bitstreams: Exp-Golomb numbers and network abstraction layer (NAL) units.

An unsigned Exp-Golomb number v is written as n zeros and then v + 1 in its n + 1 bits (H.265, 9.2). A NAL unit is two
bytes of header and a payload, in which 00 00 must not be followed by a byte below 4: there, a byte 03 goes between
(H.265, 7.3.1). In a byte stream (H.265, annex B) units follow start codes 00 00 01.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from flipproof.bits import BitReader, BitWriter
from flipproof.errors import HeaderError

__all__ = ["START_CODE", "SyntaxReader", "SyntaxWriter", "Unit", "split_units"]

START_CODE = b"\0\0\0\1"
_START = re.compile(rb"\x00{2,}\x01")
_MOST_ZEROS = 31


class SyntaxWriter(BitWriter):
    """Collects syntax elements.

    Example:
        >>> writer = SyntaxWriter()
        >>> writer.write_ue("size", 4)
        >>> writer.finish().hex()
        '2c'
    """

    def write_ue(self, name: str, value: int) -> None:
        """Appends an unsigned Exp-Golomb number."""
        self.write(name, value + 1, 2 * (value + 1).bit_length() - 1)

    def finish(self) -> bytes:
        """Returns the payload of a NAL unit: the bits, a 1, and zeros up to the next byte."""
        self.write("stop", 1, 1)
        return self.getvalue()


class SyntaxReader(BitReader):
    """Reads syntax elements.

    Example:
        >>> SyntaxReader(bytes.fromhex("2c")).read_ue("size")
        4
    """

    def flag(self, name: str) -> bool:
        """Reads one bit.

        Raises:
            HeaderError: None is left.
        """
        return bool(self.read(name, 1))

    def read_ue(self, name: str) -> int:
        """Reads an unsigned Exp-Golomb number.

        Raises:
            HeaderError: The bits end within it, or it has more than 32 bits.
        """
        zeros = 0
        while not self.read(name, 1):
            zeros += 1
            if zeros > _MOST_ZEROS:
                raise HeaderError(f"expected {name} of at most 32 bits, got more")
        return (1 << zeros | self.read(name, zeros)) - 1


@dataclass(frozen=True)
class Unit:
    """A NAL unit.

    Attributes:
        data: Its bytes, without start code.
    """

    data: bytes

    @classmethod
    def wrap(cls, kind: int, payload: bytes) -> Unit:
        """Makes a unit of a payload."""
        return cls(bytes([kind << 1, 1]) + re.sub(rb"\x00\x00(?=[\x00-\x03])", b"\0\0\3", payload))

    @property
    def kind(self) -> int:
        """The ``nal_unit_type``."""
        return self.data[0] >> 1 & 63

    @property
    def layer(self) -> int:
        """The ``nuh_layer_id``."""
        return (self.data[0] & 1) << 5 | self.data[1] >> 3

    @property
    def starts_picture(self) -> bool:
        """Whether this is the first slice segment of a picture."""
        return self.is_slice and self.data[2:3] >= b"\x80"

    @property
    def is_slice(self) -> bool:
        """Whether this is a slice segment."""
        return self.kind <= 9 or 16 <= self.kind <= 21

    @property
    def payload(self) -> bytes:
        """What the unit holds, without the bytes 03 between."""
        return self.data[2:].replace(b"\0\0\3", b"\0\0")

    def on_base_layer(self) -> Unit:
        """Returns the same unit with layer 0."""
        return Unit(bytes([self.data[0] & 0xFE, self.data[1] & 7]) + self.data[2:])


def split_units(stream: bytes) -> list[Unit]:
    """Splits a byte stream at its start codes; whatever is too short for a unit is left out.

    Example:
        >>> [unit.kind for unit in split_units(bytes.fromhex("000001 4401c1 00000001 2801af"))]
        [34, 20]
    """
    return [Unit(data) for data in _START.split(stream) if len(data) > 2]
