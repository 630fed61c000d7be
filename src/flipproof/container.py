"""The ``.flip`` container: magic, protected part, rest.

    magic       4 bytes f7 46 4c 50, accepted with up to 7 of its 32 bits flipped
    protected   blocks of 34 bytes, the last one may be shorter, each followed by 30 bytes of BCH parity:
                   4 bits    format version
                   4 bits    zero
                   16 bits   number of protected bytes, these included, at least 34
                   8 bits    number of header bytes, up to and including the checksum
                   ...       fields of the codec
                   16 bits   CRC-16 of all bytes before it
                   ...       the first bytes of the payload
    rest        the other bytes of the payload

Every other length follows from the header.
"""

from __future__ import annotations

import binascii
from dataclasses import dataclass

from flipproof.errors import HeaderError, NotFlipError, RateError
from flipproof.protection.bch import BLOCK_DATA, BLOCK_PARITY, protect, protected_size, recover

__all__ = ["FORMAT_VERSION", "HEADER_OVERHEAD", "MAGIC", "Container", "pack", "packed_size", "safe_prefix", "unpack"]

MAGIC = b"\xf7FLP"
FORMAT_VERSION = 2

_MAGIC_FLIPS = 7
MAX_PROTECTED = 2**16 - 1
_PROLOGUE, _CHECKSUM = 4, 2
HEADER_OVERHEAD = 8 * (_PROLOGUE + _CHECKSUM)
"""Bits of the header beside the codec's fields."""


@dataclass(frozen=True)
class Container:
    """An opened file.

    Attributes:
        fields: The codec's header fields.
        safe: The protected first bytes of the payload.
        rest: The bytes after the protected part.
        safe_arrived: How many bytes of ``safe`` came in; the others are zero.
        repaired_bits: Flips put right in magic and protected part.
        failed_blocks: Blocks of the payload beyond repair.
    """

    fields: bytes
    safe: bytes
    rest: bytes
    safe_arrived: int
    repaired_bits: int
    failed_blocks: int


def packed_size(fields: int, safe: int, rest: int) -> int:
    """Returns the bytes of a file with so many bytes of fields, protected payload and other payload."""
    return len(MAGIC) + protected_size(max(BLOCK_DATA, _PROLOGUE + fields + _CHECKSUM + safe)) + rest


def safe_prefix(fields: int, length: int) -> int:
    """Returns how many bytes of protected payload the first ``length`` bytes of a file hold; negative in its header."""
    header = _PROLOGUE + fields + _CHECKSUM
    return _arrived(length - len(MAGIC), MAX_PROTECTED) - header


def pack(fields: bytes, safe: bytes, rest: bytes) -> bytes:
    """Builds a file.

    Raises:
        RateError: The fields need more than 247 bytes, or there are more than 2^16 - 1 protected bytes.
    """
    header = _PROLOGUE + len(fields) + _CHECKSUM
    total = max(BLOCK_DATA, header + len(safe))
    if header > 255 or total > MAX_PROTECTED:
        limits = f"at most 255 bytes of header and {MAX_PROTECTED} protected ones"
        raise RateError(f"expected {limits}, got {header} and {total}")
    content = bytes([FORMAT_VERSION << 4, total >> 8, total & 255, header]) + fields
    protected = content + _crc(content) + safe
    return MAGIC + protect(protected.ljust(total, b"\0")) + rest


def unpack(data: bytes) -> Container:
    """Opens a file, repairing its protected part.

    Raises:
        NotFlipError: The magic is too far off.
        HeaderError: The file ends within the header, or the header is beyond repair or of an unknown version.
    """
    flips = (int.from_bytes(data[: len(MAGIC)], "big") ^ int.from_bytes(MAGIC, "big")).bit_count()
    if len(data) < len(MAGIC) or flips > _MAGIC_FLIPS:
        raise NotFlipError(f"expected a .flip file, got {data[:4].hex(' ') or 'no bytes'} at the start")
    coded = data[len(MAGIC) :]
    if len(coded) < BLOCK_DATA + BLOCK_PARITY:
        raise HeaderError(f"expected at least {BLOCK_DATA + BLOCK_PARITY} bytes of header, got {len(coded)}")
    first = recover(coded[: BLOCK_DATA + BLOCK_PARITY], BLOCK_DATA)
    if first.failed_blocks:
        raise HeaderError("the header has more flipped bits than its code repairs")
    version, total, header = first.data[0] >> 4, int.from_bytes(first.data[1:3], "big"), first.data[3]
    if version != FORMAT_VERSION:
        raise HeaderError(f"expected format version {FORMAT_VERSION}, got {version}")
    if not (_PROLOGUE + _CHECKSUM <= header <= total and total >= BLOCK_DATA):
        raise HeaderError("the header claims impossible lengths")
    size = protected_size(total)
    part = recover(coded[:size].ljust(size, b"\0"), total)
    fields, checksum = part.data[: header - _CHECKSUM], part.data[header - _CHECKSUM : header]
    if _crc(fields) != checksum:
        raise HeaderError("the header does not match its checksum")
    return Container(
        fields=fields[_PROLOGUE:],
        safe=part.data[header:],
        rest=coded[size:],
        safe_arrived=_arrived(min(len(coded), size), total) - header,
        repaired_bits=flips + part.repaired_bits,
        failed_blocks=part.failed_blocks,
    )


def _crc(content: bytes) -> bytes:
    return binascii.crc_hqx(content, 0).to_bytes(_CHECKSUM, "big")


def _arrived(coded: int, total: int) -> int:
    """Returns how many of ``total`` protected bytes lie in the first ``coded`` bytes of their blocks."""
    blocks, rest = divmod(coded, BLOCK_DATA + BLOCK_PARITY)
    return min(total, blocks * BLOCK_DATA + min(rest, BLOCK_DATA))
