from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from flipproof.codebook import rotated
from flipproof.codebook.rotated import RotatedCodebook, hartley


def direct(x):
    """By the definition, in float64."""
    n = x.shape[-1]
    angles = 2 * torch.pi * torch.outer(torch.arange(n), torch.arange(n)).remainder(n).double() / n
    return (x.double() @ (angles.cos() + angles.sin())) / n**0.5


@pytest.mark.parametrize("longest_of_torch", [1, 2**40], ids=["numpy", "torch"])
@settings(max_examples=20, deadline=None)
@given(st.integers(1, 60), st.integers(1, 3), st.integers(0, 99))
def test_the_transform_is_the_definition(longest_of_torch, size, batch, seed):
    x = torch.randn(batch, size, generator=torch.Generator().manual_seed(seed))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rotated, "LONG", longest_of_torch)
        y = hartley(x)
        assert y.dtype == torch.float32
        assert torch.allclose(y, direct(x).float(), atol=1e-5)
        assert torch.allclose(hartley(y), x, atol=1e-5)


@pytest.mark.parametrize("atoms", [7, 101, 102, 250])
def test_long_vectors_have_the_same_codebook(atoms, monkeypatch):
    codebook = RotatedCodebook(101, atoms, 3)
    x = torch.randn(2, 101, generator=torch.Generator().manual_seed(0))
    chosen, weights = torch.tensor([[0, 6], [3, 5]]), torch.tensor([[1.0, -1.0], [0.5, 2.0]])

    def everything():
        with torch.inference_mode():
            sums = codebook.synthesise(chosen, weights)
            return codebook.analyse(x), sums, codebook.noise(2), codebook.combine(weights)

    short = everything()
    monkeypatch.setattr(rotated, "LONG", 1)
    for a, b in zip(short, everything(), strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_arguments_are_left_alone():
    codebook = RotatedCodebook(64, 64, 0)
    x, weights = torch.ones(1, 64), torch.ones(1, 2)
    codebook.analyse(x)
    codebook.synthesise(torch.tensor([[0, 1]]), weights)
    codebook.combine(weights)
    assert torch.equal(x, torch.ones(1, 64))
    assert torch.equal(weights, torch.ones(1, 2))
