"""The BCH code of the protected part."""

from __future__ import annotations

import bchlib

GENERATOR = 0x49278F514ACE4070C4BF7B0612B930CFF4A9617CF61E1FBF1680D59AC25
DEGREE = 234
DATA, PARITY = 34, 30
"""Bytes of a whole block."""


def parity(data: bytes) -> int:
    """The remainder of d x^234 by g."""
    remainder = int.from_bytes(data, "big") << DEGREE
    while remainder.bit_length() > DEGREE:
        remainder ^= GENERATOR << (remainder.bit_length() - DEGREE - 1)
    return remainder


def repair(data: bytes, stored: bytes) -> tuple[bytes, bool]:
    """Returns the data of a block and whether it is a word of the code now; if not, the data as it came."""
    if int.from_bytes(stored, "big") >> 6 == parity(data):
        return data, True
    code = bchlib.BCH(28, m=9)
    repaired, parity_bytes = bytearray(data), bytearray(stored + b"\0\0")
    if code.decode(data=repaired, recv_ecc=parity_bytes) < 0:
        return data, False
    code.correct(data=repaired, ecc=parity_bytes)
    assert int.from_bytes(parity_bytes[:PARITY], "big") >> 6 == parity(repaired)
    return bytes(repaired), True
