"""Linear algebra, blocks, plans, and the design of unequal protection; codes have their own file."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chances import likely, near
from flipproof.codec.tracks import TracksCodec
from flipproof.codec.turbo import TurboDDCM
from flipproof.container import packed_size
from flipproof.errors import SpecError
from flipproof.protection import design as designing
from flipproof.protection.bch import BCH
from flipproof.protection.blocks import Recovered, protect, recover, split_evenly
from flipproof.protection.design import check_protection, design, make_plan, price
from flipproof.protection.ladder import BLOCKS, LADDERS, LONG, BlockRung
from flipproof.protection.linear import MOST_ASIDE, solve, solve_erased, solve_sparse
from flipproof.protection.plan import PARTS, UNPROTECTED, Plan, Span, Tier


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    ends = sorted(draw(st.sets(st.integers(1, 32), max_size=7)))
    tiers = tuple(Tier(draw(st.integers(0, 7)), end) for end in ends)
    return Plan(tiers, draw(st.booleans()), draw(st.sampled_from(list(LADDERS.values()))))


# Erased bits from parity checks


@settings(max_examples=300)
@given(st.data())
def test_erased_bits_are_solved_for_where_they_are_determined(data):
    """Against all fillings of tiny blocks: the only one that meets every check, or nothing."""
    checks, length = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 9))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    matrix = rng.integers(0, 2, (checks, length), dtype=np.uint8)
    block = rng.integers(0, 2, length, dtype=np.uint8)
    erased = rng.permutation(length)[: data.draw(st.integers(0, length))]
    spare = data.draw(st.integers(0, 2))
    before = block.copy()
    found = solve_erased(matrix, block, erased, spare)
    fitting = []
    for filling in product((0, 1), repeat=len(erased)):
        word = block.copy()
        word[erased] = filling
        if not (matrix.astype(int) @ word % 2).any():
            fitting.append(word)
    assert (block == before).all()
    if len(fitting) == 1 and len(erased) + spare <= checks:
        assert found is not None
        assert (found == fitting[0]).all()
    else:
        assert found is None


@settings(max_examples=300)
@given(st.data())
def test_bits_are_solved_for_from_sums_of_a_few(data):
    """Against elimination of the whole system."""
    size, count = data.draw(st.integers(0, 30)), data.draw(st.integers(0, 40))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    columns = (rng.random((count, size)) < data.draw(st.floats(0, 0.5))).astype(np.uint8)
    sums = columns.astype(int) @ rng.integers(0, 2, size) % 2
    if data.draw(st.booleans()):
        sums[rng.random(count) < 0.1] ^= 1
    members = [np.flatnonzero(row).tolist() for row in columns]
    found, expected = solve_sparse(members, sums.astype(np.uint8), size), solve(columns, sums.astype(np.uint8))
    assert (found is None) == (expected is None)
    if expected is not None:
        assert (found == expected).all()


def test_no_more_bits_are_set_aside_than_can_be_found_in_time():
    size = 2 * MOST_ASIDE + 4
    rng = np.random.default_rng(0)
    members = [rng.choice(size, size // 2, replace=False).tolist() for _ in range(8)]
    assert solve_sparse(members, np.zeros(8, np.uint8), size) is None
    assert solve_sparse([list(range(size))], np.zeros(1, np.uint8), size) is None


# Blocks


@given(st.integers(0, 5000), st.integers(1, 200))
def test_bytes_are_split_evenly(size, most):
    parts = split_evenly(size, most)
    assert sum(parts) == size
    assert len(parts) == math.ceil(size / most)
    assert all(a >= b for a, b in pairwise(parts))
    if parts:
        assert parts[0] <= most
        assert parts[0] - parts[-1] <= 1


@settings(max_examples=40)
@given(st.binary(min_size=1, max_size=500), st.integers(0, 7), st.sampled_from([0, 1]), st.integers(0, 2**32))
def test_blocks_come_back_with_t_flips_each(data, rung, soft, seed):
    sizes, code = BLOCKS.rungs[rung].blocks(len(data))
    coded = np.unpackbits(np.frombuffer(protect(data, sizes, code), np.uint8))
    assert len(coded) == 8 * len(data) + len(sizes) * code.parity_bits
    rng, received, start, hit = np.random.default_rng(seed), coded.copy(), 0, 0
    for size in sizes:
        places = start + rng.permutation(8 * size + code.checks)[: code.t]
        received[places] ^= 1
        hit += np.count_nonzero(places < start + 8 * size)
        start += 8 * size + code.parity_bits
    found = recover(received, np.where(received, -9, 9).astype(np.float32) if soft else None, sizes, code)
    assert np.packbits(found.bits).tobytes() == data
    assert (found.flips, found.failed) == (code.t * len(sizes), 0)
    assert found.repaired.sum() == hit
    assert not found.suspect.any()
    assert np.isinf(found.reliability).all()
    assert found.known.all()


def test_a_block_beyond_repair_is_kept_apart():
    """Three blocks, the second hopeless and in part erased: its bits as they came, its reliabilities too."""
    code, sizes, data = BCH(8), (11, 10, 10), bytes(range(31))
    coded = np.unpackbits(np.frombuffer(protect(data, sizes, code), np.uint8))
    second = slice(11 * 8 + 80, 11 * 8 + 80 + 160)
    received = coded.copy()
    received[second] = np.random.default_rng(0).integers(0, 2, 160)
    llr = np.where(received, -3, 3).astype(np.float32)
    llr[second.start : second.start + 5] = 0
    found = recover(received, llr, sizes, code)
    inside = np.zeros(248, bool)
    inside[88:168] = True
    assert found.failed == 1
    assert (found.suspect == inside).all()
    assert (found.bits[inside] == received[second][:80]).all()
    assert np.packbits(found.bits[~inside]).tobytes() == data[:11] + data[21:]
    assert np.isinf(found.reliability[~inside]).all()
    assert (found.reliability[inside] == [0] * 5 + [3] * 75).all()
    assert (np.flatnonzero(~found.known) == np.arange(88, 93)).all()


def test_parts_are_joined_and_cut():
    bare = Recovered.bare(np.ones(5, np.uint8), np.array([1, -2, 0, np.inf, 4], np.float32))
    sure = Recovered.bare(np.zeros(3, np.uint8), None)
    joined = Recovered.joined([replace(bare, flips=2, failed=1), replace(sure, flips=3)])
    assert joined.bits.tolist() == [1] * 5 + [0] * 3
    assert joined.reliability.tolist() == [1, 2, 0, math.inf, 4] + [math.inf] * 3
    part = joined.cut(2, 4)
    assert part.bits.tolist() == [1, 1, 1, 0]
    assert part.known.tolist() == [False, True, True, True]
    assert (part.flips, part.failed) == (5, 1)


# Plans


@pytest.mark.parametrize("ladder", LADDERS.values(), ids=lambda ladder: f"version-{ladder.version}")
def test_ladders_climb(ladder):
    """Stronger codes cost more and leave fewer flips."""
    assert len(ladder.rungs) == 8
    for weak, strong in pairwise(ladder.rungs):
        assert weak.coded_size(5000) < strong.coded_size(5000)
        assert weak.residual(1000, 0.003) >= strong.residual(1000, 0.003)


def test_blocks_of_the_first_ladder_fit_1023_bits():
    for rung in BLOCKS.rungs:
        assert 8 * rung.data + rung.code.checks <= 1023


@given(st.sampled_from(LONG.rungs), st.integers(1, 20_000))
def test_long_blocks_are_as_long_as_may_be(rung, size):
    sizes, code = rung.blocks(size)
    assert len(sizes) == -(-size // 4096)
    assert code.data == sizes[0]
    assert code.parity == max(4, -(-sizes[0] * rung.parity // 64))


@settings(max_examples=200)
@given(plans(), st.integers(0, 4000), st.integers(0, 50))
def test_spans_cover_a_payload_once_and_in_order(plan, size, safe):
    spans = list(plan.spans(size, safe))
    place = min(safe, size)
    for span in spans:
        assert span.start == place
        assert span.size > 0
        tier = next((tier for tier in plan.tiers if span.start < -(-size * tier.end // PARTS)), None)
        assert span.rung == (plan.ladder.rungs[tier.code] if tier else None)
        if tier:
            assert (span.sizes, span.code) == span.rung.blocks(span.size)
            assert span.size <= -(-size * tier.end // PARTS) - span.start
            data = bytes(span.size)
            assert span.coded == len(protect(data, span.sizes, span.code))
        else:
            assert span.coded == span.size == span.sizes[0]
        place += span.size
    assert place == size
    assert plan.coded_size(size, safe) == sum(span.coded for span in spans)


# Unequal protection


def chance(bits: int, flips: int, ber: float) -> float:
    """That a block has so many flips."""
    return math.comb(bits, flips) * ber**flips * (1 - ber) ** (bits - flips)


@pytest.mark.parametrize(
    ("t", "bits", "ber"),
    [(8, 200, 0.03), (8, 1016, 0.004), (8, 1016, 0.012), (20, 1024, 0.03), (64, 928, 0.06), (64, 928, 0.3)],
)
def test_what_a_code_leaves_is_what_binomials_say(t, bits, ber):
    """Simulated blocks fail as often as said, and those that do have as many flips as said."""
    trials = 20000
    flips = np.random.default_rng(0).binomial(bits, ber, trials)
    failing = sum(chance(bits, flips, ber) for flips in range(t + 1, bits + 1))
    assert likely(int((flips > t).sum()), trials, min(1.0, failing))
    left = np.where(flips > t, flips, 0) / bits
    said = BlockRung(BCH(t), 1).residual(bits, ber)
    assert near(float(left.sum()), trials * said, float(left.std()) * math.sqrt(trials))
    assert said == pytest.approx(
        sum(chance(bits, flips, ber) * flips / bits for flips in range(t + 1, bits + 1)), rel=1e-9
    )


def test_the_decoder_leaves_what_is_said():
    """Blocks of random data through the real one: the share of those it gives up, with exact binomial limits."""
    rung, ber, trials = BLOCKS.rungs[0], 0.01, 300
    rng = np.random.default_rng(1)
    words = rung.code.encode(rng.integers(0, 2, (trials, 8 * rung.data), dtype=np.uint8))
    decoded = rung.code.decode(words ^ (rng.random(words.shape) < ber))
    wrong = (decoded.data != words[:, : 8 * rung.data]).any(axis=1) | decoded.failed
    bits = words.shape[1]
    failing = sum(chance(bits, flips, ber) for flips in range(rung.code.t + 1, bits + 1))
    assert likely(int(wrong.sum()), trials, failing)


@pytest.mark.parametrize("rung", LONG.rungs, ids=lambda rung: rung.title)
@pytest.mark.parametrize("size", [150, 900])
def test_long_codes_fail_about_where_they_are_said_to(rung, size):
    """A block in ten or less is said to be lost: no more than half are; nine in ten: half or more are.

    Not wrong by chance but with odds of 1e-5, if what is said holds.
    """
    (data,), code = rung.blocks(size)
    bits, rng = 8 * data + code.parity_bits, np.random.default_rng(size)
    rates = np.linspace(0, 2.5 * rung.bearable, 200)[1:]
    said = np.array([rung.residual(bits, rate) / rate for rate in rates])
    words = code.encode(rng.integers(0, 2, (16, 8 * data), dtype=np.uint8))
    for rate, expected in ((rates[said < 0.1][-1], False), (rates[said > 0.9][0], True)):
        lost = code.decode(words ^ (rng.random(words.shape) < rate)).failed.mean()
        assert lost >= 0.5 if expected else lost <= 0.5


def test_bare_bits_stay_wrong_and_no_errors_leave_none():
    assert Span(0, (12,)).residual(0.02) == 0.02
    for ladder in LADDERS.values():
        for rung in ladder.rungs:
            assert rung.residual(928, 0) == 0
    assert BLOCKS.rungs[-1].residual(928, 0.5) == pytest.approx(0.5)


def all_neighbours(plan: Plan) -> Iterator[Plan]:
    """Plans with another code, or none, for one thirty-second of a payload; bare parts come last."""
    codes = [next((tier.code for tier in plan.tiers if end <= tier.end), -1) for end in range(1, PARTS + 1)]
    for part, code in product(range(PARTS), range(-1, len(LONG.rungs))):
        changed = [*codes[:part], code, *codes[part + 1 :]]
        ends = [end for end in range(1, PARTS + 1) if end == PARTS or changed[end - 1] != changed[end]]
        tiers = [Tier(changed[end - 1], end) for end in ends if changed[end - 1] >= 0]
        bare = changed.index(-1) if -1 in changed else PARTS
        if all(later < 0 for later in changed[bare:]):
            yield Plan(tuple(tiers), plan.interleaved, LONG)


@pytest.mark.parametrize("codec", sorted(designing.DAMAGE))
@pytest.mark.parametrize("size", [100, 700, 3000])
@pytest.mark.parametrize(("ber", "gap"), [(1e-5, 0.01), (1e-3, 0.01), (0.01, 0.02), (0.03, 0.1)])
def test_no_change_of_one_part_gains_much(codec, ber, gap, size):
    """In decibels, over all codes for every thirty-second, in any order."""
    rates = {ber * factor: weight for factor, weight in designing.RANGE.items()}
    check_no_change_gains(design(codec, size, ber), gap, designing.DAMAGE[codec], rates, {}, size)


@pytest.mark.parametrize("size", [100, 700, 3000])
@pytest.mark.parametrize("loss", [0.01, 0.1, 0.3])
def test_no_change_of_one_part_gains_much_where_bits_are_lost(loss, size):
    losses = {loss * factor: weight for factor, weight in designing.LOSSES.items()}
    check_no_change_gains(design("trellis", size, loss=loss), 0.1, designing.DAMAGE["trellis"], {}, losses, size)


def check_no_change_gains(best, gap, *channel):
    least = price(best, *channel)
    assert min(price(other, *channel) for other in all_neighbours(best)) > least - gap
    for one in (Plan(interleaved=True), *(Plan((Tier(rung, PARTS),), True, LONG) for rung in range(8))):
        assert least <= price(one, *channel)


def test_a_price_is_that_of_the_formula():
    """Two tiers whose blocks are all of one length, and bare bytes."""
    plan, damage, rates = Plan((Tier(7, 1), Tier(4, 9))), tuple(range(32, 0, -1)), (1e-3, 0.01, 0.02, 0.05, 0.5)
    size = 32 * 103
    added, place, coded = np.zeros(5), 0, size + 3 * 73 + 8 * 25
    for count, bytes_, t in ((1, 35 + 73, 64), (8, 103 + 25, 20), (23, 1, 0)):
        left = np.array([BlockRung(BCH(t), 1).residual(8 * bytes_, rate) if t else rate for rate in rates])
        added += sum(damage[place : place + count]) * left
        place += count
    flips = sum(v * 10 * math.log10(1 + a) for v, a in zip(designing.RANGE.values(), added, strict=True))
    expected = designing.DECIBELS_PER_DOUBLING * math.log2(coded / size) + flips
    weights = dict(zip(rates, designing.RANGE.values(), strict=True))
    assert price(plan, damage, weights, {}, coded) == pytest.approx(expected)


def test_the_price_of_lost_bits_is_that_of_the_formula():
    """A tier of three blocks, of which each is lost with a chance of q, then bare bytes."""
    plan, size, loss = Plan((Tier(7, 16),)), 2 * 3 * 43, 0.6
    q = next(plan.spans(size)).lost(loss)
    assert 0.05 < q < 0.95
    chances = [q, (1 - q) * q, (1 - q) ** 2 * q, (1 - q) ** 3]
    halvings = sum(p * math.log2(size / max(1, 43 * whole)) for whole, p in enumerate(chances))
    coded = plan.coded_size(size)
    expected = designing.DECIBELS_PER_DOUBLING * (math.log2(coded / size) + 0.7 * halvings)
    assert price(plan, (1.0,) * 32, {}, {loss: 0.7}, coded) == pytest.approx(expected)


@pytest.mark.parametrize("rung", LONG.rungs, ids=lambda rung: rung.title)
@pytest.mark.parametrize("size", [150, 450])
def test_lost_bits_are_found_about_as_often_as_is_said(rung, size):
    """A block in ten or less is said to stay lost: no more than half do; nine in ten, thirty bits added: half or more.

    Not wrong by chance but with odds of 1e-5, if what is said holds.
    """
    (data,), code = rung.blocks(size)
    bits = 8 * data + code.parity_bits
    rng, losses = np.random.default_rng(size), np.linspace(0.001, 0.9, 2000)
    said = np.array([Span(0, (data,), rung, code).lost(loss) for loss in losses])
    words = code.encode(rng.integers(0, 2, (16, 8 * data), dtype=np.uint8))
    for loss, expected in ((losses[said < 0.1][-1], False), (losses[said > 0.9][0] + 30 / bits, True)):
        llr = np.where(words, -np.inf, np.inf).astype(np.float32)
        llr[rng.random(words.shape) < loss] = 0
        lost = code.decode(np.where(llr == 0, 0, words), llr).failed.mean()
        assert lost >= 0.5 if expected else lost <= 0.5


@pytest.mark.parametrize("codec", sorted(designing.DAMAGE))
def test_larger_files_have_room_for_more(codec):
    """But for three tenths, which a stronger code may take when it pays."""
    most = 0
    for size in range(100, 2000, 20):
        plan = design(codec, size, 0.01)
        room = max(payload for payload in range(size + 1) if plan.coded_size(payload) <= size)
        assert room > 0.7 * most
        most = max(most, room)


def test_worse_channels_get_more_parity():
    """As long as protection is worth its while, to within a fiftieth: where most blocks would fail, none is."""
    sizes = [design("tracks", 3000, float(ber)).coded_size(3000) for ber in np.geomspace(1e-6, 0.03, 30)]
    assert all(worse > 0.98 * better for better, worse in pairwise(sizes))
    assert sizes[0] < 3050
    assert sizes[-1] > 4000


def test_what_comes_first_is_protected_best():
    """Damage falls along a file, so codes never get stronger, and a header can hold the tiers."""
    for codec, ber, size in product(designing.DAMAGE, np.geomspace(1e-6, 0.1, 12), (1, 100, 300, 700, 1500, 10_000)):
        for plan in (design(codec, size, float(ber)), design(codec, size, loss=5 * float(ber))):
            assert plan.interleaved
            assert all(a.code > b.code and a.end < b.end for a, b in pairwise(plan.tiers))
            assert len(plan.tiers) <= 7


def test_more_losses_get_more_parity():
    sizes = [design("trellis", 3000, loss=float(loss)).coded_size(3000) for loss in np.geomspace(0.01, 0.5, 12)]
    assert all(worse > 0.98 * better for better, worse in pairwise(sizes))
    assert sizes[0] < 3000 / 0.9
    assert sizes[-1] > 3000 / 0.5


@pytest.mark.parametrize(
    ("text", "tiers"),
    [
        ("none", ()),
        ("uniform", ((4, 32),)),
        ("uniform[t=8]", ((0, 32),)),
        ("uniform[t=64]", ((7, 32),)),
    ],
)
def test_spellings_of_a_plan(text, tiers):
    plan = make_plan(text, "tracks", 1000)
    assert tuple((tier.code, tier.end) for tier in plan.tiers) == tiers
    assert plan.interleaved == bool(tiers)
    assert (text == "none") == (plan == UNPROTECTED)
    check_protection(text)


def test_unequal_protection_has_a_rate_to_design_for():
    assert make_plan("uep", "tracks", 1000) == make_plan("uep[ber=0.01]", "tracks", 1000)
    assert make_plan("uep[ber=1e-2]", "tracks", 1000) == design("tracks", 1000, 0.01)
    assert make_plan("uep[ber=0.001]", "tracks", 1000) != make_plan("uep", "tracks", 1000)
    assert make_plan("uep[loss=0.1]", "tracks", 1000) == design("tracks", 1000, loss=0.1)
    assert make_plan("uep[loss=0.1,ber=0.01]", "tracks", 1000) == design("tracks", 1000, 0.01, 0.1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("strong", "protection none, uniform.*or uep.*got 'strong'"),
        ("none[t=1]", "protection none"),
        ("uniform[ber=0.1]", "protection none"),
        ("uep[t=20]", "protection none"),
        ("uniform[t=7]", "t to be one of 8, 12, 14, 16, 20, 28, 40, 64, got 7"),
        ("uniform[t=many]", "t to be one of"),
        ("uep[ber=0]", "bit error rate from 1e-06 to 0.1"),
        ("uep[ber=0.2]", "got 0.2"),
        ("uep[ber=nan]", "bit error rate"),
        ("uep[ber=often]", "got often"),
        ("uep[loss=0]", "loss from 0.01 to 0.5"),
        ("uep[loss=0.6,ber=0.01]", "got 0.6"),
        ("uep[", "expected brackets"),
        ("", "expected"),
    ],
)
def test_bad_spellings_of_a_plan(text, expected):
    for check in (check_protection, lambda spelling: make_plan(spelling, "tracks", 10)):
        with pytest.raises(SpecError, match=expected):
            check(text)
    with pytest.raises(SpecError):
        TurboDDCM(protect=text)


def test_codecs_say_how_they_protect():
    assert TracksCodec().plan(1000) == make_plan("uep", "tracks", 1000 - packed_size(0, 0, UNPROTECTED))
    assert TurboDDCM().plan(1000) == UNPROTECTED
    assert str(TracksCodec(protect="uniform[t=8]")) == "tracks[protect=uniform[t=8]]"
