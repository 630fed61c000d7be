from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts import check_protocol
from flipproof.codebook.rotated import RotatedCodebook
from flipproof.errors import SpecError
from flipproof.protocol.hybrid import HybridProtocol
from flipproof.protocol.independent import IndependentProtocol
from flipproof.protocol.lexicographic import LexicographicProtocol, rank, unrank
from flipproof.protocol.pursuit import PursuitProtocol
from flipproof.protocol.tracks import TracksProtocol
from flipproof.selection.base import Selection
from flipproof.selection.pursuit import Pursuit, select_pursuit
from flipproof.selection.tracks import select_tracks
from flipproof.selection.turbo import select_turbo

CHOICES = (IndependentProtocol, LexicographicProtocol, lambda k, m: HybridProtocol(k, m, 0))


def normals(size: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((1, size))).float()


@st.composite
def small_sets(draw: st.DrawFn, most: int = 2**20) -> tuple[int, list[int]]:
    """K from 1 to 2^20 and up to 50 ascending indices, near the ends more often than not."""
    atoms = draw(st.integers(1, most))
    index = st.one_of(
        st.integers(0, atoms - 1), st.integers(0, min(60, atoms - 1)), st.integers(max(0, atoms - 60), atoms - 1)
    )
    return atoms, sorted(draw(st.sets(index, min_size=1, max_size=min(50, atoms))))


@pytest.mark.parametrize(
    ("protocol", "selection"),
    [
        (TracksProtocol(7, 4), select_tracks(normals(112), 7, 4)),
        (TracksProtocol(5, 0), select_tracks(normals(5), 5, 0)),
        (IndependentProtocol(128, 9), select_turbo(normals(128), 9)),
        (IndependentProtocol(64, 1), select_turbo(normals(64), 1)),
        (IndependentProtocol(2, 2), select_turbo(normals(2), 2)),
        (HybridProtocol(128, 9, 4), select_turbo(normals(128), 9)),
        (HybridProtocol(128, 9, 0), select_turbo(normals(128), 9)),
        (HybridProtocol(128, 9, 9), select_turbo(normals(128), 9)),
        (LexicographicProtocol(128, 9), select_turbo(normals(128), 9)),
        (LexicographicProtocol(8, 8), select_turbo(normals(8), 8)),
        (LexicographicProtocol(8, 1), select_turbo(normals(8), 1)),
        (PursuitProtocol(32, 5, 3), select_pursuit(RotatedCodebook(60, 32, 0), normals(60), 5, 3)),
        (PursuitProtocol(32, 9, 2), select_pursuit(RotatedCodebook(60, 32, 0), normals(60), 9, 2)),
        (PursuitProtocol(32, 2, 1), select_pursuit(RotatedCodebook(60, 32, 0), normals(60), 2, 1)),
        (PursuitProtocol(256, 3, 8), select_pursuit(RotatedCodebook(60, 256, 0), normals(60), 3, 8)),
        (PursuitProtocol(64, 1, 4), select_pursuit(RotatedCodebook(60, 64, 0), normals(60), 1, 4)),
    ],
    ids=lambda value: repr(value) if hasattr(value, "bits") else "",
)
def test_contract(protocol, selection):
    check_protocol(protocol, selection)


def test_published_bit_counts():
    """At 512x512 and K = 16384: Turbo M = 114, Robust M = 73, hybrid M = 106 with B = 10; DDCM by its formula."""
    assert LexicographicProtocol(16384, 114).bits == 1091
    assert IndependentProtocol(16384, 73).bits == 1095
    assert HybridProtocol(16384, 106, 10).bits == 1092
    assert PursuitProtocol(8192, 6, 3).bits == 6 * 13 + 5 * 3


@pytest.mark.parametrize("make", [*CHOICES, lambda k, m: PursuitProtocol(k, m, 3)])
@pytest.mark.parametrize(
    ("atoms", "count", "message"),
    [
        (100, 9, "a power of two from 2 to 1048576, got 100"),
        (1, 1, "a power of two from 2 to 1048576, got 1"),
        (2**21, 9, "a power of two from 2 to 1048576, got 2097152"),
        (-2, 1, "a power of two from 2 to 1048576, got -2"),
        (8, 0, "from 1 to 8, got 0"),
        (8, 9, "from 1 to 8, got 9"),
    ],
)
def test_impossible_choices_are_named(make, atoms, count, message):
    with pytest.raises(SpecError, match=message):
        make(atoms, count)


def test_other_impossible_parameters_are_named():
    for alone in (-1, 10):
        with pytest.raises(SpecError, match=f"alone from 0 to 9, got {alone}"):
            HybridProtocol(128, 9, alone)
    for bits in (0, 9):
        with pytest.raises(SpecError, match=f"from 1 to 8, got {bits}"):
            PursuitProtocol(128, 9, bits)


def test_codebook_sizes_and_parts():
    assert [make(64, 3).atoms for make in CHOICES] == [64, 64, 64]
    assert (PursuitProtocol(64, 3, 2).atoms, TracksProtocol(7, 4).atoms) == (64, 112)
    assert {p.parts for p in (PursuitProtocol(64, 3, 2), TracksProtocol(7, 4), *(make(64, 3) for make in CHOICES))} == {
        1
    }


@pytest.mark.parametrize("atoms", range(11))
def test_all_small_ranks_are_lexicographic(atoms):
    """Against itertools, whose combinations come in lexicographic order: every set of every size."""
    for count in range(atoms + 1):
        for number, indices in enumerate(combinations(range(atoms), count)):
            assert rank(list(indices), atoms) == number
            assert unrank(number, atoms, count) == list(indices)


@given(small_sets())
def test_sets_of_any_shape_come_back(example):
    atoms, indices = example
    number = rank(indices, atoms)
    assert 0 <= number < math.comb(atoms, len(indices))
    assert unrank(number, atoms, len(indices)) == indices


@given(st.integers(0), st.integers(1, 2**20), st.data())
def test_large_ranks_come_back(number, atoms, data):
    count = data.draw(st.integers(1, min(40, atoms)))
    number %= math.comb(atoms, count)
    assert rank(unrank(number, atoms, count), atoms) == number


@settings(max_examples=10, deadline=None)
@given(
    st.integers(0, 2**32 - 1), st.sampled_from([(1024, 512), (1024, 1000), (4096, 1500), (2**20, 300), (16384, 114)])
)
def test_ranks_of_thousands_of_bits_come_back(seed, shape):
    atoms, count = shape
    sets = math.comb(atoms, count)
    number = int.from_bytes(np.random.default_rng(seed).bytes(sets.bit_length() // 8 + 8), "big") % sets
    indices = unrank(number, atoms, count)
    assert sorted(set(indices)) == indices
    assert rank(indices, atoms) == number


@pytest.mark.parametrize(("atoms", "count"), [(2**20, 4096), (8192, 4096), (4096, 4096), (16384, 114), (2**20, 1)])
def test_first_and_last_ranks(atoms, count):
    last = math.comb(atoms, count) - 1
    assert unrank(0, atoms, count) == list(range(count))
    assert unrank(last, atoms, count) == list(range(atoms - count, atoms))
    assert rank(range(count), atoms) == 0
    assert rank(range(atoms - count, atoms), atoms) == last


@pytest.mark.slow
def test_the_longest_ranks_come_back():
    atoms, count = 2**20, 4096
    indices = sorted(np.random.default_rng(0).choice(atoms, count, replace=False).tolist())
    number = rank(indices, atoms)
    assert number.bit_length() > 38000
    assert unrank(number, atoms, count) == indices


@given(small_sets(most=5000))
def test_rank_follows_from_its_definition(example):
    """Sets before this one: those that branch off below its i-th index, for every i."""
    atoms, indices = example
    total, start = 0, 0
    for position, index in enumerate(indices):
        rest = len(indices) - position
        total += math.comb(atoms - start, rest) - math.comb(atoms - index, rest)
        start = index + 1
    assert rank(indices, atoms) == total


def test_toy_case_of_the_paper():
    """K = 8, M = 3: rank 0 is {0, 1, 2}; flipping its top bit gives rank 32, {1, 4, 7}."""
    protocol = LexicographicProtocol(8, 3)
    bits = protocol.write(Selection(torch.tensor([[2, 0, 1]]), torch.ones(1, 3)))
    assert bits.tolist() == [0] * 9
    bits[0] ^= 1
    assert protocol.read(bits[None], np.ones(9, bool)).atoms.tolist() == [[1, 4, 7]]


@pytest.mark.parametrize("alone", [None, 0, 2])
def test_ranks_out_of_range_wrap_around_and_count_as_faults(alone):
    """K = 8, M = 3: 56 sets, so of 64 ranks the last 8 name none."""
    lead = 0 if alone is None else alone
    protocol = LexicographicProtocol(8, 3) if alone is None else HybridProtocol(8, 3 + lead, lead)
    numbers = np.arange(64)
    bits = np.zeros((64, protocol.bits), np.uint8)
    bits[:, 4 * lead : 4 * lead + 6] = numbers[:, None] >> np.arange(5, -1, -1) & 1
    read = protocol.read(bits, np.ones(protocol.bits, bool)).atoms[:, lead:]
    assert read.tolist() == [unrank(number % 56, 8, 3) for number in numbers.tolist()]
    assert protocol.faults(bits).tolist() == (numbers >= 56).tolist()


def test_unknown_bits_lose_their_atoms_and_no_others():
    """One unknown bit after another: an index or a sign loses one atom, a rank all of its own."""
    losses = {}
    for protocol in (
        TracksProtocol(4, 3),
        IndependentProtocol(16, 4),
        LexicographicProtocol(16, 4),
        HybridProtocol(16, 5, 1),
    ):
        bits = np.random.default_rng(0).integers(0, 2, (1, protocol.bits), dtype=np.uint8)
        masks = ~np.eye(protocol.bits, dtype=bool)
        losses[type(protocol)] = [int((protocol.read(bits, mask).signs == 0).sum()) for mask in masks]
    assert losses[TracksProtocol] == [1] * 16
    assert losses[IndependentProtocol] == [1] * 20
    assert losses[LexicographicProtocol] == [4] * 11 + [1] * 4
    assert losses[HybridProtocol] == [1] * 5 + [4] * 11 + [1] * 4


@settings(max_examples=30, deadline=None)
@given(
    st.one_of(
        st.builds(TracksProtocol, st.integers(1, 40), st.integers(0, 10)),
        st.builds(lambda k, m: IndependentProtocol(1 << k, min(m, 1 << k)), st.integers(1, 20), st.integers(1, 40)),
    ),
    st.integers(0, 2**32 - 1),
)
def test_one_flip_changes_one_atom(protocol, seed):
    """Locality, for every single bit."""
    assert changes(protocol, range(protocol.bits), seed) == [1] * protocol.bits


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 10), st.integers(1, 20), st.integers(0, 2**32 - 1))
def test_one_flip_of_an_atom_alone_changes_one_atom(alone, ranked, seed):
    """Of a hybrid's first bits, index and sign of the atoms alone, and of its last, the signs of the ranked ones."""
    protocol = HybridProtocol(256, alone + ranked, alone)
    signs = range(protocol.bits - ranked, protocol.bits)
    for span in (range(9 * alone), signs):
        assert changes(protocol, span, seed) == [1] * len(span)


def changes(protocol, span: range, seed: int) -> list[int]:
    """Returns how many atoms each flip of one bit changes."""
    bits = np.random.default_rng(seed).integers(0, 2, protocol.bits, dtype=np.uint8)
    known = np.ones(protocol.bits, bool)
    received = bits ^ np.eye(protocol.bits, dtype=np.uint8)[span.start : span.stop]
    clean, damaged = protocol.read(bits[None], known), protocol.read(received, known)
    return ((damaged.atoms != clean.atoms) | (damaged.signs != clean.signs)).sum(dim=1).tolist()


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 20), st.integers(1, 12), st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_pursuits_come_back_and_one_flip_changes_one_number(width, count, coefficient_bits, seed):
    rng = np.random.default_rng(seed)
    protocol = PursuitProtocol(1 << width, min(count, 1 << width), coefficient_bits)
    known = np.ones(protocol.bits, bool)
    bits = rng.integers(0, 2, protocol.bits, dtype=np.uint8)
    clean = protocol.read(bits[None], known)
    assert (protocol.write(clean) == bits).all()
    damaged = protocol.read(bits ^ np.eye(protocol.bits, dtype=np.uint8), known)
    changed = (damaged.atoms != clean.atoms).sum(dim=1) + (damaged.codes != clean.codes).sum(dim=1)
    assert (changed == 1).all()


def test_pursuit_layout():
    """Index, then code and index of every further atom, highest bit first."""
    pursuit = Pursuit(torch.tensor([[5, 1, 6]]), torch.tensor([[2, 1]]), 2)
    bits = PursuitProtocol(8, 3, 2).write(pursuit)
    assert "".join(map(str, bits)) == "101" + "10" + "001" + "01" + "110"


def test_unknown_bits_lose_one_number_of_a_pursuit():
    protocol = PursuitProtocol(8, 3, 2)
    bits = np.ones((1, protocol.bits), np.uint8)
    expected = ["a"] * 3 + (["c"] * 2 + ["a"] * 3) * 2
    for index, kind in enumerate(expected):
        known = np.ones(protocol.bits, bool)
        known[index] = False
        read = protocol.read(bits, known)
        assert int((read.atoms == -1).sum()) == (kind == "a")
        assert int((read.codes == -1).sum()) == (kind == "c")


@pytest.mark.parametrize(
    ("atoms", "codes", "faults"),
    [
        ([5, 1, 6], [2, 1], 0),
        ([5, 1, 0], [2, 0], 0),
        ([5, 0, 0], [0, 0], 0),
        ([5, 1, 0], [0, 0], 1),
        ([5, 0, 6], [0, 1], 1),
        ([5, 1, 6], [0, 0], 2),
        ([5, 1, 6], [3, 1], 1),
        ([5, 1, 6], [3, 3], 2),
    ],
)
def test_pursuits_that_no_encoder_writes_are_counted(atoms, codes, faults):
    """C = 2: the code 3 never improves, and all is zero from the first code 0 on."""
    protocol = PursuitProtocol(8, 3, 2)
    bits = protocol.write(Pursuit(torch.tensor([atoms]), torch.tensor([codes]), 2))
    assert protocol.faults(bits[None]).tolist() == [faults]
