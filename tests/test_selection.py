from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts import check_protocol, pairs
from flipproof.codebook.rotated import RotatedCodebook
from flipproof.protocol.hybrid import HybridProtocol
from flipproof.protocol.independent import IndependentProtocol
from flipproof.protocol.lexicographic import LexicographicProtocol, rank, unrank
from flipproof.protocol.tracks import TracksProtocol
from flipproof.selection.base import Selection, steer
from flipproof.selection.tracks import capture, select_tracks, track_bits
from flipproof.selection.turbo import select_turbo


def products(size: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((1, size))).float()


@pytest.mark.parametrize(
    ("protocol", "selection"),
    [
        (TracksProtocol(7, 4), select_tracks(products(200), 7, 4)),
        (TracksProtocol(5, 0), select_tracks(products(9), 5, 0)),
        (IndependentProtocol(100, 9), select_turbo(products(200), 100, 9)),
        (IndependentProtocol(64, 1), select_turbo(products(64), 64, 1)),
        (HybridProtocol(100, 9, 4), select_turbo(products(200), 100, 9)),
        (HybridProtocol(100, 9, 0), select_turbo(products(200), 100, 9)),
        (HybridProtocol(100, 9, 9), select_turbo(products(200), 100, 9)),
        (LexicographicProtocol(100, 9), select_turbo(products(200), 100, 9)),
        (LexicographicProtocol(8, 8), select_turbo(products(8), 8, 8)),
        (LexicographicProtocol(8, 1), select_turbo(products(8), 8, 1)),
    ],
    ids=repr,
)
def test_contract(protocol, selection):
    check_protocol(protocol, selection)


def test_published_bit_counts():
    """Operating points at 512x512: Turbo M = 114, Robust M = 73, hybrid M = 106 with B = 10, K = 16384."""
    assert LexicographicProtocol(16384, 114).bits == 1091
    assert IndependentProtocol(16384, 73).bits == 1095
    assert HybridProtocol(16384, 106, 10).bits == 1092


def test_ranks_are_lexicographic():
    """Against itertools, whose combinations come in lexicographic order."""
    for number, indices in enumerate(combinations(range(8), 3)):
        assert rank(list(indices), 8) == number
        assert unrank(number, 8, 3) == list(indices)


def test_toy_case_of_the_paper():
    """K = 8, M = 3: rank 0 is {0, 1, 2}; flipping its top bit gives rank 32, {1, 4, 7}."""
    protocol = LexicographicProtocol(8, 3)
    bits = protocol.write(Selection(torch.tensor([[2, 0, 1]]), torch.ones(1, 3)))
    assert bits.tolist() == [0] * 9
    bits[0] ^= 1
    assert protocol.read(bits[None], np.ones(9, bool)).atoms.tolist() == [[1, 4, 7]]


@settings(max_examples=30, deadline=None)
@given(st.integers(0), st.integers(1, 30))
def test_large_ranks_come_back(number, count):
    sets = math.comb(16384, count)
    assert rank(unrank(number % sets, 16384, count), 16384) == number % sets


@pytest.mark.parametrize("protocol", [TracksProtocol(40, 5), IndependentProtocol(2048, 40)], ids=repr)
def test_one_flip_changes_one_atom(protocol):
    """Locality, for every single bit."""
    bits = np.random.default_rng(3).integers(0, 2, protocol.bits, dtype=np.uint8)
    known = np.ones(protocol.bits, bool)
    received = bits ^ np.eye(protocol.bits, dtype=np.uint8)
    clean, damaged = protocol.read(bits[None], known), protocol.read(received, known)
    for row in range(protocol.bits):
        changed = (damaged.atoms[row] != clean.atoms[0]) | (damaged.signs[row] != clean.signs[0])
        assert int(changed.sum()) == 1


def test_tracks_are_disjoint_and_hold_the_best_atoms():
    values = products(1000)
    selection = select_tracks(values, 30, 5)
    assert (selection.atoms[0] % 30 == torch.arange(30)).all()
    table = values[0, :960].view(32, 30)
    assert torch.equal(table.abs().amax(0), values[0, selection.atoms[0]].abs())


def test_turbo_takes_the_largest():
    values = products(1000)
    table = values[0].numpy()
    largest = np.argsort(-np.abs(table[:500]))[:20]
    assert pairs(select_turbo(values, 500, 20), 0) == {(int(i), float(np.sign(table[i]))) for i in largest}


@given(st.integers(1, 10**6), st.integers(1, 10**6), st.integers(0, 15))
def test_longest_tracks_fit(size, tracks, most):
    bits = track_bits(size, tracks, most)
    assert 0 <= bits <= most
    assert tracks << bits <= size or bits == 0
    assert bits == most or tracks << (bits + 1) > size


@pytest.mark.parametrize("bits", [0, 1, 4, 8])
def test_capture_matches_simulation(bits):
    """Mean of 20,000 maxima within 5 standard errors: false alarm below 10^-6 per case."""
    draws = np.abs(np.random.default_rng(0).standard_normal((20000, 1 << bits))).max(axis=1)
    assert abs(draws.mean() - capture(bits)) < 5 * draws.std() / math.sqrt(len(draws))


def test_steering_noise_has_unit_variance_and_points_along_the_residual():
    n, tracks = 6000, 20
    residual = products(n, seed=1)
    codebook = RotatedCodebook(n, 0)
    z = steer(codebook, select_tracks(codebook.analyse(residual), tracks, 8))
    assert float(z.square().mean()) == pytest.approx(1, abs=1e-4)
    pointing = float((z * residual).sum() / residual.norm())
    assert pointing == pytest.approx(math.sqrt(tracks) * capture(8), rel=0.1)


@pytest.mark.parametrize("signs", [[0.0, 0.0], [1.0, -1.0]])
def test_a_step_without_atoms_steers_by_known_noise(signs):
    codebook = RotatedCodebook(50, 0)
    z = steer(codebook, Selection(torch.tensor([[3, 3]]), torch.tensor([signs])))
    assert float(z.square().mean()) == pytest.approx(1, abs=1e-4)
