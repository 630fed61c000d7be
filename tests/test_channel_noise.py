from __future__ import annotations

import math

import numpy as np
import pytest

from chances import likely, near
from flipproof.channel import base
from flipproof.channel.awgn import GaussianNoiseChannel
from flipproof.channel.rayleigh import RayleighChannel

N = 10**6


def q(x):
    """The Gaussian tail."""
    return 0.5 * math.erfc(x / 2**0.5)


def random_bits(n, seed=0):
    return np.random.default_rng([seed, 99]).integers(0, 2, n, dtype=np.uint8)


@pytest.mark.parametrize("modulation", ["bpsk", "qpsk"])
@pytest.mark.parametrize("snr", [-5.0, 0.0, 4.0, 8.0])
def test_gaussian_noise_flips_as_theory_says(snr, modulation):
    bits = random_bits(N)
    received = GaussianNoiseChannel(snr, modulation)(bits, np.random.default_rng(1))
    for value in (0, 1):
        sent = bits == value
        assert likely(int((received != value)[sent].sum()), int(sent.sum()), q(math.sqrt(2 * 10 ** (snr / 10))))


@pytest.mark.parametrize("snr", [0.0, 10.0, 20.0])
def test_fading_flips_as_theory_says(snr):
    """With a gain for every bit, flips are independent."""
    bits, g = random_bits(N), 10 ** (snr / 10)
    received = RayleighChannel(snr, block=1)(bits, np.random.default_rng(1))
    assert likely(int((received != bits).sum()), N, 0.5 * (1 - math.sqrt(g / (1 + g))))


@pytest.mark.parametrize(("modulation", "unit"), [("bpsk", 10), ("qpsk", 20)])
def test_a_block_shares_its_gain(monkeypatch, modulation, unit):
    """One bit of each block is independent of others; blocks have few flips or many, more often than at random."""
    monkeypatch.setattr(base, "CHUNK", 1003)
    channel = RayleighChannel(10.0, 10, modulation)
    assert channel.unit == unit
    bits, rate = random_bits(N), 0.5 * (1 - math.sqrt(10 / 11))
    flips = (channel(bits, np.random.default_rng(1)) != bits).reshape(-1, unit)
    for place in (0, unit // 2, unit - 1):
        assert likely(int(flips[:, place].sum()), len(flips), rate)
    both = float((flips[:, 0] & flips[:, unit - 1]).mean())
    gains = np.sqrt(np.random.default_rng(5).standard_exponential(N))
    squares = (0.5 * np.vectorize(math.erfc)(gains * math.sqrt(10))) ** 2
    deviation = math.sqrt(squares.mean() / len(flips) + squares.var() / N)
    assert near(both, float(squares.mean()), deviation)
    assert both > 3 * rate**2
    across = int((flips[:-1, unit - 1] & flips[1:, 0]).sum())
    assert likely(across, len(flips) - 1, rate**2)


@pytest.mark.parametrize(
    "channel",
    [
        GaussianNoiseChannel(-3.0, soft=True),
        GaussianNoiseChannel(2.0, "qpsk", soft=True),
        RayleighChannel(3.0, 16, soft=True),
        RayleighChannel(8.0, 1, "qpsk", soft=True),
    ],
    ids=str,
)
def test_ratios_mean_what_they_say(channel):
    """Among bits with like ratios, as many are ones as the ratios say: sums of independent events, so near normal."""
    data = np.random.default_rng(3).bytes(N // 8)
    bits = np.unpackbits(np.frombuffer(data, np.uint8))
    file = channel.send(data, np.random.default_rng(4))
    ones = 1 / (1 + np.exp(file.llr.astype(np.float64)))
    bins = np.digitize(file.llr, [-8, -6, -4, -3, -2, -1, -0.3, 0, 0.3, 1, 2, 3, 4, 6, 8])
    checked = 0
    for part in (bins == i for i in range(16)):
        deviation = math.sqrt(float((ones * (1 - ones))[part].sum()))
        if deviation > 7:
            assert near(int(bits[part].sum()), float(ones[part].sum()), deviation)
            checked += int(part.sum())
    assert checked > N / 5


def test_ratios_grow_with_the_gain():
    """Without noise to speak of, the ratio is 4 h^2 Eb/N0, the same over a block."""
    file = RayleighChannel(60.0, block=8, soft=True).send(bytes(1000), np.random.default_rng(0))
    blocks = file.llr.reshape(-1, 8).astype(np.float64) / 4e6
    gains = np.sqrt(np.abs(blocks))
    assert (gains.std(axis=1) < 2e-3 * 5).all()
    assert near(float(blocks.mean()), 1.0, 1000**-0.5)


@pytest.mark.parametrize("channel", [GaussianNoiseChannel(1.0), RayleighChannel(4.0)], ids=str)
def test_noise_flips_the_same_bits_of_any_file(channel):
    sent = np.stack([np.zeros(1000, np.uint8), random_bits(1000)])
    flips = [channel(bits, np.random.default_rng(2)) ^ bits for bits in sent]
    assert flips[0].any()
    assert (flips[0] == flips[1]).all()


def test_both_modulations_are_the_same_to_a_bit():
    bits = random_bits(1001)
    bpsk, qpsk = (GaussianNoiseChannel(2.0, name)(bits, np.random.default_rng(0)) for name in ("bpsk", "qpsk"))
    assert (bpsk == qpsk).all()
