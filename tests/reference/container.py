"""The parts of a file: magic, protected part, rest."""

from __future__ import annotations

import binascii
from dataclasses import dataclass

from reference.blockcode import DATA, PARITY, repair
from reference.refusal import require

MAGIC = bytes.fromhex("f7464c50")


@dataclass(frozen=True)
class Container:
    """An opened file: header fields, protected payload and how many bytes of that came, the other payload."""

    fields: bytes
    protected: bytes
    protected_arrived: int
    rest: bytes


def open_container(data: bytes) -> Container:
    require(len(data) >= len(MAGIC) and _distance(data[: len(MAGIC)], MAGIC) <= 7)
    body = data[len(MAGIC) :]
    require(len(body) >= DATA + PARITY)
    first, whole = repair(body[:DATA], body[DATA : DATA + PARITY])
    require(whole)
    version, length, header = first[0] >> 4, int.from_bytes(first[1:3], "big"), first[3]
    require(version == 2 and 6 <= header <= length and length >= DATA)
    size = length + PARITY * -(-length // DATA)
    content = _repaired(body[:size].ljust(size, b"\0"), length)
    require(binascii.crc_hqx(content[: header - 2], 0) == int.from_bytes(content[header - 2 : header], "big"))
    blocks, more = divmod(min(len(body), size), DATA + PARITY)
    arrived = min(length, DATA * blocks + min(more, DATA))
    return Container(content[4 : header - 2], content[header:], max(0, arrived - header), body[size:])


def _distance(a: bytes, b: bytes) -> int:
    return (int.from_bytes(a, "big") ^ int.from_bytes(b, "big")).bit_count()


def _repaired(coded: bytes, length: int) -> bytes:
    """The data bytes of all blocks."""
    content = b""
    while len(content) < length:
        here = min(DATA, length - len(content))
        content += repair(coded[:here], coded[here : here + PARITY])[0]
        coded = coded[here + PARITY :]
    return content
