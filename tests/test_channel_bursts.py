from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chances import likely, likely_total, near
from flipproof.channel import base
from flipproof.channel.gilbert_elliott import GilbertElliottChannel


def runs(bad):
    """Lengths of the runs of ones."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], bad, [0]])))
    return edges[1::2] - edges[::2]


@pytest.mark.parametrize("chunk", [2**20, 1000])
@pytest.mark.parametrize(("ber", "burst"), [(1e-3, 20.0), (0.05, 3.5), (0.4, 200.0), (0.3, 1.0)])
def test_rate_and_bursts_are_as_asked(monkeypatch, chunk, ber, burst):
    """With a bad state that always flips, flips show the states: their share, and the length of their runs."""
    monkeypatch.setattr(base, "CHUNK", chunk)
    n = 10**6
    flips = GilbertElliottChannel(ber, burst, bad_ber=1.0)(np.zeros(n, np.uint8), np.random.default_rng(1))
    memory = 1 - 1 / burst - ber / (1 - ber) / burst
    variance = n * ber * (1 - ber) * (1 + memory) / (1 - memory)
    assert near(int(flips.sum()), n * ber, variance**0.5)
    bursts = runs(flips)[1:-1]
    assert likely_total(int(bursts.sum()), bursts.size, burst)
    gaps = runs(1 - flips)[1:-1]
    assert likely_total(int(gaps.sum()), gaps.size, burst * (1 - ber) / ber)


def test_runs_are_geometric():
    flips = GilbertElliottChannel(0.2, 4.0, 1.0)(np.zeros(10**6, np.uint8), np.random.default_rng(3))
    bursts = runs(flips)[1:-1]
    for length in (1, 2, 5, 12):
        assert likely(int((bursts >= length).sum()), bursts.size, 0.75 ** (length - 1))


def test_half_of_a_bad_state_flips():
    """Same generator, same states: where half of the bad bits flip, they are among those that flip where all do."""
    n = 10**6
    states = GilbertElliottChannel(0.2, 50.0, 1.0)(np.zeros(n, np.uint8), np.random.default_rng(5))
    flips = GilbertElliottChannel(0.1, 50.0)(np.zeros(n, np.uint8), np.random.default_rng(5))
    assert (flips <= states).all()
    assert likely(int(flips.sum()), int(states.sum()), 0.5)


def test_the_first_bit_is_like_any_other():
    channel = GilbertElliottChannel(0.3, 1000.0, 1.0)
    rng = np.random.default_rng(8)
    first = [channel(np.zeros(1, np.uint8), rng)[0] for _ in range(5000)]
    assert likely(sum(map(int, first)), 5000, 0.3)


def test_chunks_do_not_cut_bursts(monkeypatch):
    """Neighbours within a chunk and across its edge are equally often both bad."""
    monkeypatch.setattr(base, "CHUNK", 10)
    ber, burst, n = 0.2, 5.0, 200_000
    flips = GilbertElliottChannel(ber, burst, 1.0)(np.zeros(n, np.uint8), np.random.default_rng(2)).astype(bool)
    for before, after in ((flips[9:-1:10], flips[10::10]), (flips[3::10], flips[4::10])):
        assert likely(int((before & after).sum()), int(before.sum()), 1 - 1 / burst)


def test_long_bursts_and_rare_ones():
    bits = np.zeros(10**5, np.uint8)
    always = GilbertElliottChannel(1 - 1e-9, 1e9, 1.0)(bits, np.random.default_rng(0))
    assert always.all()
    never = GilbertElliottChannel(1e-300, 1e9, 1.0)(bits, np.random.default_rng(0))
    assert not never.any()


@given(st.floats(0, 1), st.floats(1, 1e9), st.floats(1e-6, 1), st.integers(0, 2**32))
def test_any_feasible_parameters_work(share, burst, bad_ber, seed):
    channel = GilbertElliottChannel(share * bad_ber * burst / (burst + 1), burst, bad_ber)
    received = channel(np.ones(777, np.uint8), np.random.default_rng(seed))
    assert received.shape == (777,)
    assert received.max() <= 1


def test_a_hundred_million_bits_fit_in_little_memory():
    bits = np.zeros(10**8, np.uint8)
    tracemalloc.start()
    flips = GilbertElliottChannel()(bits, np.random.default_rng(0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < bits.size + 10**8
    assert near(int(flips.sum()), 1e5, (1e5 * 20) ** 0.5)
