from __future__ import annotations

import binascii
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from family import flip
from flipproof.alignment import SEARCHED, Slip, slips
from flipproof.channel.bsc import BinarySymmetricChannel
from flipproof.container import BLOCK_BITS, MAGIC, PREFIX, header_blocks, pack, packed_size, payload_room, unpack
from flipproof.errors import DecodeError, HeaderError, NotFlipError, RateError, SpecError
from flipproof.protection.blocks import protect
from flipproof.protection.ladder import BLOCKS, HEADER, LADDERS, LONG
from flipproof.protection.plan import UNPROTECTED, Plan, Tier
from flipproof.received import Received

UNEQUAL = Plan((Tier(7, 2), Tier(4, 20)), interleaved=True)
UNIFORM = Plan((Tier(4, 32),), interleaved=True)
SCATTERED = Plan((), interleaved=True)
LONG_TIERS = Plan((Tier(6, 7), Tier(3, 20)), interleaved=True, ladder=LONG)
PLANS = [UNPROTECTED, SCATTERED, UNIFORM, UNEQUAL, Plan((Tier(6, 7), Tier(0, 32))), LONG_TIERS]
each = pytest.mark.parametrize("plan", PLANS, ids=["none", "scattered", "uniform", "unequal", "plain-tiers", "long"])
FIELDS, PAYLOAD = bytes(range(20)), bytes(range(256)) * 2


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    ends = sorted(draw(st.sets(st.integers(1, 32), max_size=7)))
    tiers = tuple(Tier(draw(st.integers(0, 7)), end) for end in ends)
    return Plan(tiers, draw(st.booleans()), draw(st.sampled_from(list(LADDERS.values()))))


def sealed(content: bytes, tail: bytes = b"") -> bytes:
    """A plain file of one header block with any content."""
    return MAGIC + bytes(8) + protect(content.ljust(43, b"\0"), (43,), HEADER.code) + tail


def payload_of(file: bytes | Received, size: int) -> bytes:
    return np.packbits(unpack(file).payload(size).bits).tobytes()


def wrong(file: bytes | Received, payload: bytes) -> tuple[int, int]:
    """How many bits of a payload came out wrong though they are known, and how many are unknown."""
    found = unpack(file).payload(len(payload))
    differ = found.bits != np.unpackbits(np.frombuffer(payload, np.uint8))
    return int((differ & found.known).sum()), int((~found.known).sum())


def with_erased(file: bytes, places: np.ndarray, garbage: int = 0) -> Received:
    bits = np.unpackbits(np.frombuffer(file, np.uint8))
    llr = np.where(bits, -np.inf, np.inf).astype(np.float32)
    llr[places] = 0
    bits[places] = np.random.default_rng(garbage).integers(0, 2, len(places))
    return Received(np.packbits(bits).tobytes(), llr)


# What goes in comes out


@settings(max_examples=60)
@given(st.binary(max_size=240), st.binary(max_size=700), plans())
@example(b"", b"", UNPROTECTED)
@example(bytes(244), bytes(500), Plan(tuple(Tier(i, i + 1) for i in range(7)), True))
def test_parts_come_back(fields, payload, plan):
    data = pack(fields, payload, plan)
    assert len(data) == packed_size(len(fields), len(payload), plan)
    opened = unpack(data)
    found = opened.payload(len(payload))
    assert (opened.fields, opened.plan, opened.notes) == (fields, plan, ())
    assert np.packbits(found.bits).tobytes() == payload
    assert found.known.all()
    assert not (found.suspect | found.repaired).any()
    assert (opened.repaired_bits, found.flips, found.failed) == (0, 0, 0)


@settings(max_examples=60)
@given(st.integers(0, 240), st.integers(0, 5000), plans())
def test_a_payload_fills_the_room_there_is(fields, size, plan):
    room = payload_room(fields, size, plan)
    assert packed_size(fields, room + 1, plan) > size
    assert packed_size(fields, room, plan) <= size if room >= 0 else packed_size(fields, 0, plan) > size


@pytest.mark.parametrize(
    ("fields", "payload", "plan", "size"),
    [
        (0, 0, UNPROTECTED, 128),  # magic 4, length 8, block 116
        (39, 0, UNPROTECTED, 128),  # 2 + 39 + 2 bytes of header
        (40, 0, UNPROTECTED, 244),
        (38, 0, SCATTERED, 128),
        (20, 19, UNPROTECTED, 128),  # 19 bytes of payload beside the header
        (20, 20, UNPROTECTED, 129),
        (20, 119, UNIFORM, 128 + 101 + 25),  # 18 beside it, 101 in one block of t = 20
        (20, 122, UNIFORM, 128 + 104 + 50),
        (20, 320, UNEQUAL, 128 + 3 + 73 + 180 + 50 + 120),  # 17 beside it, to 20, to 200 in two blocks, to 320
    ],
)
def test_known_sizes(fields, payload, plan, size):
    assert packed_size(fields, payload, plan) == size
    assert len(pack(bytes(fields), bytes(payload), plan)) == size
    assert header_blocks(fields, plan) == (2 if size == 244 else 1)


def test_a_file_says_how_long_it_is():
    for size in (0, 300, 70000):
        data = pack(FIELDS, bytes(size), UNPROTECTED)
        assert int.from_bytes(data[4:7], "big") == len(data)
    assert pack(FIELDS, bytes(2**24), UNPROTECTED)[4:7] == bytes(3)


def test_too_much_is_refused():
    with pytest.raises(RateError, match="expected at most 255 bytes of header"):
        pack(bytes(252), b"", UNPROTECTED)
    with pytest.raises(RateError, match="and 16777215 of an interleaved file, got 24, 16777"):
        pack(bytes(20), bytes(2**24), SCATTERED)
    assert len(pack(bytes(251), b"", UNPROTECTED)) == packed_size(251, 0, UNPROTECTED)


def test_interleaving_scatters_the_first_block_evenly():
    """Of every stretch of the body a like share, to within a bit, belongs to the first block."""
    a, b = (np.unpackbits(np.frombuffer(pack(bytes([v]) * 30, PAYLOAD, SCATTERED), np.uint8)) for v in (0, 255))
    places = np.flatnonzero(a[8 * PREFIX :] != b[8 * PREFIX :])
    size = len(a) - 8 * PREFIX
    index = np.arange(BLOCK_BITS) * size // BLOCK_BITS
    assert set(places.tolist()) <= set(index.tolist())
    assert len(places) > 300


# Flips


@each
def test_every_single_flip_is_repaired(plan):
    """Of bits that are under a code; bare ones come out as they are."""
    payload = PAYLOAD[:120]
    file = pack(FIELDS, payload, plan)
    hit = 0
    for place in range(8 * len(file)):
        opened = unpack(flip(file, place))
        found = opened.payload(len(payload))
        assert (opened.fields, opened.plan, found.failed) == (FIELDS, plan, 0)
        errors = np.count_nonzero(np.packbits(found.bits) != np.frombuffer(payload, np.uint8))
        bare = max(0, len(payload) - max(opened.safe, *(-(-120 * tier.end // 32) for tier in plan.tiers), 0))
        assert errors <= 1
        hit += errors
    assert hit == 8 * bare


@settings(max_examples=30)
@given(st.data())
def test_t_flips_in_every_block_and_7_in_the_magic_are_repaired(data):
    """Of a plain file, where it is known which bits are whose; the last bits of some blocks are padding."""
    plan = Plan((Tier(7, 4), Tier(4, 32)))
    file, payload = pack(bytes(60), PAYLOAD, plan), PAYLOAD
    places = list(data.draw(st.sets(st.integers(0, 31), max_size=7)))
    start = 32
    blocks = [(3, 39, 5, 7), (43, 580, 73, 64), (43, 580, 73, 64)]
    safe = 2 * 43 - 66
    for span in plan.spans(len(payload), safe):
        code = span.code
        blocks += [(size, code.checks, code.parity_bits // 8, code.t) for size in span.sizes]
    for size, checks, parity, t in blocks:
        inside = st.lists(st.integers(start, start + 8 * size + checks - 1), min_size=t, max_size=t, unique=True)
        places += data.draw(inside)
        start += 8 * (size + parity)
    assert start == 8 * len(file)
    opened = unpack(flip(file, *places))
    found = opened.payload(len(payload))
    assert opened.fields == bytes(60)
    assert np.packbits(found.bits).tobytes() == payload
    assert found.failed == 0
    assert opened.repaired_bits + found.flips == len(places) - 7  # those of the length say nothing of the picture


def test_a_block_beyond_repair_keeps_its_bits_and_says_so():
    file = pack(FIELDS, PAYLOAD, Plan((Tier(0, 32),)))
    damaged = flip(file, *range(1100, 1300, 4))
    found = unpack(damaged).payload(len(PAYLOAD))
    differ = np.flatnonzero(found.bits != np.unpackbits(np.frombuffer(PAYLOAD, np.uint8)))
    assert found.failed == 1
    assert len(differ) == 50
    assert found.suspect[differ].all()
    assert found.suspect.sum() <= 8 * 117
    assert found.known.all()
    assert not found.repaired.any()


def test_a_magic_beyond_recognition_does_not_matter_where_the_header_is_whole():
    file = pack(FIELDS, PAYLOAD, UNEQUAL)
    opened = unpack(bytes(PREFIX) + file[PREFIX:])
    assert opened.fields == FIELDS
    assert payload_of(bytes(PREFIX) + file[PREFIX:], len(PAYLOAD)) == PAYLOAD


def test_a_wrong_length_does_not_matter_where_the_header_is_whole():
    for plan in PLANS:
        file = pack(FIELDS, PAYLOAD, plan)
        other = file[:4] + pack(FIELDS, bytes(999), plan)[4:PREFIX] + file[PREFIX:]
        assert payload_of(other, len(PAYLOAD)) == PAYLOAD


def test_threads_do_not_mix_their_blocks():
    """Half of the files damaged within reach of the code, opened by four threads: all come back."""
    files = [(bytes([i]) * 100, pack(b"", bytes([i]) * 100, UNIFORM)) for i in range(40)]
    damaged = [(payload, flip(file, *range(140, 140 + 20 * (i % 2)))) for i, (payload, file) in enumerate(files)]
    with ThreadPoolExecutor(4) as pool:
        opened = list(pool.map(lambda pair: payload_of(pair[1], 100), damaged * 3))
    assert opened == [payload for payload, _ in damaged] * 3


@pytest.mark.slow
def test_headers_survive_a_bit_error_rate_of_three_in_a_hundred():
    """At 3e-2 a block of 924 bits has more than 64 flips once in 2 * 10^10 tries; 5000 tries must see none."""
    rng = np.random.default_rng(0)
    for plan in (UNPROTECTED, UNEQUAL):
        file = np.unpackbits(np.frombuffer(pack(bytes(30), PAYLOAD, plan), np.uint8))
        for _ in range(2500):
            unpack(np.packbits(file ^ (rng.random(len(file)) < 3e-2)).tobytes())


# Erased bits, and bits that can be trusted more or less


@pytest.mark.parametrize("plan", [UNIFORM, Plan((Tier(7, 32),), True), Plan((Tier(0, 32),), True)], ids=str)
def test_erased_bits_are_found_again(plan):
    """A share well below that of the weakest code's checks, and none of the others is wrong."""
    file = pack(FIELDS, PAYLOAD, plan)
    code = BLOCKS.rungs[plan.tiers[0].code].code
    share = 0.6 * code.checks / (code.data_bits + code.checks)
    for seed in range(3):
        rng = np.random.default_rng(seed)
        places = np.flatnonzero(rng.random(8 * len(file)) < share)
        assert wrong(with_erased(file, places, seed), PAYLOAD) == (0, 0)


def test_a_block_solves_as_many_erased_bits_as_it_has_checks():
    """Up to all of them with luck: of r random columns the chance to be independent is 0.29, of r - 8 above 0.99."""
    file = pack(FIELDS, PAYLOAD[:99], Plan((Tier(4, 32),)))
    checks, start = 195, 8 * 128
    rng = np.random.default_rng(3)
    solved = {}
    for count in (checks - 8, checks, checks + 1):
        picks = [start + rng.permutation(8 * 80 + checks)[:count] for _ in range(12)]
        solved[count] = sum(wrong(with_erased(file, places), PAYLOAD[:99]) == (0, 0) for places in picks)
    assert solved[checks - 8] == 12
    assert solved[checks + 1] == 0
    assert solved[checks] < 12


def test_erased_bits_that_stay_lost_are_unknown_and_no_others():
    file = pack(FIELDS, PAYLOAD, UNPROTECTED)
    places = np.arange(8 * 200, 8 * 200 + 77)
    assert wrong(with_erased(file, places), PAYLOAD) == (0, 77)
    file = pack(FIELDS, PAYLOAD, Plan((Tier(0, 32),)))
    assert wrong(with_erased(file, np.arange(8 * 128, 8 * 128 + 300)), PAYLOAD) == (0, 300)


def test_a_header_of_which_half_is_erased_is_read():
    """Half of its bits: 462 of the 580 that its checks could solve."""
    for plan in (UNPROTECTED, UNEQUAL):
        file = pack(FIELDS, PAYLOAD, plan)
        places = np.flatnonzero(np.random.default_rng(0).random(8 * len(file)) < 0.5)
        assert unpack(with_erased(file, places)).fields == FIELDS


def test_reliabilities_repair_more_than_bits_alone():
    """Over Gaussian noise that flips 7 % of the bits, half of the headers are beyond hard decisions."""
    file = pack(FIELDS, PAYLOAD, UNEQUAL)
    bits = np.unpackbits(np.frombuffer(file, np.uint8))
    deviation, opened = 0.68, {"hard": 0, "soft": 0}
    for seed in range(20):
        signal = 1 - 2.0 * bits + deviation * np.random.default_rng(seed).standard_normal(len(bits))
        received = np.packbits(signal < 0).tobytes()
        soft = Received(received, (2 * signal / deviation**2).astype(np.float32))
        for kind, sent in (("hard", received), ("soft", soft)):
            with suppress(DecodeError):
                opened[kind] += unpack(sent).fields == FIELDS
    assert opened["hard"] <= 12
    assert opened["soft"] >= 16


# Files of another length


@pytest.mark.parametrize("plan", [UNPROTECTED, PLANS[4]], ids=["none", "tiers"])
def test_a_plain_file_that_ends_early_lacks_its_end(plan):
    file = pack(FIELDS, PAYLOAD, plan)
    for size in range(128, len(file), 7):
        bad, unknown = wrong(file[:size], PAYLOAD)
        assert bad == 0
        assert unknown <= 8 * (len(file) - size)
    assert wrong(file + b"more", PAYLOAD) == (0, 0)


@pytest.mark.parametrize("plan", [SCATTERED, UNIFORM, UNEQUAL], ids=["scattered", "uniform", "unequal"])
@pytest.mark.parametrize("run", [-40, -7, -1, 1, 13, 60])
def test_a_run_lost_or_inserted_anywhere_is_found(plan, run):
    """All but a few bytes beside the run come back, and what does not is unknown, not wrong."""
    file = pack(FIELDS, PAYLOAD, plan)
    strong = plan.tiers and plan.tiers[-1].end == 32
    rng = np.random.default_rng(abs(run))
    for place in [PREFIX, len(file) - max(0, -run), *rng.integers(PREFIX, len(file) - 60, 6)]:
        behind = file[place:] if run > 0 else file[place - run :]
        other = file[:place] + rng.bytes(max(0, run)) + behind
        bad, unknown = wrong(other, PAYLOAD)
        assert bad == 0
        assert unknown <= (0 if strong else 8 * (max(0, -run) + 12))
        assert len(unpack(other).notes) == 1
        assert f"{abs(run)} bytes {'inserted' if run > 0 else 'lost'}" in unpack(other).notes[0]


def test_a_run_is_found_in_spite_of_flips():
    file = pack(FIELDS, PAYLOAD, Plan((Tier(7, 32),), True))
    for seed in range(6):
        damaged = BinarySymmetricChannel(1e-2).corrupt(file, np.random.default_rng(seed))
        place = PREFIX + seed * 150
        assert wrong(damaged[:place] + damaged[place + 20 :], PAYLOAD) == (0, 0)


def test_a_lost_run_in_a_received_file_keeps_what_is_known_of_the_others():
    file = pack(FIELDS, PAYLOAD, UNIFORM)
    whole = with_erased(file, np.arange(3000, 3060))
    other = Received(whole.data[:200] + whole.data[215:], np.delete(whole.llr, np.s_[1600:1720]))
    assert wrong(other, PAYLOAD) == (0, 0)


def test_the_search_for_a_run_is_short_and_starts_at_the_end():
    assert list(slips(100, None)) == list(slips(100, 100)) == list(slips(100, 251)) == [None]
    found = list(slips(100, 110))
    assert len(found) == 1 + SEARCHED
    assert found[1] == Slip(110, 100, 110, -10)
    assert found[-1] == Slip(110, 0, 10, -10)
    assert list(slips(100, 90))[1] == Slip(90, 90, 90, 10)


# Bytes that nobody wrote


@given(st.binary(max_size=400))
def test_any_bytes_open_or_raise(data):
    for file in (data, MAGIC + data):
        with suppress(NotFlipError, HeaderError):
            unpack(file).payload(50)


@settings(max_examples=60)
@given(st.binary(max_size=43), st.binary(max_size=300), st.integers(0, 3000))
def test_any_header_opens_or_raises(content, tail, size):
    with suppress(HeaderError):
        found = unpack(sealed(bytes([0x30 | content[0] & 15 if content else 0x30]) + content[1:], tail)).payload(size)
        assert len(found.bits) == len(found.known) == 8 * size


@settings(max_examples=20)
@given(st.data(), plans())
def test_damaged_files_open_or_raise(data, plan):
    file = pack(FIELDS, PAYLOAD, plan)
    rate = data.draw(st.sampled_from([1e-3, 3e-2, 0.1, 0.5]))
    damaged = BinarySymmetricChannel(rate).corrupt(file, np.random.default_rng(data.draw(st.integers(0, 99))))
    place, run = data.draw(st.integers(0, len(file))), data.draw(st.integers(0, 300))
    other = damaged[:place] + data.draw(st.binary(max_size=40)) + damaged[place + run :]
    with suppress(NotFlipError, HeaderError):
        found = unpack(other).payload(len(PAYLOAD))
        assert len(found.bits) == 8 * len(PAYLOAD)


@pytest.mark.parametrize(
    ("data", "error", "text"),
    [
        (b"", NotFlipError, "got no bytes"),
        (b"\x89PNG\r\n\x1a\n" + bytes([5]) * 200, NotFlipError, "got 89 50 4e 47"),
        (b"\xff\xd8\xff\xe0" + bytes([5]) * 200, NotFlipError, "expected a .flip file"),
        (MAGIC + bytes(10), HeaderError, "at least 128 bytes, got 14"),
        (MAGIC + bytes(200), HeaderError, "format version 3 or 4, got 0"),
        (MAGIC + b"\xaa" * 200, HeaderError, "more damage than"),
        (sealed(b"\x20\x05"), HeaderError, "format version 3 or 4, got 2"),
        (sealed(b"\x50\x05"), HeaderError, "format version 3 or 4, got 5"),
        (sealed(b"\x30\x00"), HeaderError, "more damage"),
        (sealed(b"\x30\x03abc"), HeaderError, "more damage"),
        (sealed(b"\x30\xff"), HeaderError, "more damage"),
        (sealed(b"\x38\x04\0\0"), HeaderError, "more damage"),
    ],
)
def test_what_is_no_file_says_so(data, error, text):
    with pytest.raises(error, match=text):
        unpack(data)


@pytest.mark.parametrize("ends", [(8, 8), (9, 8), (1, 32, 31)])
def test_tiers_that_do_not_follow_one_another_are_refused(ends):
    content = bytes([0x30 | len(ends), 4 + len(ends), *(end - 1 for end in ends)])
    file = sealed(content + binascii.crc_hqx(content, 0).to_bytes(2, "big"))
    with pytest.raises(HeaderError):
        unpack(file)
    with pytest.raises(SpecError, match="ascending"):
        Plan(tuple(Tier(0, end) for end in ends))


def test_tiers_that_follow_one_another_open():
    content = bytes([0x32, 6, 3, 8])
    assert unpack(sealed(content + binascii.crc_hqx(content, 0).to_bytes(2, "big"))).plan == Plan(
        (Tier(0, 4), Tier(0, 9))
    )


def test_memory_is_bounded_by_the_file():
    """Of noise, of a file, and of one whose length says that it lost a third: a few arrays of its bits."""
    size = 10**5
    file = pack(FIELDS, bytes(size), SCATTERED)
    for data in (MAGIC + np.random.default_rng(0).bytes(size), file, file[: len(file) * 2 // 3]):
        tracemalloc.start()
        with suppress(HeaderError):
            unpack(data).payload(size)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 800 * len(data) + 10**7
