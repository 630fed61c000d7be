"""The entropy coder and the file of learned codecs."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from flipproof.errors import DecodeError, FlipproofError, ImageError, SpecError
from flipproof.learned.entropy import MOST_TOTAL, Tables
from flipproof.learned.envelope import Envelope
from flipproof.seeds import generator

MAGIC = b"FPZZ"
LADDER = np.exp(np.linspace(np.log(0.11), np.log(256), 64))
"""The 64 scales of CompressAI."""
GAUSSIAN = Tables.gaussian(LADDER)
SKEWED = Tables((np.array([1, 60000, 5]), np.array([3, 1]), np.array([9] * 40)), (-(2**31), 2**31 - 1, 100))
INT32 = st.integers(-(2**31), 2**31 - 1)


def drawn(count: int, index: int = 0) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Gaussian symbols of random scales, and their rows."""
    rng = generator(test="entropy", index=index)
    rows = rng.integers(0, len(LADDER), count)
    return np.rint(rng.normal(size=count) * LADDER[rows]).astype(np.int32), rows


def bits_of(symbols: NDArray[np.int32], rows: NDArray[np.int64]) -> float:
    """The ideal code length under the Gaussians themselves."""
    stats = pytest.importorskip("scipy.stats")
    low = (np.abs(symbols) - 0.5) / LADDER[rows]
    high = (np.abs(symbols) + 0.5) / LADDER[rows]
    return float(-np.log2(stats.norm.cdf(-low) - stats.norm.cdf(-high)).sum())


@given(st.lists(st.tuples(INT32 | st.integers(-9, 9), st.integers(0, 63)), max_size=60))
def test_any_symbols_come_back(pairs: list[tuple[int, int]]) -> None:
    symbols, rows = np.array([p[0] for p in pairs], np.int32), np.array([p[1] for p in pairs], np.int64)
    assert (GAUSSIAN.decode(GAUSSIAN.encode(symbols, rows), rows) == symbols).all()


@given(st.lists(st.tuples(INT32 | st.integers(90, 150), st.integers(0, 2)), max_size=60))
def test_any_symbols_come_back_under_tables_at_the_limits(pairs: list[tuple[int, int]]) -> None:
    symbols, rows = np.array([p[0] for p in pairs], np.int32), np.array([p[1] for p in pairs], np.int64)
    assert (SKEWED.decode(SKEWED.encode(symbols, rows), rows) == symbols).all()


@settings(max_examples=200)
@given(st.binary(max_size=200), st.integers(0, 300), st.sampled_from([GAUSSIAN, SKEWED]), st.integers(0, 9))
def test_any_bytes_decode(data: bytes, count: int, tables: Tables, index: int) -> None:
    rows = generator(test="rows", index=index).integers(0, len(tables.offsets), count)
    symbols = tables.decode(data, rows)
    assert (symbols.shape, symbols.dtype) == ((count,), np.int32)


def test_hostile_bytes_that_escape_everywhere_stay_in_range() -> None:
    rows = np.ones(200, np.int64)
    extremes = np.resize(np.array([-(2**31), 2**31 - 2], np.int32), 200)
    data = SKEWED.encode(extremes, rows)
    for place in range(0, len(data), 7):
        damaged = bytearray(data)
        damaged[place] ^= 255
        assert len(SKEWED.decode(bytes(damaged), rows)) == 200


def test_missing_bytes_decode_to_likely_values() -> None:
    symbols, rows = drawn(3000)
    data = GAUSSIAN.encode(symbols, rows)
    part = GAUSSIAN.decode(data[: len(data) // 2], rows)
    early = rows < 20
    assert (part[early] == symbols[early]).all()
    assert (np.abs(GAUSSIAN.decode(b"", rows)) <= 1 + LADDER[rows] / 8).all()


def test_rate_is_the_ideal_code_length() -> None:
    symbols, rows = drawn(100_000)
    assert 8 * len(GAUSSIAN.encode(symbols, rows)) == pytest.approx(bits_of(symbols, rows), rel=2e-3)


@pytest.mark.parametrize("row", [0, 20, 40, 63])
def test_rate_of_one_scale_is_the_ideal_code_length(row: int) -> None:
    rng = generator(test="one scale", row=row)
    symbols = np.rint(rng.normal(size=40_000) * LADDER[row]).astype(np.int32)
    rows = np.full(len(symbols), row)
    assert 8 * len(GAUSSIAN.encode(symbols, rows)) == pytest.approx(bits_of(symbols, rows), rel=0.01, abs=64)


def test_tables_and_bytes_are_the_same_everywhere() -> None:
    digest = hashlib.sha256(b"".join(row.astype(">i8").tobytes() for row in GAUSSIAN.frequencies))
    assert digest.hexdigest() == "8ec2894d542b71ddb0377e0a04f907515ccf79247dbf85582e99e2b9dc102192"
    symbols, rows = drawn(2000)
    symbols[::100] *= 1000
    digest = hashlib.sha256(GAUSSIAN.encode(symbols, rows))
    assert digest.hexdigest() == "14a343a8d5b7877577ada7c644df5be676a128a4327e6fa082a3b28c6658d1f2"


def test_no_frequency_is_near_a_tie() -> None:
    """An error of many ulps in the C library's erfc changes no table of the usual scales."""
    special = pytest.importorskip("scipy.special")
    for scale in LADDER:
        k = np.arange(1, 8 * scale)
        masses = MOST_TOTAL * (special.ndtr((0.5 - k) / scale) - special.ndtr((-0.5 - k) / scale))
        assert (np.abs(masses % 1 - 0.5) > 1e-7).all()


def test_rows_of_quantised_distribution_functions() -> None:
    tables = Tables.from_cdfs(np.array([[0, 9, 65535, 65536], [0, 65535, 65536, 0]]), [4, 3], [-1, 7])
    assert [row.tolist() for row in tables.frequencies] == [[9, 65526, 1], [65535, 1]]
    symbols, rows = np.array([-1, 7, 0, 8, -2], np.int32), np.array([0, 1, 0, 1, 0])
    assert (tables.decode(tables.encode(symbols, rows), rows) == symbols).all()


@pytest.mark.parametrize(
    ("cdfs", "lengths", "offsets"),
    [
        ([[0, 9, 65536]], [4], [0]),
        ([[0, 9, 65536]], [2], [0]),
        ([[1, 9, 65536]], [3], [0]),
        ([[0, 9, 9]], [3], [0]),
        ([[0, 9, 65536]], [3], [2**31]),
        ([[0, 9, 2**24 + 1]], [3], [0]),
        ([[0.0, 9.0, 65536.0]], [3], [0]),
        ([[0, 9, 65536]], [3], [0, 0]),
    ],
)
def test_bad_distribution_functions_are_refused(cdfs: list[list[int]], lengths: list[int], offsets: list[int]) -> None:
    with pytest.raises(SpecError, match="expected"):
        Tables.from_cdfs(np.array(cdfs), lengths, offsets)


def test_misuse_is_refused() -> None:
    rows = np.zeros(2, np.int64)
    with pytest.raises(SpecError, match="expected int32 symbols"):
        GAUSSIAN.encode(np.zeros(3, np.int32), rows)
    with pytest.raises(SpecError, match="expected int32 symbols"):
        GAUSSIAN.encode(np.zeros(2, np.int64), rows)  # type: ignore[arg-type]
    for bad in (np.array([0, 64]), np.array([-1, 0])):
        with pytest.raises(SpecError, match="expected rows from 0 to 63"):
            GAUSSIAN.decode(b"", bad)
    for scale in (0.0, -1.0, float("nan"), 1e9):
        with pytest.raises(SpecError, match="expected scales"):
            Tables.gaussian([scale])
    with pytest.raises(SpecError, match="one per row"):
        Tables((np.array([1, 1]),), ())


@given(
    st.integers(1, 16383),
    st.integers(1, 1024),
    st.integers(0, 255),
    st.lists(st.binary(max_size=300), min_size=1, max_size=4),
)
def test_envelopes_come_back(height: int, width: int, level: int, streams: list[bytes]) -> None:
    envelope = Envelope(height, width, level, tuple(streams))
    data = envelope.pack(MAGIC)
    assert Envelope.unpack(data, MAGIC, len(streams)) == envelope
    assert len(data) <= 9 + sum(map(len, streams)) + 2 * (len(streams) - 1)


@given(st.binary(max_size=40) | st.binary(max_size=40).map(lambda tail: MAGIC + b"\0\1\0\1" + tail), st.integers(1, 4))
def test_any_bytes_are_an_envelope_or_an_error(data: bytes, streams: int) -> None:
    try:
        envelope = Envelope.unpack(data, MAGIC, streams)
    except DecodeError:
        return
    assert len(envelope.streams) == streams
    assert sum(map(len, envelope.streams)) < len(data)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "header of 9 bytes"),
        (b"FPZY\0\1\0\1\0", "expected the magic"),
        (b"FPZZ\0\0\0\1\0", "damaged header"),
        (b"FPZZ\xff\xff\xff\xff\0", "damaged header"),
        (b"FPZZ\0\1\0\1\0", "does not end"),
        (b"FPZZ\0\1\0\1\0\xff\xff\xff\xff\xff\x01", "does not end"),
        (b"FPZZ\0\1\0\1\0\x03ab", "expected a stream of 3 bytes, got 2"),
    ],
)
def test_damaged_envelopes_say_what_is_wrong(data: bytes, reason: str) -> None:
    with pytest.raises(DecodeError, match=reason):
        Envelope.unpack(data, MAGIC, 2)


@pytest.mark.parametrize(
    ("envelope", "magic", "error"),
    [
        (Envelope(0, 1, 0, (b"",)), MAGIC, ImageError),
        (Envelope(1, 1, 256, (b"",)), MAGIC, SpecError),
        (Envelope(1, 1, 0, ()), MAGIC, SpecError),
        (Envelope(1, 1, 0, (b"",)), b"FP", SpecError),
    ],
)
def test_impossible_envelopes_are_refused(envelope: Envelope, magic: bytes, error: type[FlipproofError]) -> None:
    with pytest.raises(error):
        envelope.pack(magic)
