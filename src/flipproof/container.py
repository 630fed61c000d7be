"""The ``.flip`` container: magic, length, and a body of header and payload, each part with its own code.

    magic     4 bytes f7 46 4c 50
    length    3 bytes of file length and 5 of BCH parity, 7 flips repaired
    body      a block of 43 bytes and 73 of BCH parity, 64 flips repaired, then a stream:
                 more such blocks while the header lasts, then the payload as its plan has it

The blocks hold the header, then the first bytes of the payload:

    4 bits    format version, which says what ladder the codes of tiers are from
    1 bit     whether the body is interleaved
    3 bits    number of tiers
    8 bits    number of header bytes, up to and including the checksum
    8 bits    for each tier: its code on 3 bits, its end less 1 on 5
    ...       fields of the codec
    16 bits   CRC-16 of all bytes before it

An interleaved body has the bits of its first block at even distances, and all others permuted in between. Every other
length follows from the header.
"""

from __future__ import annotations

import binascii
from bisect import bisect_right
from dataclasses import dataclass, field, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from flipproof.alignment import Body, Slip, locate, slips
from flipproof.errors import DecodeError, HeaderError, NotFlipError, RateError, SpecError
from flipproof.protection.bch import BCH
from flipproof.protection.blocks import Recovered, protect, recover
from flipproof.protection.interleave import deinterleave, interleave
from flipproof.protection.ladder import HEADER, LADDERS
from flipproof.protection.plan import Plan, Tier
from flipproof.received import File, Received, hard, with_gaps

__all__ = [
    "HEADER_OVERHEAD",
    "MAGIC",
    "PREFIX",
    "Container",
    "header_blocks",
    "pack",
    "packed_size",
    "payload_room",
    "unpack",
]

MAGIC = b"\xf7FLP"
LENGTH_CODE = BCH(7, m=6)
HEADER_CODE, BLOCK_DATA = HEADER.code, HEADER.data
BLOCK_BITS = 8 * BLOCK_DATA + HEADER_CODE.parity_bits
PREFIX = len(MAGIC) + 3 + LENGTH_CODE.parity_bits // 8
"""Bytes before the body."""

_MAGIC_FLIPS = 7
_LONGEST = 2**24 - 1
_PROLOGUE, _CHECKSUM = 2, 2
HEADER_OVERHEAD = 8 * (_PROLOGUE + _CHECKSUM)
"""Bits of the header beside the tiers and the codec's fields."""


@dataclass(frozen=True, eq=False)
class Container:
    """An opened file.

    Attributes:
        fields: The codec's header fields.
        plan: The protection of its payload.
        repaired_bits: Flips put right in the magic, the length and the header.
        notes: What was odd about it.
        head: The blocks of the header.
        stream: What follows them.
    """

    fields: bytes
    plan: Plan
    repaired_bits: int
    notes: tuple[str, ...]
    head: list[Recovered] = field(repr=False)
    stream: Body = field(repr=False)

    @property
    def safe(self) -> int:
        """Payload bytes that the blocks of the header hold."""
        return _safe(len(self.fields), self.plan)

    def payload(self, size: int) -> Recovered:
        """Returns a payload of a size in bytes, repaired; flips that the header shares with it are not counted."""
        parts, place = [replace(part, flips=0) for part in self.head], (len(self.head) - 1) * BLOCK_BITS
        for span in self.plan.spans(size, self.safe):
            body = self.stream.cut(place, 8 * span.coded)
            place += 8 * span.coded
            if span.code is None:
                parts.append(Recovered.bare(body.bits, body.llr))
            else:
                parts.append(recover(body.bits, body.llr, span.sizes, span.code))
        return Recovered.joined(parts).cut(8 * (len(self.head) * BLOCK_DATA - self.safe), 8 * size)


def header_blocks(fields: int, plan: Plan) -> int:
    """Returns the number of blocks that a header with so many bytes of fields takes."""
    return -(-_header_size(fields, plan) // BLOCK_DATA)


def packed_size(fields: int, payload: int, plan: Plan) -> int:
    """Returns the bytes of a file with so many bytes of fields and of payload."""
    blocks = header_blocks(fields, plan)
    return PREFIX + blocks * BLOCK_BITS // 8 + plan.coded_size(payload, _safe(fields, plan))


def payload_room(fields: int, size: int, plan: Plan) -> int:
    """Returns the most bytes of payload that a file of a size in bytes has room for; -1 if not even its header fits."""
    return bisect_right(range(size + 1), size, key=lambda payload: packed_size(fields, payload, plan)) - 1


def pack(fields: bytes, payload: bytes, plan: Plan) -> bytes:
    """Builds a file.

    Raises:
        RateError: The header needs more than 255 bytes, or an interleaved file more than 2^24 - 1.
    """
    size = _header_size(len(fields), plan)
    total = packed_size(len(fields), len(payload), plan)
    if size > 255 or (plan.interleaved and total > _LONGEST):
        raise RateError(
            f"expected at most 255 bytes of header and {_LONGEST} of an interleaved file, got {size}, {total}"
        )
    flags = plan.ladder.version << 4 | plan.interleaved << 3 | len(plan.tiers)
    tiers = bytes(tier.code << 5 | tier.end - 1 for tier in plan.tiers)
    content = bytes([flags, size]) + tiers + fields
    blocks, safe = header_blocks(len(fields), plan), _safe(len(fields), plan)
    head = (content + _crc(content) + payload[:safe]).ljust(blocks * BLOCK_DATA, b"\0")
    coded = protect(head, (BLOCK_DATA,) * blocks, HEADER_CODE)
    first, parts = coded[: BLOCK_BITS // 8], [coded[BLOCK_BITS // 8 :]]
    for span in plan.spans(len(payload), safe):
        data = payload[span.start : span.start + span.size]
        parts.append(protect(data, span.sizes, span.code) if span.code else data)
    length = (total if total <= _LONGEST else 0).to_bytes(3, "big")
    return MAGIC + protect(length, (3,), LENGTH_CODE) + _body(first, b"".join(parts), plan.interleaved)


def unpack(file: File) -> Container:
    """Opens a file, repairing its header.

    One that lost or gained a run of bytes is put back in place first; where the header is beyond repair, runs of equal
    bytes are taken for erased.

    Raises:
        NotFlipError: Neither magic nor header are those of a .flip file.
        HeaderError: The header is beyond repair, of an unknown version, or not all there.
    """
    try:
        return _unpack(file)
    except DecodeError:
        holed = None if isinstance(file, Received) else with_gaps(file)
        if holed is None:
            raise
    return _unpack(holed)


def _unpack(file: File) -> Container:
    data = hard(file)
    flips = (int.from_bytes(data[: len(MAGIC)], "big") ^ int.from_bytes(MAGIC, "big")).bit_count()
    familiar = len(data) >= len(MAGIC) and flips <= _MAGIC_FLIPS
    body, length = Body.of(file, PREFIX), _length(data) if familiar else None
    unknown = None
    for slip, interleaved in product(slips(len(body.bits) // 8, length and length - PREFIX), (False, True)):
        try:
            opened = _open(body, slip, interleaved)
        except HeaderError as error:
            unknown = unknown or error
        else:
            if opened is not None:
                return replace(opened, repaired_bits=opened.repaired_bits + (flips if familiar else 0))
    if unknown is not None:
        raise unknown
    if not familiar:
        raise NotFlipError(f"expected a .flip file, got {data[:4].hex(' ') or 'no bytes'} at the start")
    least = PREFIX + BLOCK_BITS // 8
    if len(data) < least:
        raise HeaderError(f"expected at least {least} bytes, got {len(data)}")
    raise HeaderError("the header has more damage than its code repairs")


def _open(body: Body, slip: Slip | None, interleaved: bool) -> Container | None:
    """Reads the header of a body in one of the two layouts; None if it cannot be.

    Raises:
        HeaderError: It is one, of an unknown version.
    """
    size = len(body.bits) if slip is None else 8 * slip.size
    if size < BLOCK_BITS:
        return None
    places = _places(size) if interleaved else np.arange(BLOCK_BITS)
    first = _block(body.sample(places, slip))
    if first.failed:
        return None
    flags = int(np.packbits(first.bits[:8])[0])
    version, layout = flags >> 4, flags >> 3 & 1
    if version not in LADDERS:
        raise HeaderError(f"expected format version {' or '.join(map(str, LADDERS))}, got {version}")
    if layout != interleaved:
        return None
    if slip is not None:
        slip = locate(body, slip, places, HEADER_CODE.encode(first.bits[None])[0])
        body = body.realigned(slip)
    return _read(first, _stream(body, places, interleaved), slip)


def _read(first: Recovered, stream: Body, slip: Slip | None) -> Container | None:
    """Reads a header; None if it does not match its checksum, or its tiers do not follow one another."""
    flags, size = np.packbits(first.bits[:16]).tolist()
    count = max(0, -(-size // BLOCK_DATA) - 1)
    head = [first, *(_block(stream.cut(index * BLOCK_BITS, BLOCK_BITS)) for index in range(count))]
    content = np.packbits(np.concatenate([part.bits for part in head])).tobytes()[:size]
    tiers, end = content[_PROLOGUE : _PROLOGUE + (flags & 7)], size - _CHECKSUM
    start = _PROLOGUE + len(tiers)
    if end < start or _crc(content[:end]) != content[end:]:
        return None
    try:
        plan = Plan(tuple(Tier(tier >> 5, (tier & 31) + 1) for tier in tiers), bool(flags & 8), LADDERS[flags >> 4])
    except SpecError:
        return None
    flips, notes = sum(part.flips for part in head), () if slip is None else (str(slip),)
    return Container(content[start:end], plan, flips, notes, head, stream)


def _block(body: Body) -> Recovered:
    return recover(body.bits, body.llr, (BLOCK_DATA,), HEADER_CODE)


def _stream(body: Body, places: NDArray[np.int64], interleaved: bool) -> Body:
    """Returns what follows the first block."""
    if not interleaved:
        return body.cut(BLOCK_BITS, len(body.bits) - BLOCK_BITS)
    others = np.ones(len(body.bits), bool)
    others[places] = False
    rest = body.take(others)
    return Body(deinterleave(rest.bits), None if rest.llr is None else deinterleave(rest.llr))


def _body(first: bytes, stream: bytes, interleaved: bool) -> bytes:
    if not interleaved:
        return first + stream
    size = 8 * (len(first) + len(stream))
    bits, others, places = np.empty(size, np.uint8), np.ones(size, bool), _places(size)
    others[places] = False
    bits[places] = np.unpackbits(np.frombuffer(first, np.uint8))
    bits[others] = interleave(np.unpackbits(np.frombuffer(stream, np.uint8)))
    return np.packbits(bits).tobytes()


def _places(size: int) -> NDArray[np.int64]:
    """Returns where the bits of the first block are in an interleaved body of so many bits."""
    return np.arange(BLOCK_BITS) * size // BLOCK_BITS


def _length(data: bytes) -> int | None:
    """Returns the length that a file says it has; None if it says nothing that can be read."""
    coded = np.unpackbits(np.frombuffer(data[len(MAGIC) : PREFIX], np.uint8))
    if len(coded) < 8 * (PREFIX - len(MAGIC)):
        return None
    found = recover(coded, None, (3,), LENGTH_CODE)
    length = int.from_bytes(np.packbits(found.bits).tobytes(), "big")
    return None if found.failed or length < PREFIX + BLOCK_BITS // 8 else length


def _header_size(fields: int, plan: Plan) -> int:
    return _PROLOGUE + len(plan.tiers) + fields + _CHECKSUM


def _safe(fields: int, plan: Plan) -> int:
    return header_blocks(fields, plan) * BLOCK_DATA - _header_size(fields, plan)


def _crc(content: bytes) -> bytes:
    return binascii.crc_hqx(content, 0).to_bytes(_CHECKSUM, "big")
