from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flipproof.container import MAGIC, pack, packed_size, unpack
from flipproof.errors import HeaderError, NotFlipError, RateError
from flipproof.protection.bch import BLOCK_DATA, BLOCK_PARITY, protect, protected_size, recover


def flipped(data: bytes, places: list[int]) -> bytes:
    array = bytearray(data)
    for place in places:
        array[place // 8] ^= 128 >> place % 8
    return bytes(array)


@given(st.binary(max_size=200), st.binary(max_size=300), st.binary(max_size=100))
def test_parts_come_back(fields, safe, rest):
    data = pack(fields, safe, rest)
    assert len(data) == packed_size(len(fields), len(safe), len(rest))
    opened = unpack(data)
    assert (opened.fields, opened.safe[: len(safe)], opened.rest) == (fields, safe, rest)
    assert (opened.repaired_bits, opened.failed_blocks) == (0, 0)


@settings(max_examples=50)
@given(st.data())
def test_28_flips_in_every_block_and_7_in_the_magic_are_repaired(data):
    file = pack(b"fields" * 9, b"safe" * 20, b"rest")
    block = 8 * (BLOCK_DATA + BLOCK_PARITY)
    coded = 8 * (len(file) - 4 - len(MAGIC))
    places = list(data.draw(st.sets(st.integers(0, 31), max_size=7)))
    for start in range(0, coded, block):
        end = min(start + block, coded) - 6  # the last 6 bits of a block are padding
        inside = st.sets(st.integers(32 + start, 32 + end - 1), max_size=28)
        places += sorted(data.draw(inside))
    opened = unpack(flipped(file, places))
    assert opened.fields == b"fields" * 9
    assert opened.safe == b"safe" * 20
    assert opened.repaired_bits == len(places)


def test_threads_do_not_mix_their_blocks():
    """Half of the files damaged within reach of the code, opened by four threads: all come back."""
    files = [(bytes([i]) * 100, pack(b"", bytes([i]) * 100, b"")) for i in range(200)]
    damaged = [(safe, flipped(file, list(range(40, 40 + 20 * (i % 2))))) for i, (safe, file) in enumerate(files)]
    with ThreadPoolExecutor(4) as pool:
        opened = list(pool.map(lambda pair: unpack(pair[1]).safe, damaged * 5))
    assert opened == [safe for safe, _ in damaged] * 5


def test_a_block_beyond_repair_keeps_its_raw_bits():
    coded = protect(bytes(range(40)))
    damaged = flipped(coded, list(range(0, 160, 2)))
    found = recover(damaged, 40)
    assert found.failed_blocks == 1
    assert found.data[:BLOCK_DATA] == damaged[:BLOCK_DATA]
    assert found.data[BLOCK_DATA:] == bytes(range(34, 40))


def test_protected_size_must_fit():
    with pytest.raises(ValueError, match=f"expected {protected_size(40)} protected bytes, got 7"):
        recover(bytes(7), 40)


@given(st.binary(max_size=400))
def test_any_bytes_open_or_raise(data):
    for file in (data, MAGIC + data):
        with suppress(NotFlipError, HeaderError):
            unpack(file)


@pytest.mark.parametrize(
    ("data", "error", "text"),
    [
        (b"", NotFlipError, "got no bytes"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), NotFlipError, "got 89 50 4e 47"),
        (b"\xff\xd8\xff\xe0" + bytes(100), NotFlipError, "expected a .flip file"),
        (MAGIC + bytes(10), HeaderError, "at least 64 bytes"),
        (MAGIC + bytes(64), HeaderError, "format version 2, got 0"),
        (MAGIC + b"\xaa" * 64, HeaderError, "more flipped bits"),
        (MAGIC + protect(b"\x20\xff\xff\x05" + bytes(30)), HeaderError, "impossible lengths"),
        (MAGIC + protect(b"\x20\xff\xff\x09" + bytes(30)), HeaderError, "checksum"),
        (MAGIC + protect(b"\x10\x00\x22\x09" + bytes(30)), HeaderError, "format version 2, got 1"),
    ],
)
def test_what_is_no_file_says_so(data, error, text):
    with pytest.raises(error, match=text):
        unpack(data)


def test_too_much_header_is_refused():
    with pytest.raises(RateError, match="expected at most 255 bytes of header"):
        pack(bytes(300), b"", b"")


@pytest.mark.slow
def test_headers_survive_a_bit_error_rate_of_one_in_a_hundred():
    """At 1e-2 magic and header of two blocks fail less than once in 10^9; 20,000 tries must see none."""
    file = np.unpackbits(np.frombuffer(pack(bytes(40), b"", b""), np.uint8))
    rng = np.random.default_rng(0)
    for _ in range(20000):
        unpack(np.packbits(file ^ (rng.random(len(file)) < 1e-2)).tobytes())
