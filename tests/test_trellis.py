"""The trellis: windows, codewords, what they capture, and what a flip or a lost bit does."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from conftest import photograph
from flipproof.bits import BitReader, BitWriter
from flipproof.codebook.gaussian import GaussianCodebook
from flipproof.codebook.make import make_codebook
from flipproof.codec.script import Common
from flipproof.codec.trellis import TrellisCodec
from flipproof.container import unpack
from flipproof.errors import HeaderError, SpecError
from flipproof.prior.base import PIXELS
from flipproof.protocol.trellis import TrellisProtocol
from flipproof.selection.trellis import Blocks, codewords, select_trellis, windows

seeds = st.integers(0, 2**32 - 1)


def normals(size: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(size)).float()


def any_bits(protocol: TrellisProtocol, seed: int, rows: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2, (rows, protocol.bits), dtype=np.uint8)


def all_known(protocol: TrellisProtocol) -> np.ndarray:
    return np.ones(protocol.bits, bool)


def product(bits: np.ndarray, blocks: Blocks, residual: Tensor) -> float:
    """The inner product of a residual with the samples that bits name."""
    chosen = torch.from_numpy(windows(bits[None], blocks.window))
    return float(blocks.spread(chosen, torch.ones(chosen.shape))[0] @ residual)


@given(st.integers(1, 40), st.integers(2, 15), seeds)
def test_windows_are_the_bit_and_those_before_it(count, window, seed):
    """Round the circle, more than once where it is shorter than the window."""
    bits = np.random.default_rng(seed).integers(0, 2, (2, count), dtype=np.uint8)
    expected = [[sum(int(row[(t - j) % count]) << j for j in range(window)) for t in range(count)] for row in bits]
    assert windows(bits, window).tolist() == expected


@pytest.mark.parametrize("size", [1, 2, 3, 17, 32])
@pytest.mark.parametrize("window", [2, 10])
def test_codewords_are_gaussian_atoms_on_a_sphere(size, window):
    words = codewords(size, window)
    assert (words.shape, words.dtype) == ((1 << window, size), torch.float32)
    assert torch.allclose(words.norm(dim=1), torch.tensor(math.sqrt(size)), atol=1e-5)
    last = torch.tensor([[(1 << window) - 1]])
    atom = GaussianCodebook(size, 1 << window, 0).synthesise(last, torch.ones(1, 1))[0]
    assert float(words[-1] @ atom) == pytest.approx(float(words[-1].norm() * atom.norm()), rel=1e-5)


def test_codewords_are_pinned():
    """The format has them: they never change."""
    assert codewords(3, 2).flatten().tolist() == pytest.approx(
        [
            *(0.0497622, 1.6499004, 0.5247396, 1.6330189, 0.1747590, 0.5501899),
            *(-0.4844149, 0.5783531, 1.5591183, 0.7188675, -1.4905093, 0.5114802),
        ],
        abs=1e-5,
    )
    assert codewords(32, 10)[:2, :4].flatten().tolist() == pytest.approx(
        [-2.0313709, 0.6944932, 1.8490671, -1.2539430, -0.5137410, -1.0912381, 0.8108716, 0.8390293], abs=1e-5
    )
    assert codewords(1, 4)[:4, 0].tolist() == pytest.approx([1, -1, 1, 1])


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 300), st.data())
def test_samples_of_a_step_are_those_of_its_codewords(samples, data):
    """Any number of blocks, block by block: longer ones first, long ones repeated under signs."""
    blocks = Blocks(samples, data.draw(st.integers(1, samples)), data.draw(st.integers(2, 6)))
    rng = np.random.default_rng(data.draw(seeds))
    chosen = rng.integers(0, 1 << blocks.window, (2, blocks.count))
    weights = rng.random((2, blocks.count)).astype(np.float32)
    found = blocks.signed(blocks.spread(torch.from_numpy(chosen), torch.from_numpy(weights)))
    sizes = [blocks.size + (t < blocks.longer) for t in range(blocks.count)]
    assert sum(sizes) == samples
    for row in range(2):
        parts = [
            weights[row, t] * np.resize(codewords(min(size, 32), blocks.window)[chosen[row, t]].numpy(), size)
            for t, size in enumerate(sizes)
        ]
        assert np.allclose(found[row], np.concatenate(parts), atol=1e-6)
    flipped = bool((blocks.signed(torch.ones(samples)) < 0).any())
    assert not flipped or max(sizes) > 32


def test_signs_keep_long_blocks_from_being_periodic():
    samples = Blocks(6400, 64, 8).spread(torch.zeros(1, 64, dtype=torch.long), torch.ones(1, 64))[0].view(64, 100)
    assert abs(float((samples[:, :32] * samples[:, 32:64]).sum())) < 6 * math.sqrt(64 * 32)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 400), st.data())
def test_products_come_from_two_factors(samples, data):
    blocks = Blocks(samples, data.draw(st.integers(1, samples)), data.draw(st.integers(2, 5)))
    residual = normals(samples, data.draw(seeds))
    left, right = blocks.folded(residual)
    bits = np.random.default_rng(1).integers(0, 2, blocks.count, dtype=np.uint8)
    products = (left @ right.T).numpy()[np.arange(blocks.count), windows(bits[None], blocks.window)[0]]
    assert float(products.sum()) == pytest.approx(product(bits, blocks, residual), abs=1e-2)


@pytest.mark.parametrize(
    ("count", "samples"),
    [(3000, 6000), (2400, 6000), (1621, 6000), (750, 6000), (300, 6000), (270, 9001), (400, 40000)],
)
def test_captured_share_is_near_the_bound(count, samples):
    """Of the energy that any code of T bits can capture of white residuals, 1 - 2^(-2T/n), with windows of ten bits.

    The mean of 12 residuals scatters by 0.007 at most and is expected 4 deviations or more from both edges: a false
    alarm in 15,000 cases.
    """
    blocks = Blocks(samples, count, 10)
    shares = []
    for seed in range(12):
        residual = normals(samples, seed)
        captured = product(select_trellis(residual, blocks), blocks, residual) ** 2 / samples
        shares.append(captured / samples / (1 - 4 ** (-count / samples)))
    assert 0.85 < np.mean(shares) < 0.94


def test_seams_of_segments_lose_next_to_nothing():
    """Three segments, against one of all bits that begins elsewhere: the same bits but for ties."""
    blocks = Blocks(3 * 5000, 5000, 6)
    residual = normals(blocks.samples, 3)
    found = select_trellis(residual, blocks)
    turned = np.roll(select_trellis(torch.roll(residual, 3 * 1000), blocks), -1000)
    assert product(found, blocks, residual) == pytest.approx(product(turned, blocks, residual), rel=1e-3)
    assert np.mean(found != turned) < 0.01


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 200), st.data())
def test_one_flip_changes_one_window_of_blocks(samples, data):
    """L blocks, or all where there are no more; nothing else."""
    protocol = TrellisProtocol(samples, data.draw(st.integers(1, samples)), data.draw(st.integers(2, 8)))
    bits = any_bits(protocol, data.draw(seeds))
    clean = protocol.read(bits, all_known(protocol))
    flipped = protocol.read(bits ^ np.eye(protocol.bits, dtype=np.uint8), all_known(protocol))
    changed = (flipped.chosen != clean.chosen).numpy()
    for t, row in enumerate(changed):
        held = {(t + j) % protocol.bits for j in range(protocol.window)}
        assert set(np.flatnonzero(row)) == held


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 200), st.data())
def test_unknown_bits_lose_the_windows_that_hold_them(samples, data):
    protocol = TrellisProtocol(samples, data.draw(st.integers(1, samples)), data.draw(st.integers(2, 8)))
    seed = data.draw(seeds)
    known = np.random.default_rng(seed).random(protocol.bits) < 0.8
    steering = protocol.read(any_bits(protocol, seed, 2), known)
    whole = [all(known[(t - j) % protocol.bits] for j in range(protocol.window)) for t in range(protocol.bits)]
    assert steering.weights.tolist() == [[float(value) for value in whole]] * 2
    assert steering.share == pytest.approx(np.mean(whole))


def test_all_unknown_steers_by_known_noise():
    protocol = TrellisProtocol(60, 12, 4)
    codebook = make_codebook("rotated", 60, protocol.atoms, 1)
    steering = protocol.read(any_bits(protocol, 0), np.zeros(12, bool))
    assert steering.share == 0
    noise = codebook.noise(1)
    assert torch.allclose(steering.to("cpu").steer(codebook), noise / noise.square().mean().sqrt(), atol=1e-5)


def test_doubt_weighs_windows_by_their_probability():
    """The product of the probabilities of their bits; certain ones count in full, coin tosses half each."""
    protocol = TrellisProtocol(80, 16, 3)
    known = all_known(protocol)
    known[5] = False
    steering = protocol.read(any_bits(protocol, 2), known)
    reliability = np.random.default_rng(3).exponential(2, (1, 16)).astype(np.float32)
    reliability[0, 8:12], reliability[0, 12:] = np.inf, 0
    weights = protocol.doubt(steering, reliability).weights[0].numpy()
    right = 1 / (1 + np.exp(-reliability[0].astype(float)))
    expected = [right[t] * right[t - 1] * right[t - 2] * (t not in (5, 6, 7)) for t in range(16)]
    assert np.allclose(weights, expected, atol=1e-6)
    assert weights[10:12].tolist() == [1, 1]
    assert weights[15] == pytest.approx(1 / 8)
    assert (steering.weights[0] == 1).sum() == 13, "what was read stays as it is"


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 120), st.data())
def test_every_number_of_bits_is_legal(samples, data):
    """From one, in circles shorter than the window too: what is found is read again, and points along the residual."""
    blocks = Blocks(samples, data.draw(st.integers(1, max(1, samples // 2))), data.draw(st.integers(2, 6)))
    protocol = TrellisProtocol(samples, blocks.count, blocks.window)
    codebook = make_codebook("rotated", samples, protocol.atoms, 0)
    residual = normals(samples, data.draw(seeds))[None]
    bits = select_trellis(codebook.analyse(residual)[0], blocks)
    assert (bits.shape, bits.dtype) == ((blocks.count,), np.uint8)
    assert set(np.unique(bits)) <= {0, 1}
    z = protocol.read(bits[None], all_known(protocol)).steer(codebook)
    assert z.shape == (1, samples)
    assert float(z.square().mean()) == pytest.approx(1, abs=1e-4)


def test_steering_is_the_rotated_sum_of_codewords():
    protocol = TrellisProtocol(50, 7, 4)
    codebook = make_codebook("rotated", 50, protocol.atoms, 2)
    steering = protocol.read(any_bits(protocol, 4, 3), all_known(protocol))
    matrix = codebook.synthesise(torch.arange(50)[:, None], torch.ones(50, 1))
    c = protocol.blocks.spread(steering.chosen, steering.weights)
    expected = c @ matrix
    assert torch.allclose(
        steering.steer(codebook), expected / expected.square().mean(1, keepdim=True).sqrt(), atol=1e-4
    )
    assert (protocol.atoms, protocol.sign_bits, protocol.parts) == (50, 0, 1)


@pytest.mark.parametrize("kind", ["rotated", "gaussian"])
def test_codebooks_combine_their_first_atoms(kind):
    codebook, weights = make_codebook(kind, 50, 64, 1), normals(60).view(2, 30)
    matrix = codebook.synthesise(torch.arange(30)[:, None], torch.ones(30, 1))
    assert torch.allclose(codebook.combine(weights), weights @ matrix, atol=1e-3)


def header(window: int, budget: int) -> BitReader:
    """Fields of a chain of one step on grid 1."""
    fields = BitWriter()
    for value, bits in ((0, 3), (16, 8), (8, 5), (3, 3), (window, 4), (1, 6), (0, 3), (2000, 12), (budget, 26)):
        fields.write("field", value, bits)
    return BitReader(fields.getvalue())


@pytest.mark.parametrize(
    ("side", "budget", "bits"),
    [(1, 1, 1), (1, 2**26 - 1, 1), (40, 2399, 2399), (40, 2401, 2400), (4096, 2**26 - 1, 3 * 2**23)],
)
def test_budgets_of_a_header_are_cut_to_half_a_bit_per_sample(side, budget, bits):
    script = TrellisCodec.read_script(header(15, budget), Common(side, side, PIXELS, "rotated"))
    assert [step.bits for step in script.steps] == [bits]
    assert script.steps[0].protocol == TrellisProtocol(3 * side * side, bits, 15)


def test_headers_of_no_trellis_are_refused():
    for window in (0, 1):
        with pytest.raises(HeaderError, match=f"expected a window of 2 to 15 bits, got {window}"):
            TrellisCodec.read_script(header(window, 9), Common(40, 40, PIXELS, "rotated"))
    with pytest.raises(HeaderError, match="expected a rotated codebook, got a gaussian one"):
        TrellisCodec.read_script(header(10, 9), Common(40, 40, PIXELS, "gaussian"))
    with pytest.raises(HeaderError, match="no possible chain"):
        TrellisCodec.read_script(header(10, 0), Common(40, 40, PIXELS, "rotated"))


@pytest.mark.parametrize(
    ("samples", "count", "window", "text"),
    [
        (10, 0, 4, "expected 1 to 10 blocks, got 0"),
        (10, 11, 4, "expected 1 to 10 blocks, got 11"),
        (10, 5, 1, "expected a window of 2 to 15 bits, got 1"),
        (10, 5, 16, "expected a window of 2 to 15 bits, got 16"),
    ],
)
def test_impossible_blocks_are_refused(samples, count, window, text):
    with pytest.raises(SpecError, match=text):
        Blocks(samples, count, window)


@pytest.mark.parametrize("bpp", np.geomspace(0.15, 2, 12).tolist())
def test_last_steps_are_worth_their_time(bpp):
    """Two fifths of a step at least, as far as is known one step ahead; shorter ones are part of the step before."""
    codec = TrellisCodec(bpp=bpp)
    _, script = codec.open(unpack(codec.encode(photograph(96, 128))))
    before, last = (step.level for step in script.steps[-2:])
    assert before.grid == last.grid
    assert 0.3 < 3 * math.log2(before.sigma / last.sigma) < 1.5
