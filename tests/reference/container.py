"""The parts of a file: magic, length, header, payload with its protection."""

from __future__ import annotations

import binascii
from dataclasses import dataclass

import numpy as np

from reference.bits import Bits
from reference.blockcode import BlockCode
from reference.blocks import HEADER, block_bits, data_of, repaired, tier_blocks
from reference.interleaver import places_of_first, rest
from reference.refusal import NoPictureError
from reference.slip import Slip, coarse, exact

MAGIC = bytes.fromhex("f7464c50")
LENGTH = BlockCode(6, 7)
BEFORE_BODY = 12
FIRST = block_bits(HEADER[1], HEADER[0])
"""Bits of a block of the header."""
CODED = 8 * HEADER[1] + HEADER[0].degree
"""Those of them that are no padding."""


@dataclass(frozen=True)
class Container:
    """An opened file: version, header fields, codes and ends of tiers, payload bits beside the header, what follows."""

    version: int
    fields: bytes
    tiers: list[tuple[int, int]]
    held: Bits
    stream: Bits

    def payload(self, size: int) -> Bits:
        """The payload, of so many bytes."""
        payload, place = self.held.cut(0, min(len(self.held), 8 * size)), 0
        start = len(payload) // 8
        for number, end in self.tiers:
            stop = max(start, -(-size * end // 32))
            blocks = list(tier_blocks(self.version, number, stop - start))
            coded = sum(block_bits(count, code) for count, code in blocks)
            payload = payload.then(data_of(self.stream.cut(place, coded), blocks))
            start, place = stop, place + coded
        return payload.then(self.stream.cut(place, 8 * (size - start)))


def open_container(data: bytes) -> Container:
    body = Bits.of(data[BEFORE_BODY:])
    slips: list[Slip | None] = [None, *coarse(len(body) // 8, sent_size(data) or len(body) // 8)]
    for slip in slips:
        for interleaved in (False, True):
            found = _opened(body, slip, interleaved)
            if found is not None:
                return found
    raise NoPictureError


def sent_size(data: bytes) -> int | None:
    """Bytes of the body as sent, if the file tells."""
    magic = int.from_bytes(data[:4], "big") ^ int.from_bytes(MAGIC, "big")
    if len(data) < BEFORE_BODY or magic.bit_count() > 7:
        return None
    block = Bits.of(data[4:BEFORE_BODY])
    found = LENGTH.corrected(block.values[: 24 + LENGTH.degree])
    size = 0 if found is None else int.from_bytes(np.packbits(found[:24]).tobytes(), "big") - BEFORE_BODY
    return size if 8 * size >= FIRST else None


def _opened(body: Bits, slip: Slip | None, interleaved: bool) -> Container | None:
    """Reads a body of one of the two layouts; None if it is not."""
    sent = body if slip is None else slip.undone(body)
    if len(sent) < FIRST:
        return None
    code, _ = HEADER
    places = places_of_first(len(sent), FIRST, interleaved)
    first = sent.at(places[:CODED])
    word = code.repair(first.values, first.known)
    if word is None:
        return None
    flags = int(np.packbits(word[:8])[0])
    if flags >> 4 not in (3, 4) or flags >> 3 & 1 != interleaved:
        return None
    if slip is not None:
        padded = np.pad(word, (0, FIRST - CODED))
        sent = exact(body, slip, places, padded).undone(body)
    data = Bits(word[: 8 * HEADER[1]], np.ones(8 * HEADER[1], bool))
    return _read(data, rest(sent, places, interleaved))


def _read(first: Bits, stream: Bits) -> Container | None:
    """Reads a header, given its first block and what follows; None if its checksum does not match."""
    code, most = HEADER
    flags, size = first.to_bytes()[:2]
    more = max(0, -(-size // most) - 1)
    for index in range(more):
        first = first.then(repaired(stream.cut(index * FIRST, FIRST), code))
    content, count = first.to_bytes(), flags & 7
    end = size - 2
    if end < 2 + count or binascii.crc_hqx(content[:end], 0) != int.from_bytes(content[end:size], "big"):
        return None
    tiers = [(byte >> 5, (byte & 31) + 1) for byte in content[2 : 2 + count]]
    if [end for _, end in tiers] != sorted({end for _, end in tiers}):
        return None
    held = first.cut(8 * size, len(first) - 8 * size)
    return Container(
        flags >> 4, content[2 + count : end], tiers, held, stream.cut(more * FIRST, len(stream) - more * FIRST)
    )
