"""The search of short circles is exact, long blocks take no memory, and the protocol keeps its contract."""

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
from flipproof.selection.trellis import Blocks, select_trellis, windows


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
