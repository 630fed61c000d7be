from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import check_channel
from flipproof.channel import bsc
from flipproof.channel.bsc import BinarySymmetricChannel
from flipproof.errors import SpecError


@pytest.mark.parametrize("rate", [0.0, 1e-3, 0.5, 1.0])
def test_contract(rate):
    check_channel(BinarySymmetricChannel(rate))


@pytest.mark.parametrize("rate", [1e-4, 1e-2, 0.3])
def test_the_flip_rate_is_right_on_both_sides(rate):
    """Flips of 10^7 bits lie within 4.9 standard deviations of the binomial mean: false alarm below 10^-6."""
    n = 10**7
    flips = int(BinarySymmetricChannel(rate)(np.zeros(n, np.uint8), np.random.default_rng(7)).sum())
    deviation = (n * rate * (1 - rate)) ** 0.5
    assert abs(flips - n * rate) < 4.9 * deviation
    assert flips > 0


def test_chunks_change_no_flip(monkeypatch):
    bits = np.zeros((3, 1000), np.uint8)
    whole = BinarySymmetricChannel(0.1)(bits, np.random.default_rng(3))
    monkeypatch.setattr(bsc, "CHUNK", 7)
    assert (BinarySymmetricChannel(0.1)(bits, np.random.default_rng(3)) == whole).all()


def test_zeros_and_ones_flip_alike():
    """Both directions within 4.9 standard deviations of the same mean."""
    n, rate = 10**6, 0.01
    for value in (0, 1):
        sent = np.full(n, value, np.uint8)
        flips = int((BinarySymmetricChannel(rate)(sent, np.random.default_rng(value)) != sent).sum())
        assert abs(flips - n * rate) < 4.9 * (n * rate * (1 - rate)) ** 0.5


@given(st.binary(max_size=100), st.floats(0, 1))
def test_files_keep_their_length(data, rate):
    assert len(BinarySymmetricChannel(rate).corrupt(data, np.random.default_rng(0))) == len(data)


@pytest.mark.parametrize("rate", [-0.1, 1.5, float("nan")])
def test_impossible_rates_are_refused(rate):
    with pytest.raises(SpecError, match="expected a bit error rate"):
        BinarySymmetricChannel(rate)
