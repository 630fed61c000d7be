from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from flipproof.prior import tiling
from flipproof.prior.evaluator import Evaluator
from flipproof.prior.load import PRECISIONS, native_bytes
from flipproof.prior.small import SmallPrior, precondition
from flipproof.prior.tiling import HALO, TILE, pad, spans, tiled
from flipproof.study.dataset.bundled import load

LEVEL = 2 / 255


@pytest.fixture(scope="module")
def prior():
    return SmallPrior.load()


def noise(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


# Where tiles lie


@given(st.integers(1, 20_000), st.integers(0, 5))
def test_tiles_cover_a_side_without_overlap(side, power):
    places = list(spans(side, 1 << power))
    assert places[0][0] == 0
    assert places[-1][1] == side
    assert all(stop == start for (_, stop), (start, _) in pairwise(places))
    assert all(start % (1 << power) == 0 for start, _ in places)
    assert all(0 < stop - start <= TILE + (1 << power) for start, stop in places)
    assert len(places) <= -(-side // TILE)


@pytest.mark.parametrize("side", [1, 512, 768, 1024, TILE])
def test_usual_pictures_are_one_tile(side):
    assert list(spans(side, 16)) == [(0, side)]


# What tiles give


@pytest.mark.parametrize(("rows", "columns"), [(64, 64), (70, 100), (33, 129), (16, 200), (65, 1)])
@pytest.mark.parametrize("growth", [1, 2])
def test_a_local_function_has_no_seams(rows, columns, growth, monkeypatch):
    """A blur that reaches less far than the halo, zeros outside, is the same with tiles of 32 and a halo of 16."""
    monkeypatch.setattr(tiling, "TILE", 32)
    monkeypatch.setattr(tiling, "HALO", 16)

    def blur(x):
        return functional.avg_pool2d(x, 31, stride=1, padding=15)

    y = noise(2, 3, rows, columns)
    whole = pad(functional.interpolate(y, scale_factor=growth), 16)
    expected = blur(whole)[:, :, : growth * rows, : growth * columns]
    assert torch.allclose(tiled(blur, y, 16, growth), expected, atol=1e-6)


def test_a_picture_of_one_tile_is_evaluated_whole():
    seen = []

    def record(x):
        seen.append(tuple(x.shape))
        return x

    y = noise(3, 3, 512, 768)
    assert torch.equal(tiled(record, y, 16), y)
    assert seen == [(2, 3, 512, 768), (1, 3, 512, 768)]


@pytest.mark.parametrize("sigma", [0.05, 1.2])
def test_seams_are_below_a_hundredth_of_a_level(prior, sigma, monkeypatch):
    """Tiles of 128 with the usual halo against the same picture whole, of a photograph."""
    x = torch.tensor(load("coffee")[:384, :384]).permute(2, 0, 1)[None] / 127.5 - 1
    y = x + sigma * noise(*x.shape)
    whole = prior.denoise(y, sigma)
    assert HALO == 128
    monkeypatch.setattr(tiling, "TILE", 192)
    assert len(list(spans(384, 16))) == 2
    assert float((prior.denoise(y, sigma) - whole).abs().max()) < LEVEL / 100


def test_refining_in_tiles_is_refining(prior, monkeypatch):
    y = functional.avg_pool2d(noise(1, 3, 336, 320), 4).clamp(-1, 1)
    whole = prior.refine(y, 0.3)
    monkeypatch.setattr(tiling, "TILE", 96)
    assert float((prior.refine(y, 0.3) - whole).abs().max()) < LEVEL / 100


# One noise level for all


@pytest.mark.parametrize("refine", [0.0, 1.0])
@pytest.mark.parametrize("size", [(16, 32), (64, 96)])
def test_the_evaluator_is_the_network(prior, size, refine):
    x = noise(2, 3, *size)
    expected = prior.net(x, torch.full((2,), -0.7), torch.full((2,), refine))
    assert torch.allclose(Evaluator(prior.net)(x, -0.7, refine), expected, atol=2e-5)


def test_the_prior_is_the_preconditioned_network(prior):
    y = noise(2, 3, 32, 48)
    for mean, seen, refine in (
        (prior.denoise(y, 0.4), y, 0.0),
        (prior.refine(y, 0.4), functional.interpolate(y, scale_factor=2), 1.0),
    ):
        expected = precondition(prior.net, seen, torch.full((2,), 0.4), torch.full((2,), refine))
        assert torch.allclose(mean, expected, atol=2e-5)


@pytest.mark.parametrize("precision", [name for name in PRECISIONS if name != "int8" or native_bytes()])
def test_asking_changes_neither_question_nor_network(precision):
    prior = SmallPrior.load(precision=precision)
    before = {name: tensor.clone() for name, tensor in prior.net.state_dict().items()}
    y = noise(1, 3, 32, 48)
    kept = y.clone()
    first = prior.denoise(y, 0.4)
    assert first.dtype == torch.float32
    assert torch.equal(y, kept)
    assert torch.equal(prior.denoise(y, 0.4), first)
    assert all(torch.equal(tensor, before[name]) for name, tensor in prior.net.state_dict().items())
