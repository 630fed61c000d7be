"""Protected files from end to end: what decoders make of flips, erasures, doubts, and lost or inserted bytes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flipproof
from conftest import photograph
from flipproof import registry
from flipproof.channel.bsc import BinarySymmetricChannel
from flipproof.errors import SpecError
from flipproof.metric.psnr import psnr
from flipproof.protocol.tracks import TracksProtocol
from flipproof.received import Received
from flipproof.result import Status
from flipproof.selection.base import Selection

PICTURE = photograph(64, 96)
FILE = flipproof.encode(PICTURE, bpp=1.5)
CLEAN = flipproof.decode(FILE)


def certain(data: bytes) -> np.ndarray:
    return np.where(np.unpackbits(np.frombuffer(data, np.uint8)), -np.inf, np.inf).astype(np.float32)


def lose(data: bytes, share: float, size: int, seed: int) -> Received:
    """Erases a share of the packets of a file."""
    llr, rng = certain(data), np.random.default_rng(seed)
    for start in range(0, len(llr), 8 * size):
        if rng.random() < share:
            llr[start : start + 8 * size] = 0
    return Received(np.packbits(llr < 0).tobytes(), llr)


def test_a_clean_file_is_ok():
    assert CLEAN.status is Status.OK
    assert CLEAN.damage.missing_bits == CLEAN.damage.failed_blocks == CLEAN.damage.repaired_bits == 0
    assert all(step.repaired == step.suspect == step.lost == 0 for step in CLEAN.damage.steps)


def test_default_protection_costs_little_and_repairs_most_of_1e2():
    received = [BinarySymmetricChannel(1e-2).corrupt(FILE, np.random.default_rng(seed)) for seed in range(8)]
    results = registry.codec("trellis").decode_many(received)
    losses = [psnr(CLEAN.picture, PICTURE) - psnr(result.picture, PICTURE) for result in results]
    assert np.mean(losses) < 0.6
    assert sum(result.damage.repaired_bits > 20 for result in results) >= 7  # long blocks are repaired or not at all


def test_unprotected_files_lose_more():
    plain = flipproof.encode(PICTURE, "trellis[protect=none]", bpp=1.5)
    rng = np.random.default_rng(0)
    damaged = [BinarySymmetricChannel(1e-2).corrupt(plain, rng) for _ in range(4)]
    shielded = [BinarySymmetricChannel(1e-2).corrupt(FILE, rng) for _ in range(4)]
    codec = registry.codec("trellis")
    bare = np.mean([psnr(result.picture, PICTURE) for result in codec.decode_many(damaged)])
    kept = np.mean([psnr(result.picture, PICTURE) for result in codec.decode_many(shielded)])
    assert psnr(flipproof.decode(plain).picture, PICTURE) > psnr(CLEAN.picture, PICTURE)
    assert kept > bare + 2


def test_lost_packets_are_found_again():
    result = registry.codec("trellis").decode(lose(FILE, 0.05, 16, seed=1))
    assert result.damage.repaired_bits > 0
    assert psnr(result.picture, PICTURE) > psnr(CLEAN.picture, PICTURE) - 1


def test_a_plan_for_losses_bears_them_whole_and_costs_nothing_more_than_its_parity():
    made = flipproof.encode(PICTURE, "trellis[protect=uep[loss=0.25]]", bpp=1.5)
    results = registry.codec("trellis").decode_many([lose(made, 0.2, 16, seed) for seed in range(6)])
    assert sum(result.damage.missing_bits == 0 for result in results) >= 4
    plain = registry.codec("trellis").decode_many([lose(FILE, 0.2, 16, seed) for seed in range(6)])
    gain = [psnr(a.picture, PICTURE) - psnr(b.picture, PICTURE) for a, b in zip(results, plain, strict=True)]
    assert np.mean(gain) > 0.5


def test_lost_steps_are_reported_where_they_are():
    result = registry.codec("trellis").decode(lose(FILE, 0.3, 16, seed=2))
    lost = [step.lost for step in result.damage.steps]
    assert sum(lost) == result.damage.missing_bits > 0
    assert lost[0] == 0
    assert result.status is Status.DEGRADED
    assert "lost (of the steps" in str(result.damage)


def test_suspect_bits_are_reported_and_the_first_steps_hold_out():
    result = flipproof.decode(BinarySymmetricChannel(0.04).corrupt(FILE, np.random.default_rng(5)))
    suspect = [step.suspect / step.bits for step in result.damage.steps]
    assert result.damage.failed_blocks > 0
    assert suspect[0] == 0
    assert max(suspect) == 1
    assert 0 < result.damage.share("suspect") < 1


@settings(max_examples=15)
@given(st.integers(12, len(FILE) - 41), st.integers(1, 40))
def test_a_lost_run_is_located(start, length):
    result = flipproof.decode(FILE[:start] + FILE[start + length :])
    assert any(f"{length} bytes lost" in note for note in result.damage.notes)
    assert psnr(result.picture, PICTURE) > psnr(CLEAN.picture, PICTURE) - 3


@settings(max_examples=15)
@given(st.integers(12, len(FILE)), st.binary(min_size=1, max_size=200))
def test_an_inserted_run_is_located(start, inserted):
    result = flipproof.decode(FILE[:start] + inserted + FILE[start:])
    assert any(f"{len(inserted)} bytes inserted" in note for note in result.damage.notes)
    assert psnr(result.picture, PICTURE) > psnr(CLEAN.picture, PICTURE) - 3


def test_a_file_without_its_first_bytes_values_still_opens():
    assert flipproof.decode(bytes(12) + FILE[12:]).status is Status.OK


def test_half_of_a_protected_file_still_is_a_picture():
    result = flipproof.decode(FILE[: len(FILE) // 2])
    assert result.status is Status.DEGRADED
    assert result.damage.missing_bits > 0


def test_equal_receptions_are_decoded_once(monkeypatch):
    codec, calls = registry.codec("trellis"), []
    replay = type(codec).replay
    monkeypatch.setattr(type(codec), "replay", lambda self, *args: calls.append(len(args[1])) or replay(self, *args))
    flipped = bytearray(FILE)
    flipped[0] ^= 1
    results = codec.decode_many([FILE, bytes(flipped), FILE])
    assert calls == [1]
    assert np.array_equal(results[0].picture, results[1].picture)
    assert [result.damage.repaired_bits for result in results] == [0, 1, 0]
    results[0].picture[:] = 0
    assert results[1].picture.any()


def test_certain_bits_decode_as_bytes_do():
    result = registry.codec("trellis").decode(Received(FILE, certain(FILE)))
    assert np.array_equal(result.picture, CLEAN.picture)


def test_soft_decisions_beat_hard_ones():
    rng, sent = np.random.default_rng(0), 1 - 2.0 * np.unpackbits(np.frombuffer(FILE, np.uint8))
    deviation = 0.6
    soft, bits = [], []
    for _ in range(6):
        received = sent + deviation * rng.normal(size=sent.shape)
        data = np.packbits(received < 0).tobytes()
        soft.append(Received(data, (2 * received / deviation**2).astype(np.float32)))
        bits.append(data)
    codec = registry.codec("trellis")
    of_soft = np.mean([psnr(result.picture, PICTURE) for result in codec.decode_many(soft)])
    of_hard = np.mean([psnr(result.picture, PICTURE) for result in codec.decode_many(bits)])
    assert of_soft > of_hard + 0.1


def test_atoms_weigh_as_much_as_their_bits_can_be_trusted():
    protocol = TracksProtocol(tracks=2, index_bits=1)
    read = protocol.read(np.array([[1, 0, 0, 1]], np.uint8), np.ones(4, bool))
    doubted = protocol.doubt(read, np.array([[np.inf, np.inf, np.log(3), np.log(9)]], np.float32))
    assert isinstance(doubted, Selection)
    assert doubted.signs.tolist() == [[1.0, pytest.approx(-0.75 * 0.8)]]


def test_llr_must_fit():
    with pytest.raises(SpecError, match="expected 16"):
        Received(b"ab", np.zeros(3, np.float32))
    with pytest.raises(SpecError, match="not a number"):
        Received(b"a", np.full(8, np.nan, np.float32))


@pytest.mark.parametrize("spec", ["tracks", "robust-turbo-ddcm[count=20,atoms=512,steps=8]", "diffc[bpp=1.5]"])
@pytest.mark.parametrize("protect", ["uep", "uep[ber=0.001]", "uniform[t=8]"])
def test_every_chain_codec_can_be_protected(spec, protect):
    name, brackets, rest = spec.partition("[")
    spelling = f"{name}[protect={protect}{',' + rest if brackets else ']'}"
    codec = registry.codec(spelling)
    data = codec.encode(PICTURE)
    assert registry.codec(str(codec)) == codec
    assert flipproof.decode(data).status is Status.OK
    flips = np.random.default_rng(0).choice(8 * len(data), 8, replace=False)
    bits = np.unpackbits(np.frombuffer(data, np.uint8))
    bits[flips] ^= 1
    assert flipproof.decode(np.packbits(bits).tobytes()).damage.repaired_bits > 0


@pytest.mark.parametrize("protect", ["all", "uep[ber=2]", "uep[loss=x]", "uniform[t=7]", "uniform[ber=1]", "none[t=8]"])
def test_bad_protection_is_a_spec_error(protect):
    with pytest.raises(SpecError):
        registry.codec(f"tracks[protect={protect}]")


@pytest.mark.parametrize("fill", [0, 255])
def test_unannounced_gaps_are_found_by_their_filling(fill):
    """A fifth of the file reads as one value; then it decodes as if the receiver had been told."""
    size = len(FILE) // 20
    data, llr = bytearray(FILE), certain(FILE)
    for packet in (0, 5, 9, 14):
        data[packet * size : (packet + 1) * size] = bytes([fill]) * size
        llr[8 * packet * size : 8 * (packet + 1) * size] = 0
    told = registry.codec("trellis").decode(Received(bytes(data), llr))
    found = flipproof.decode(bytes(data))
    assert abs(found.damage.missing_bits - told.damage.missing_bits) <= 32  # a neighbour may have that value too
    assert abs(psnr(found.picture, PICTURE) - psnr(told.picture, PICTURE)) < 0.5
    assert psnr(found.picture, PICTURE) > psnr(CLEAN.picture, PICTURE) - 6


@pytest.mark.parametrize("protect", ["uep", "none"])
def test_a_picture_without_content_has_no_gaps(protect):
    black = np.zeros((64, 96, 3), np.uint8)
    data = flipproof.encode(black, f"tracks[protect={protect}]", bpp=1.5)
    assert flipproof.decode(data).status is Status.OK
    damaged = bytearray(data)
    damaged[-1] ^= 255
    assert psnr(flipproof.decode(bytes(damaged)).picture, black) > 30


def test_a_wrong_guess_of_gaps_costs_nothing(monkeypatch):
    """The second reading, here with everything erased, must not replace a first one that opens."""
    damaged = BinarySymmetricChannel(3e-2).corrupt(FILE, np.random.default_rng(3))
    expected = flipproof.decode(damaged)
    everything = Received(damaged, np.zeros(8 * len(damaged), np.float32))
    monkeypatch.setattr("flipproof.codec.rcc.with_gaps", lambda data: everything)
    assert np.array_equal(flipproof.decode(damaged).picture, expected.picture)
