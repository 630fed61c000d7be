"""The search of short circles is exact, that of long ones holds little memory, and the protocol keeps its contract."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from contracts import check_protocol
from flipproof.codebook.rotated import RotatedCodebook
from flipproof.protocol.trellis import TrellisProtocol
from flipproof.selection import trellis
from flipproof.selection.trellis import Blocks, codewords, select_trellis, windows


def normals(size: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(size)).float()


def products(bits: np.ndarray, blocks: Blocks, residual: Tensor) -> np.ndarray:
    """Inner products of a residual with the samples that rows of bits name."""
    left, right = blocks.folded(residual)
    table = (left @ right.T).numpy()
    return table[np.arange(blocks.count), windows(bits, blocks.window)].sum(axis=1)


def all_bits(count: int) -> np.ndarray:
    return (np.arange(1 << count)[:, None] >> np.arange(count) & 1).astype(np.uint8)


@pytest.mark.parametrize("window", [2, 3, 4, 8])
@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 12])
def test_search_of_a_short_circle_finds_the_best_bits_of_all(count, window):
    """Against all 2^T strings, in circles shorter than the window too."""
    blocks = Blocks(5 * count + count // 2, count, window)
    for seed in range(10):
        residual = normals(blocks.samples, seed)
        found = products(select_trellis(residual, blocks)[None], blocks, residual)[0]
        assert found == pytest.approx(products(all_bits(count), blocks, residual).max(), rel=1e-4)


def test_search_of_wide_windows_misses_little():
    """From the likeliest states only, with ten bits; measured 0.988 of the best product, and the best in 55 of 100."""
    blocks, ratios = Blocks(30 * 14, 14, 10), []
    for seed in range(20):
        residual = normals(blocks.samples, seed)
        best = products(all_bits(14), blocks, residual).max()
        ratios.append(products(select_trellis(residual, blocks)[None], blocks, residual)[0] / best)
    assert max(ratios) < 1 + 1e-4
    assert np.mean(ratios) > 0.97


@pytest.mark.parametrize("count", [32, 100, 1000])
def test_closed_circles_turn(count):
    """Where a circle begins hardly matters."""
    blocks = Blocks(20 * count, count, 10)
    residual = normals(blocks.samples, count)
    turned = [torch.roll(residual, 20 * shift) for shift in (0, count // 3, count // 2)]
    found = [products(select_trellis(r, blocks)[None], blocks, r)[0] for r in turned]
    assert all(a == pytest.approx(b, rel=0.03) for a, b in pairwise(found))


@pytest.mark.parametrize("count", [1, 3])
def test_long_blocks_take_no_more_memory_than_their_samples(count):
    """A header may ask for two million samples of a bit and 2^15 codewords: as a table that were 256 GiB.

    A matrix of all pairs of codewords would be 4 GiB.
    """
    blocks = Blocks(1 << 21, count, 15)
    residual = normals(blocks.samples)
    bits = select_trellis(residual, blocks)
    samples = blocks.spread(torch.from_numpy(windows(bits[None], 15)), torch.ones(1, count))
    assert float(samples.square().mean()) == pytest.approx(1, abs=1e-3)
    assert bits.shape == (count,)


@pytest.mark.parametrize(("samples", "count", "window"), [(60, 12, 4), (60, 1, 10), (60, 30, 2), (60, 7, 10)])
def test_contract(samples, count, window):
    protocol, codebook = TrellisProtocol(samples, count, window), RotatedCodebook(samples, samples, 0)
    bits = select_trellis(codebook.analyse(normals(samples)[None])[0], protocol.blocks)
    check_protocol(protocol, protocol.read(bits[None], np.ones(count, bool)))


def test_shares_of_short_circles():
    """Of the bound, with ten bits and 20 samples a bit; the mean of 20 residuals scatters by 0.04."""
    shares = {}
    for count in (4, 16, 64):
        blocks = Blocks(20 * count, count, 10)
        captured = []
        for seed in range(20):
            residual = normals(blocks.samples, seed)
            captured.append(products(select_trellis(residual, blocks)[None], blocks, residual)[0] ** 2 / blocks.samples)
        shares[count] = np.mean(captured) / (blocks.samples * (1 - math.exp2(-2 / 20)))
    assert 0.5 < shares[4] < 0.8
    assert 0.75 < shares[16] < 0.92
    assert 0.84 < shares[64] < 0.94


@pytest.mark.parametrize(("count", "window"), [(9000, 6), (3000, 12), (300, 10)])
def test_searching_side_by_side_or_by_parts_loses_next_to_nothing(count, window, monkeypatch):
    """One segment, 16 at a time, and groups of 16 as memory allows; the same bits but near seams and for ties."""
    blocks = Blocks(10 * count, count, window)
    residual, found = normals(blocks.samples, 1), []
    bound = 4 * 16 * max(trellis.LEAST_RUN_IN, trellis.RUN_IN * (window - 1)) << window - 1
    for costs, survivors in (({1: 1}, 2**30), ({16: 1}, 2**30), ({16: 1}, bound)):
        monkeypatch.setattr(trellis, "STATE_COST", {1: 10**6} | costs)
        monkeypatch.setattr(trellis, "SURVIVORS", survivors)
        monkeypatch.setattr(trellis, "LONGEST", 10**6)
        found.append(select_trellis(residual, blocks))
    best, *others = (products(bits[None], blocks, residual)[0] for bits in found)
    assert others == pytest.approx([best, best], rel=0.01)
    assert all(np.mean(bits != found[0]) < 0.1 for bits in found)


@pytest.mark.parametrize("window", [2, 9, 12, 13, 15])
@pytest.mark.parametrize("count", [64, 5000, 2**23])
def test_survivors_are_bounded_for_any_circle(count, window, monkeypatch):
    """Their memory is that of a picture of any size, and a segment has more bits than its run-in."""
    asked = []

    def search(factors, words, places):
        asked.append(places.shape)
        return None, [0] * places.shape[1]

    monkeypatch.setattr(trellis, "_search", search)
    monkeypatch.setattr(trellis, "_follow", lambda older, state, kept: (np.zeros(sum(kept), np.uint8), state))
    monkeypatch.setattr(trellis, "_close", lambda older, states, kept: (np.zeros(sum(kept), np.uint8), True))
    run_in = trellis.RUN_IN * (window - 1)
    assert trellis._search_round(torch.empty(count, 1), torch.empty(window - 1, 1, 1)).shape == (count,)
    assert max(steps * rows for steps, rows in asked) << window - 1 <= trellis.SURVIVORS
    assert 2 * run_in - 64 < max(steps for steps, _ in asked) <= trellis.LONGEST


def test_turned_codewords_give_each_state_its_own():
    """Steps replace bits from the highest place down; ordered by the bit that leaves, then by the new state."""
    window, width = 5, 7
    words, memory = codewords(width, window), window - 1
    for t, turn in enumerate(trellis._turned((width,), window)):
        for oldest in range(2):
            for state in range(1 << memory):
                place = memory - 1 - t
                bits = [state >> (place + age) % memory & 1 for age in range(memory)] + [oldest]
                number = sum(bit << age for age, bit in enumerate(bits))
                assert torch.equal(turn[(oldest << memory) + state], words[number])


@pytest.mark.parametrize("count", [64, 100, 200])
def test_circles_that_survivors_leave_open_are_searched_closed(count, monkeypatch):
    """From the state where they ended, which loses little."""
    blocks, ratios = Blocks(20 * count, count, 8), []
    for seed in range(10):
        residual = normals(blocks.samples, seed)
        found = products(select_trellis(residual, blocks)[None], blocks, residual)[0]
        with monkeypatch.context() as patch:
            patch.setattr(trellis, "LAPS", 1)
            patch.setattr(trellis, "AHEAD", 0)
            ratios.append(products(select_trellis(residual, blocks)[None], blocks, residual)[0] / found)
    assert 0.97 < np.mean(ratios) < 1.01
