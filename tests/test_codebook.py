from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from flipproof.codebook.rotated import RotatedCodebook, hartley, random_signs
from flipproof.seeds import derive


@settings(deadline=None)
@given(st.integers(1, 300))
def test_atoms_are_orthonormal(size):
    codebook = RotatedCodebook(size, step=1)
    atoms = codebook.synthesise(torch.eye(size))
    assert torch.allclose(atoms @ atoms.T, torch.eye(size), atol=1e-5)
    assert torch.allclose(codebook.analyse(atoms), torch.eye(size), atol=1e-5)


@pytest.mark.parametrize("size", [1, 2, 7, 64, 100])
def test_hartley_matches_its_definition(size):
    j = np.arange(size)
    angle = 2 * math.pi * np.outer(j, j) / size
    matrix = torch.from_numpy((np.cos(angle) + np.sin(angle)) / math.sqrt(size)).float()
    x = torch.linspace(-1, 1, 3 * size).view(3, size)
    assert torch.allclose(hartley(x), x @ matrix, atol=1e-5)


def test_golden_signs():
    """The generator is part of the bitstream: these never change."""
    assert derive(purpose="rotated codebook", size=20, step=3, seed=0) == 0x66DBE0F556DE767F0F384014C589D20A
    signs = RotatedCodebook(20, step=3)._signs()
    assert "".join("+-"[s < 0] for s in signs.tolist()) == "--+++++-+++--++---+-"
    assert (
        "".join("+-"[s < 0] for s in random_signs(70, key=1).tolist())
        == "-----+--+-+++++-+-+++--+-+-+---+--+----++-+++-+-+--+--+--+--++-+----+-"
    )


def test_golden_atoms():
    first = RotatedCodebook(6, step=0).synthesise(torch.eye(6)[:2])
    expected = [
        [-0.408248, 0.408248, 0.408248, 0.408248, -0.408248, -0.408248],
        [-0.408248, 0.557678, 0.149429, -0.408248, 0.557678, 0.149429],
    ]
    assert torch.allclose(first, torch.tensor(expected), atol=1e-6)


def test_steps_and_sizes_have_their_own_signs():
    keys = [
        RotatedCodebook(size, step, seed)._signs()[:64]
        for size, step, seed in ((64, 0, 0), (64, 1, 0), (128, 0, 0), (64, 0, 1))
    ]
    for i, a in enumerate(keys):
        for b in keys[:i]:
            assert not torch.equal(a, b)


def test_products_of_any_residual_look_normal():
    """Variance and fourth moment of 3 x 2^16 products of a very structured residual; bounds of 5 deviations."""
    n = 3 * 2**16
    residual = torch.zeros(1, n)
    residual[0, : n // 7] = torch.linspace(0, 1, n // 7)
    products = RotatedCodebook(n, step=5).analyse(residual)[0] * math.sqrt(n) / residual.norm()
    assert abs(float(products.square().mean()) - 1) < 1e-4
    assert abs(float(products.pow(4).mean()) - 3) < 5 * math.sqrt(96 / n)
    assert abs(float(products.mean())) < 5 / math.sqrt(n)
