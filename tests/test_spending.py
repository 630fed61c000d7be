"""What a budget buys, and what is asked for; both kinds."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from flipproof.codebook.make import make_codebook
from flipproof.codec.spending import TrackSpending, TrellisSpending
from flipproof.selection.tracks import capture, track_bits
from flipproof.selection.trellis import windows

SIZES = st.integers(1, 2**26)
KINDS = (TrackSpending(10), TrellisSpending(10))


@given(SIZES, st.integers(2, 15), st.floats(0, 1))
def test_amount_and_gain_of_a_trellis_are_inverses(size, window, share):
    spending = TrellisSpending(window)
    amount = round(share * (spending.most(size) - 1)) + 1
    assume(2 * amount <= size)  # a step of one sample has more than half a bit a sample
    assert spending.amount(size, spending.gain(size, amount)) == pytest.approx(amount, rel=1e-6)


@given(st.integers(64, 2**26), st.integers(0, 15), st.floats(0, 1))
def test_amount_and_gain_of_tracks_are_inverses(size, longest, share):
    """Where all tracks are of the longest kind."""
    spending = TrackSpending(longest)
    tracks = 1 + round(share * (size >> longest + 1))
    assume(track_bits(size, 2 * tracks, longest) == longest)
    assert spending.gain(size, tracks) == pytest.approx(tracks * capture(longest) ** 2)
    assert spending.amount(size, spending.gain(size, tracks)) == pytest.approx(tracks)


@pytest.mark.parametrize("window", [2, 6, 10, 15])
def test_a_trellis_buys_its_share_of_the_bound(window):
    """1 - 2^(-2R) of the energy at R bits a sample: 3/4 at one, a half at one half; 2 ln 2 a bit where they are few."""
    spending = TrellisSpending(window)
    assert spending.gain(1000, 500) == pytest.approx(500 * spending.efficiency)
    assert spending.gain(10**6, 1) == pytest.approx(2 * math.log(2) * spending.efficiency, rel=1e-5)
    assert 0.5 <= spending.efficiency < 1


@pytest.mark.parametrize("spending", KINDS, ids=["tracks", "trellis"])
def test_more_buys_more(spending):
    gains = [spending.gain(4096, amount) for amount in range(1, spending.most(4096) + 1, 7)]
    if isinstance(spending, TrellisSpending):
        assert gains == sorted(gains)
    amounts = [spending.amount(4096, gain) for gain in np.geomspace(0.01, 1000, 50)]
    assert amounts == sorted(amounts)


@given(SIZES, st.floats(0, 1e12))
def test_wishes_of_a_trellis_are_finite(size, gain):
    """However much is asked for: half a bit a sample, and no more."""
    amount = TrellisSpending(10).amount(size, gain)
    assert 0 <= amount <= size / 2


@given(st.sampled_from(KINDS), SIZES)
def test_the_most_is_legal_and_fits_the_header(spending, size):
    most = spending.most(size)
    assert 1 <= most < 1 << spending.field_bits
    protocol = spending.protocol(size, most)
    assert protocol.bits >= most
    assert protocol.atoms <= size
    if isinstance(spending, TrellisSpending):
        assert protocol.bits == max(1, min(size // 2, 2**26 - 1))


@pytest.mark.parametrize("spending", KINDS, ids=["tracks", "trellis"])
@pytest.mark.parametrize("amount", [1, 40, 400])
def test_selections_are_what_a_decoder_reads(spending, amount):
    size = 2000
    residual = torch.from_numpy(np.random.default_rng(amount).standard_normal((1, size))).float()
    protocol = spending.protocol(size, amount)
    codebook = make_codebook("rotated", size, protocol.atoms, 3)
    bits, steering = spending.select(codebook, residual, protocol)
    assert (bits.shape, bits.dtype) == ((protocol.bits,), np.uint8)
    read = protocol.read(bits[None], np.ones(protocol.bits, np.bool_))
    assert torch.equal(read.steer(codebook), steering.steer(codebook))


@pytest.mark.parametrize("spending", KINDS, ids=["tracks", "trellis"])
def test_gains_are_what_selections_capture(spending):
    """Within a tenth: <z, r>^2 over |z|^2, of a white residual of deviation 1."""
    size, amount = 4000, 250
    residual = torch.from_numpy(np.random.default_rng(1).standard_normal((1, size))).float()
    protocol = spending.protocol(size, amount)
    codebook = make_codebook("rotated", size, protocol.atoms, 0)
    z = spending.select(codebook, residual, protocol)[1].steer(codebook)
    captured = float((z * residual).sum() ** 2 / z.square().sum())
    assert captured == pytest.approx(spending.gain(size, amount), rel=0.1)


def test_a_step_of_one_sample_has_one_bit():
    """All ones or all zeros is what its circle can be."""
    spending = TrellisSpending(4)
    assert spending.most(1) == 1
    assert windows(np.array([[1], [0]], np.uint8), 4).tolist() == [[15], [0]]
