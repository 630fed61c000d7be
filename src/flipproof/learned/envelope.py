"""The file of a learned codec: a short header in front of entropy-coded streams, all of it unprotected.

==========  ==============================================================
bytes       meaning
==========  ==============================================================
4           magic of the codec
2 and 2     height and width in pixels, big-endian
1           level: what the codec says it is, such as its quality
1 to 5      length in bytes of each stream but the last, LEB128
the rest    the streams, one after the other; the last one ends the file
==========  ==============================================================

Nothing protects any of it, as nothing does in the files that the authors of such codecs write: a wrong bit in the
header costs the picture.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from flipproof.errors import DecodeError, ImageError, SpecError
from flipproof.image import check_size

__all__ = ["Envelope"]

_HEADER = struct.Struct(">4sHHB")
_MOST_LENGTH_BYTES = 5


@dataclass(frozen=True)
class Envelope:
    r"""What a file of a learned codec holds.

    Attributes:
        height: Of the picture, in pixels.
        width: Of the picture, in pixels.
        level: 0 to 255; its meaning is the codec's.
        streams: Entropy-coded data, one or more.

    Example:
        >>> data = Envelope(5, 7, 3, (b"ab", b"cde")).pack(b"FPXX")
        >>> data
        b'FPXX\x00\x05\x00\x07\x03\x02abcde'
        >>> Envelope.unpack(data, b"FPXX", streams=2)
        Envelope(height=5, width=7, level=3, streams=(b'ab', b'cde'))
    """

    height: int
    width: int
    level: int
    streams: tuple[bytes, ...]

    def pack(self, magic: bytes) -> bytes:
        """Returns the bytes of the file.

        Arguments:
            magic: Four bytes that say which codec this is.

        Raises:
            ImageError: The size is not between 1x1 and the limits of pictures.
            SpecError: The magic is not of four bytes, the level not one byte, or there is no stream.
        """
        check_size(self.height, self.width)
        _check(magic, len(self.streams))
        if not 0 <= self.level <= 255:
            raise SpecError(f"expected a level from 0 to 255, got {self.level}")
        lengths = b"".join(_leb128(len(stream)) for stream in self.streams[:-1])
        return _HEADER.pack(magic, self.height, self.width, self.level) + lengths + b"".join(self.streams)

    @classmethod
    def unpack(cls, data: bytes, magic: bytes, streams: int) -> Envelope:
        """Reads a file; any bytes whatever end in an envelope or an error.

        Arguments:
            data: The file.
            magic: The four bytes that it must start with.
            streams: How many streams it holds.

        Raises:
            DecodeError: Another magic, an impossible size, or a stream that is longer than the file.
            SpecError: The magic is not of four bytes, or the number of streams is not positive.
        """
        _check(magic, streams)
        if len(data) < _HEADER.size:
            raise DecodeError(f"expected a header of {_HEADER.size} bytes, got {len(data)}")
        found, height, width, level = _HEADER.unpack_from(data)
        if found != magic:
            raise DecodeError(f"expected the magic {magic!r}, got {found!r}")
        try:
            check_size(height, width)
        except ImageError as error:
            raise DecodeError(f"damaged header: {error}") from error
        place, parts = _HEADER.size, list[bytes]()
        lengths = list[int]()
        for _ in range(streams - 1):
            length, place = _read_leb128(data, place)
            lengths.append(length)
        for length in lengths:
            if length > len(data) - place:
                raise DecodeError(f"expected a stream of {length} bytes, got {len(data) - place}")
            parts.append(data[place : place + length])
            place += length
        return cls(height, width, level, (*parts, data[place:]))


def _check(magic: bytes, streams: int) -> None:
    if len(magic) != 4 or streams < 1:
        raise SpecError(f"expected a magic of 4 bytes and at least 1 stream, got {magic!r} and {streams}")


def _leb128(number: int) -> bytes:
    digits = bytearray()
    while number >> 7:
        digits.append(number & 127 | 128)
        number >>= 7
    digits.append(number)
    return bytes(digits)


def _read_leb128(data: bytes, place: int) -> tuple[int, int]:
    """Returns a number and the place behind it."""
    number = 0
    for shift, byte in enumerate(data[place : place + _MOST_LENGTH_BYTES]):
        number |= (byte & 127) << 7 * shift
        if byte < 128:
            return number, place + shift + 1
    raise DecodeError("damaged header: the length of a stream does not end")
