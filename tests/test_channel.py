from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chances import likely
from contracts import check_channel
from flipproof import registry
from flipproof.channel import base
from flipproof.channel.asymmetric import AsymmetricChannel
from flipproof.channel.awgn import GaussianNoiseChannel
from flipproof.channel.base import BitChannel, chunks
from flipproof.channel.bsc import BinarySymmetricChannel
from flipproof.channel.erasure import ErasureChannel
from flipproof.channel.packet_loss import PacketLossChannel
from flipproof.channel.slip import SlipChannel
from flipproof.errors import SpecError, UnknownNameError
from flipproof.received import Received

SPELLINGS = [
    "bsc",
    "bsc[ber=0]",
    "bsc[ber=1]",
    "bsc[ber=0.0012345678901234]",
    "gilbert-elliott",
    "gilbert-elliott[ber=1e-3,burst=20]",
    "gilbert-elliott[ber=0]",
    "gilbert-elliott[ber=0.5,burst=1,bad_ber=1]",
    "gilbert-elliott[ber=1e-300,burst=1e9]",
    "gilbert-elliott[ber=5e-324]",
    "erasure",
    "erasure[rate=1]",
    "packet-loss",
    "packet-loss[rate=0.5,size=7,known=false]",
    "packet-loss[size=65536]",
    "awgn",
    "awgn[snr=-100,modulation=qpsk,soft=true]",
    "awgn[snr=100,soft=true]",
    "rayleigh",
    "rayleigh[snr=100,block=3,modulation=qpsk,soft=true]",
    "rayleigh[block=1048576,soft=true]",
    "asymmetric",
    "asymmetric[zero_to_one=1,one_to_zero=0]",
    "slip",
    "slip[lost=3,inserted=2,size=10]",
]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_contract(spelling):
    check_channel(registry.channel(spelling))


def test_every_channel_is_checked():
    """All but the adversary, who has tests of his own."""
    assert {registry.parse(spelling)[0] for spelling in SPELLINGS} == {*registry.names("channels")} - {"targeted"}


def test_spellings_are_canonical():
    assert str(registry.channel("bsc[ber=1e-3]")) == "bsc[ber=0.001]"
    assert str(registry.channel("packet-loss")) == "packet-loss[rate=0.05,size=64,known=true]"
    assert str(registry.channel("awgn")) == "awgn[snr=4,modulation=bpsk,soft=false]"


@pytest.mark.parametrize(
    ("spelling", "expected"),
    [
        ("bsc[ber=-0.1]", "bsc: expected ber from 0 to 1, got -0.1"),
        ("bsc[ber=1.5]", "ber from 0 to 1"),
        ("bsc[ber=nan]", "ber from 0 to 1, got nan"),
        ("bsc[ber=often]", "expected ber to be float"),
        ("bsc[bit_error_rate=1]", "bsc has no parameter 'bit_error_rate'; it has: ber"),
        ("gilbert-elliott[ber=0.48]", "ber from 0 to bad_ber * burst / (burst + 1) = 0.47619"),
        ("gilbert-elliott[ber=nan]", "expected ber"),
        ("gilbert-elliott[burst=0.9]", "expected burst from 1"),
        ("gilbert-elliott[burst=inf]", "expected burst from 1"),
        ("gilbert-elliott[bad_ber=0]", "expected bad_ber above 0"),
        ("gilbert-elliott[bad_ber=1.1]", "expected bad_ber above 0"),
        ("erasure[rate=2]", "expected rate from 0 to 1"),
        ("packet-loss[rate=nan]", "expected rate from 0 to 1"),
        ("packet-loss[size=0]", "expected size from 1 to 65536 bytes, got 0"),
        ("packet-loss[size=65537]", "expected size"),
        ("packet-loss[known=perhaps]", "packet-loss: expected known to be true or false, got 'perhaps'"),
        ("awgn[snr=nan]", "expected snr from -100 to 100 dB"),
        ("awgn[snr=inf]", "expected snr from -100 to 100 dB"),
        ("awgn[modulation=64qam]", "expected modulation one of bpsk, qpsk, got 64qam"),
        ("rayleigh[snr=101]", "expected snr"),
        ("rayleigh[block=0]", "expected block from 1"),
        ("rayleigh[modulation=am]", "expected modulation one of"),
        ("asymmetric[zero_to_one=-1]", "expected zero_to_one from 0 to 1"),
        ("asymmetric[one_to_zero=nan]", "expected one_to_zero from 0 to 1"),
        ("slip[lost=-1]", "expected lost from 0 to 4096 runs"),
        ("slip[inserted=5000]", "expected inserted from 0"),
        ("slip[size=0]", "expected size from 1"),
        ("targeted[flips=0]", "expected flips from 1"),
        ("targeted[flips=9,budget=8]", "expected budget from the number of flips"),
    ],
)
def test_bad_parameters_are_refused(spelling, expected):
    with pytest.raises(SpecError, match=re.escape(expected)):
        registry.channel(spelling)


def test_unknown_channels_are_refused():
    with pytest.raises(UnknownNameError, match="unknown channel 'pigeon'"):
        registry.channel("pigeon")


@given(st.binary(max_size=100), st.sampled_from(SPELLINGS), st.integers(0, 2**32 - 1))
def test_bits_are_neither_lost_nor_added(data, spelling, seed):
    channel = registry.channel(spelling)
    received = channel.corrupt(data, np.random.default_rng(seed))
    assert len(received) == len(data) or not isinstance(channel, BitChannel)


@pytest.mark.parametrize("rate", [1e-4, 1e-2, 0.3])
@pytest.mark.parametrize("value", [0, 1])
def test_bsc_flips_as_often_as_it_says(rate, value):
    n = 4 * 10**6
    received = BinarySymmetricChannel(rate)(np.full(n, value, np.uint8), np.random.default_rng([7, value]))
    assert likely(int((received != value).sum()), n, rate)


def test_bsc_has_a_rate_for_each_bit():
    rates = np.array([[0.0], [0.02], [1.0]])
    channel = BinarySymmetricChannel(rates)
    flips = channel(np.zeros((3, 10**5), np.uint8), np.random.default_rng(5)).sum(axis=1)
    assert flips[0] == 0
    assert likely(int(flips[1]), 10**5, 0.02)
    assert flips[2] == 10**5
    rates[:] = 0.5
    assert channel.ber.ravel().tolist() == [0, 0.02, 1], "the caller's array is not the channel's"
    assert channel == BinarySymmetricChannel(channel.ber) != BinarySymmetricChannel(0.02)
    assert hash(BinarySymmetricChannel(1)) == hash(BinarySymmetricChannel(1.0)) == hash(BinarySymmetricChannel([1.0]))
    assert channel != "bsc"
    assert hash(channel) == hash(BinarySymmetricChannel(channel.ber))
    assert str(channel) == "bsc[ber=array]"


def test_bsc_refuses_rates_that_fit_no_bit():
    with pytest.raises(SpecError, match=r"expected rates that fit bits \(16,\), got \(3,\)"):
        BinarySymmetricChannel(np.full(3, 0.1)).corrupt(b"ab", np.random.default_rng(0))
    with pytest.raises(SpecError, match="from 0 to 1"):
        BinarySymmetricChannel(np.array([0.1, np.nan]))


@pytest.mark.parametrize("rate", [0.1, np.linspace(0, 1, 1000)])
def test_chunks_change_no_flip(monkeypatch, rate):
    bits = np.zeros((3, 1000), np.uint8)
    whole = BinarySymmetricChannel(rate)(bits, np.random.default_rng(3))
    monkeypatch.setattr(base, "CHUNK", 7)
    assert (BinarySymmetricChannel(rate)(bits, np.random.default_rng(3)) == whole).all()


@given(st.integers(0, 3000), st.integers(1, 5000), st.integers(1, 2000))
def test_chunks_are_whole_units(size, unit, chunk):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base, "CHUNK", chunk)
        parts = list(chunks(size, unit))
    assert [i for part in parts for i in range(part.start, part.stop)] == list(range(size))
    assert all(part.start % unit == 0 for part in parts)
    assert all(part.stop - part.start <= max(unit, chunk) for part in parts)


def test_asymmetric_has_a_rate_for_each_value():
    n = 10**6
    sent = np.tile(np.array([0, 1], np.uint8), n)
    received = AsymmetricChannel(zero_to_one=0.01, one_to_zero=0.2)(sent, np.random.default_rng(11))
    assert likely(int(received[0::2].sum()), n, 0.01)
    assert likely(n - int(received[1::2].sum()), n, 0.2)


def test_erasures_are_known_and_nothing_else_is_wrong():
    data = np.random.default_rng(0).bytes(10**5)
    file = ErasureChannel(0.1).send(data, np.random.default_rng(2))
    assert isinstance(file, Received)
    sent, seen = (np.unpackbits(np.frombuffer(part, np.uint8)) for part in (data, file.data))
    lost = file.llr == 0
    assert likely(int(lost.sum()), lost.size, 0.1)
    assert (seen == sent)[~lost].all()
    assert (file.llr[~lost] == np.where(sent, -np.inf, np.inf)[~lost]).all()
    assert likely(int((seen != sent)[lost].sum()), int(lost.sum()), 0.5)


def test_packets_are_lost_whole_and_leave_zeros(monkeypatch):
    monkeypatch.setattr(base, "CHUNK", 1000)
    size, packets = 10, 20000
    data = b"\xff" * (size * packets + 3)
    file = PacketLossChannel(0.05, size).send(data, np.random.default_rng(4))
    assert isinstance(file, Received)
    arrived = np.frombuffer(file.data, np.uint8)
    lost = arrived[:-3].reshape(packets, size) == 0
    assert (lost.all(axis=1) == lost.any(axis=1)).all()
    assert likely(int(lost[:, 0].sum()), packets, 0.05)
    assert len(set(arrived[-3:])) == 1
    assert (file.llr == np.where(np.unpackbits(arrived), -np.inf, 0)).all()


@pytest.mark.parametrize("known", [True, False])
def test_who_knows_of_a_lost_packet(known):
    file = PacketLossChannel(rate=1, known=known).send(b"abc", np.random.default_rng(0))
    if known:
        assert (file.data, file.llr.tolist()) == (bytes(3), [0] * 24)
    else:
        assert file == bytes(3)


def test_soft_and_hard_receivers_hear_the_same():
    data = np.random.default_rng(0).bytes(1000)
    hard, soft = (
        GaussianNoiseChannel(snr=1.0, soft=soft).send(data, np.random.default_rng(6)) for soft in (False, True)
    )
    assert hard == soft.data != data


@given(st.binary(max_size=300), st.integers(0, 5), st.integers(0, 5), st.integers(1, 80), st.integers(0, 2**32))
def test_slips_change_the_length_as_they_say(data, lost, inserted, size, seed):
    received = SlipChannel(lost, inserted, size).corrupt(data, np.random.default_rng(seed))
    assert len(received) == max(len(data) - lost * size, 0) + inserted * size
    if not inserted:
        places = iter(received)
        assert all(byte in iter(data) for byte in places)
    if not lost and inserted == 1:
        starts = range(len(data) + 1)
        assert any(received[:i] + received[i + size :] == data for i in starts)


def test_a_slip_cuts_one_run_anywhere():
    data = bytes(range(5))
    seen = {SlipChannel(lost=1, size=2).corrupt(data, np.random.default_rng(i)) for i in range(200)}
    assert seen == {data[:i] + data[i + 2 :] for i in range(4)}
