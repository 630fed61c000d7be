"""What each code can do, against what is known of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np
import pytest
from scipy.stats import binom, norm

from chances import likely
from codewords import draw, noisy, over_air, with_flips
from flipproof.protection.accumulate import RepeatAccumulate
from flipproof.protection.bch import BCH
from flipproof.protection.code import Code
from flipproof.protection.convolutional import Convolutional
from flipproof.protection.ldpc import LDPC
from flipproof.protection.reed_solomon import ReedSolomon


@pytest.mark.parametrize("code", [BCH(7), BCH(3, m=6), BCH(20)], ids=str)
@pytest.mark.parametrize("short", [False, True])
def test_bch_repairs_t_flips_and_no_more(code, short):
    size = code.data_bits // 16 * 8 if short else code.data_bits
    data, words = draw(code, 30, size=size)
    code_bits = words[:, : size + code.checks]
    decoded = code.decode(np.hstack([with_flips(code_bits, code.t), words[:, size + code.checks :]]))
    assert (decoded.data == data).all()
    assert (decoded.flips == code.t).all()
    beyond = code.decode(np.hstack([with_flips(code_bits, code.t + 1), words[:, size + code.checks :]]))
    wrong = (beyond.data != data).any(axis=1)
    assert (beyond.failed | (beyond.flips <= code.t)).all()
    assert (beyond.failed | wrong | (size + code.checks < 40)).all()


@pytest.mark.parametrize("code", [ReedSolomon(), ReedSolomon(data=20, parity=11)], ids=str)
def test_reed_solomon_repairs_half_as_many_bytes_as_it_adds(code):
    data, words = draw(code, 10)
    decoded = code.decode(with_flips(words, code.parity // 2, units=8))
    assert (decoded.data == data).all()
    assert not decoded.failed.any()
    beyond = code.decode(with_flips(words, code.parity // 2 + 1, units=8))
    wrong = (beyond.data != data).any(axis=1)
    assert (beyond.failed | wrong).all()


@pytest.mark.parametrize("lost", [32, 20])
def test_reed_solomon_repairs_erased_bytes(lost):
    """All its parity in known gaps, and half of what is left over in errors."""
    code = ReedSolomon()
    data, words = draw(code, 8)
    rng = np.random.default_rng(0)
    received, llr = words.copy().reshape(8, -1, 8), np.full(words.shape, 4, np.float32).reshape(8, -1, 8)
    for word, ratios in zip(received, llr, strict=True):
        places = rng.permutation(255)
        ratios[places[:lost]] = 0
        word[places[:lost]] = rng.integers(0, 2, (lost, 8))
        word[places[lost : lost + (32 - lost) // 2]] ^= 1
    llr *= 1 - 2 * received.astype(np.float32)
    decoded = code.decode(received.reshape(8, -1), llr.reshape(8, -1))
    assert (decoded.data == data).all()
    assert not decoded.failed.any()


def test_reed_solomon_agrees_with_its_definition():
    """Parity makes the block, as a polynomial over GF(256), vanish at the first powers of alpha."""
    code = ReedSolomon(data=9, parity=6)
    exponents = [1]
    for _ in range(254):
        exponents.append(exponents[-1] << 1 ^ (0x11D if exponents[-1] & 128 else 0))
    logarithms = {value: index for index, value in enumerate(exponents)}
    _, words = draw(code, 5)
    for word in np.packbits(words, axis=1).tolist():
        for root in range(code.parity):
            value = 0
            for byte in word:
                value = (exponents[(logarithms[value] + root) % 255] if value else 0) ^ byte
            assert value == 0


def block_losses(code: Code, ber: float, blocks: int) -> int:
    data, words = draw(code, blocks)
    return int((code.decode(noisy(words, ber)).data != data).any(axis=1).sum())


def test_bch_is_lost_as_often_as_computed():
    code = BCH(7)
    probability = binom.sf(code.t, code.data_bits + code.checks, 6e-3)
    assert likely(block_losses(code, 6e-3, 2000), 2000, probability)


def test_reed_solomon_is_lost_as_often_as_computed():
    code = ReedSolomon(data=60, parity=16)
    probability = binom.sf(code.parity // 2, 76, 1 - (1 - 1.2e-2) ** 8)
    assert likely(block_losses(code, 1.2e-2, 300), 300, probability)


@pytest.mark.parametrize(
    ("code", "below"), [(LDPC(data=256, parity=256, ber=0.07), 0.06), (RepeatAccumulate(256, 256), 0.075)], ids=str
)
def test_sparse_codes_fall_off_where_they_should_on_a_binary_symmetric_channel(code, below):
    """Rate 1/2, 2048 bits of data: capacity is reached at 0.11, the waterfalls lie at about 0.08 and 0.095."""
    check_waterfall(code, lambda words, ber: (noisy(words, ber),), (below, 0.12))


@pytest.mark.parametrize(
    ("code", "decibels"), [(LDPC(data=256, parity=256), (1.8, 0.3)), (RepeatAccumulate(256, 256), (1.6, 0.2))], ids=str
)
def test_sparse_codes_fall_off_where_they_should_in_gaussian_noise(code, decibels):
    """Rate 1/2: capacity is reached at Eb/N0 = 0.19 dB; the first number is above the waterfall, the second below."""
    rates = [float(norm.sf(math.sqrt(2 * code.rate * 10 ** (ratio / 10)))) for ratio in decibels]
    check_waterfall(code, over_air, rates)


def check_waterfall(code: Code, send: Callable[..., tuple[np.ndarray, ...]], rates: Sequence[float]) -> None:
    """No block is lost at the first bit error rate, all are at the second, and the decoder says so."""
    data, words = draw(code, 24)
    for ber, all_or_none in zip(rates, (0, 24), strict=True):
        decoded = code.decode(*send(words, ber))
        assert decoded.failed.sum() == all_or_none
        assert ((decoded.data == data).all(axis=1) == ~decoded.failed).all()


def test_ldpc_blocks_satisfy_the_parity_checks_of_the_graph():
    code = LDPC(data=37, parity=30)
    graph = code._graph(code.data_bits)
    data, words = draw(code, 4)
    whole = graph._encoder.pcm
    known = np.zeros((4, whole.shape[1]), np.int64)
    known[:, : code.data_bits] = data
    coded = graph.encode(data)
    filler = graph._encoder.k_ldpc - code.data_bits
    sent = graph._hidden + np.arange(coded.shape[1])
    known[:, np.where(sent < code.data_bits, sent, sent + filler)] = coded
    checks = whole.tocsr()
    reach = code.data_bits + filler + 4 * graph._encoder.z
    full = [row for row in range(checks.shape[0]) if checks[row].indices.max() < reach]
    assert full
    assert not (checks[full] @ known.T % 2).any()
    assert words.shape == coded.shape


def convolve(data: np.ndarray, polynomials: tuple[str, ...]) -> np.ndarray:
    """Convolution by definition, first output first."""
    outputs = [np.convolve(data, [int(tap) for tap in polynomial]) % 2 for polynomial in polynomials]
    return np.stack(outputs, axis=1).reshape(-1)


@pytest.mark.parametrize(
    ("code", "polynomials", "distance"),
    [
        (Convolutional(data=6, memory=2), ("101", "111"), 5),
        (Convolutional(data=6, memory=6), ("1011011", "1111001"), 10),
        (Convolutional(data=6, outputs=3, memory=2), ("101", "111", "111"), 8),
    ],
    ids=str,
)
def test_viterbi_repairs_up_to_half_the_free_distance(code, polynomials, distance):
    data, words = draw(code, 1)
    coded = convolve(data[0], polynomials)
    assert (words[0, : coded.size] == coded).all()
    impulses = np.eye(24, dtype=np.uint8)[:1].repeat(2**6, axis=0)
    impulses[:, 1:7] = np.arange(2**6)[:, None] >> np.arange(6) & 1
    weights = [convolve(impulse, polynomials).sum() for impulse in impulses]
    assert min(weights) == distance

    repeats = words.shape[1] - coded.size
    places = list(combinations(range(repeats, coded.size), (distance - 1) // 2))
    rng = np.random.default_rng(0)
    chosen = [places[index] for index in rng.choice(len(places), min(200, len(places)), replace=False)]
    received = words.repeat(len(chosen), axis=0)
    for word, flipped in zip(received, chosen, strict=True):
        word[list(flipped)] ^= 1
    decoded = code.decode(received)
    assert (decoded.data == data).all()
    assert (decoded.flips == (distance - 1) // 2).all()


def test_viterbi_takes_the_nearer_codeword_even_if_it_is_wrong():
    code = Convolutional(data=6, memory=2)
    words = code.encode(np.zeros((1, 48), np.uint8))
    near = convolve(np.eye(48, dtype=np.uint8)[10], ("101", "111"))
    flipped = np.flatnonzero(near)[:3]
    words[0, flipped] ^= 1
    decoded = code.decode(words)
    assert decoded.data.tolist() == np.eye(48, dtype=np.uint8)[10:11].tolist()
    assert decoded.flips.tolist() == [2]
    assert not decoded.failed.any()


@pytest.mark.parametrize("size", [64, 200, 1000])
def test_repeat_accumulate_finds_nearly_as_many_erased_bits_as_it_has_checks(size):
    """All but some dozen; more than it has checks no code can."""
    code = RepeatAccumulate(data=size, parity=size // 4)
    data, words = draw(code, 6)
    rng = np.random.default_rng(0)
    for lost, expected in ((code.parity_bits - 40, 0), (code.parity_bits + 8, 6)):
        llr = np.where(words, -np.inf, np.inf).astype(np.float32)
        for row in llr:
            row[rng.permutation(row.size)[:lost]] = 0
        received = np.where(llr == 0, rng.integers(0, 2, words.shape, dtype=np.uint8), words)
        decoded = code.decode(received, llr)
        assert decoded.failed.sum() == expected
        assert (decoded.data == data)[~decoded.failed].all()
