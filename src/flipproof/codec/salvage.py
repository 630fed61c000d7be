"""What to give a decoder in the place of a damaged file: other files, the most hopeful first.

What is cut off the end becomes zeros, as far as the lengths in the file say. Decoders that refuse a short file take one
of the right length, and most entropy decoders read zeros past the end anyway: then a picture comes out that is right up
to about the cut. In JPEG 2000 zeros even say "an empty packet". Where a decoder gives up over something in the middle,
what comes before that may still make a picture, if a coarser one.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from itertools import islice

__all__ = ["MOST_PADDING", "SALVAGE", "leading_packets", "leading_scans", "pad_boxes", "pad_chunks", "pad_codestream"]

MOST_PADDING = 2**22
"""Bytes; a length that asks for more is taken for damaged."""

_MOST_SCANS = 16
_SHARES = (7 / 8, 3 / 4, 1 / 2, 1 / 4, 1 / 8)
_SCAN, _IMAGE_END = re.compile(rb"\xff\xda"), b"\xff\xd9"
_START, _TILE_PART, _END = b"\xff\x4f\xff\x51", b"\xff\x90", b"\xff\xd9"


def leading_scans(data: bytes) -> Iterator[bytes]:
    """Yields a JPEG file, then the same without its last scan, its last two, and so on."""
    yield data
    starts = [match.start() for match in _SCAN.finditer(data)]
    yield from (data[:start] + _IMAGE_END for start in islice(reversed(starts[1:]), _MOST_SCANS))


def leading_packets(data: bytes) -> Iterator[bytes]:
    """Yields a JPEG 2000 file of its full length, then the same with ever more zeros in the place of its end."""
    whole = pad_codestream(data)
    yield whole
    for share in _SHARES:
        kept = round(share * len(whole))
        yield whole[:kept] + bytes(len(whole) - kept)


def pad_chunks(data: bytes) -> bytes:
    r"""Pads a RIFF file (WebP) to the length in its first chunk header.

    Example:
        >>> pad_chunks(b"RIFF\6\0\0\0WEBP")
        b'RIFF\x06\x00\x00\x00WEBP\x00\x00'
    """
    return _padded(data, 8 + int.from_bytes(data[4:8], "little"))


def pad_boxes(data: bytes) -> bytes:
    """Pads a file of ISO base media boxes (AVIF, HEIC) to the end of its last box."""
    position = 0
    while position + 8 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        if length < 8:  # to the end of the file, or longer than 32 bits can say
            return data
        position += length
    return _padded(data, position)


def pad_codestream(data: bytes) -> bytes:
    """Pads a JPEG 2000 codestream, or the first in a file of boxes, to the end of its last tile-part."""
    start = data.find(_START)
    position = -1 if start < 0 else _first_tile_part(data, start + 2)
    if position < 0:
        return data
    while data[position : position + 2] == _TILE_PART and position + 12 <= len(data):
        length = struct.unpack_from(">I", data, position + 6)[0]
        if length < 12:
            break
        position += length
    return data if position < len(data) else _padded(data, position) + _END


def _first_tile_part(data: bytes, position: int) -> int:
    """Returns where the main header ends, -1 where it does not."""
    while position + 4 <= len(data) and data[position] == 0xFF:
        if data[position : position + 2] == _TILE_PART:
            return position
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return -1


def _padded(data: bytes, length: int) -> bytes:
    missing = length - len(data)
    return data + bytes(missing) if 0 < missing <= MOST_PADDING else data


def _padded_chunks(data: bytes) -> Iterator[bytes]:
    yield pad_chunks(data)


def _padded_boxes(data: bytes) -> Iterator[bytes]:
    yield pad_boxes(data)


SALVAGE = {"JPEG": leading_scans, "JPEG2000": leading_packets, "WEBP": _padded_chunks, "AVIF": _padded_boxes}
"""What to try by Pillow's names of formats."""
