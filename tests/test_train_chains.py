"""Training states from chains."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from conftest import photograph
from flipproof.errors import WeightsError
from flipproof.train.chains import ChainLaw, Pool, steer
from flipproof.train.data import PhotoSet
from flipproof.train.pyramid import Pyramid

LAW = ChainLaw()
DENOISE, REFINE = replace(LAW, refine_share=0.0), replace(LAW, refine_share=1.0)
Z = 5.0
"""Deviations of a normal that a test allows: it fails by chance less than once in a million runs."""


def pool(law=LAW, count=64, size=16, seed=0):
    crops = Pyramid(PhotoSet(((photograph(40, 50),), (photograph(48, 48, 1),))), size, (1, 2))
    return Pool(crops, count, law, np.random.default_rng(seed))


def has_unit_variance(noise):
    """Whether independent normals of variance 1 would have this mean square (two-sided)."""
    return abs(noise.square().mean().item() - 1) < Z * math.sqrt(2 / noise.numel())


def level(chains):
    return chains.sigma[:, None, None, None]


def test_chains_begin_with_noise_of_their_level():
    chains = pool(DENOISE).chains
    assert has_unit_variance((chains.y - chains.x) / level(chains))
    assert chains.x.abs().max() <= 1


def test_chains_that_refine_begin_with_noisy_averages():
    chains = pool(REFINE).chains
    assert has_unit_variance((chains.coarse - functional.avg_pool2d(chains.x, 2)) / level(chains))
    assert torch.equal(chains.y, functional.interpolate(chains.coarse, scale_factor=2, mode="nearest"))


def test_levels_are_stratified_with_equal_shares_between_neighbours():
    for law, levels in ((DENOISE, LAW.levels), (REFINE, LAW.refine_levels)):
        share = np.interp(np.log(pool(law).chains.sigma.numpy()), np.log(levels), np.linspace(0, 1, len(levels)))
        assert np.array_equal(np.sort(np.floor(64 * share).clip(0, 63)), np.arange(64))


def test_some_chains_end_after_their_first_state():
    for share, least, most in ((0.0, 3, LAW.life + 2), (1.0, 1, 1)):
        tank = pool(replace(LAW, plain_share=share))
        assert {1.0, float(LAW.life)} <= set(tank.chains.left.tolist()) <= set(range(1, LAW.life + 1))
        tank.chains.left.fill_(1)  # all end
        tank.move(tank.chains.x.clone(), np.random.default_rng(1))
        assert (tank.chains.left.min(), tank.chains.left.max()) == (least, most)


@pytest.mark.parametrize("law", [DENOISE, REFINE])
def test_a_prior_that_knows_the_picture_keeps_the_schedule(law):
    """Without a residual, states after a step are pictures plus white noise of the next level."""
    tank = pool(law)
    tank.law = replace(law, levels=(0.0, 1.7))  # none ends
    tank.chains.left.fill_(30)
    before = tank.chains.sigma.clone()
    tank.move(tank.chains.x.clone(), np.random.default_rng(1))
    chains = tank.chains
    ratio = torch.full_like(before, 2.0) if law is REFINE else 2 ** (-1 / chains.octave)
    assert torch.allclose(chains.sigma, ratio * before)
    assert has_unit_variance((chains.y - chains.x) / level(chains))
    assert not chains.refine.any()


def test_efficient_steering_keeps_the_schedule_of_a_prior_that_errs():
    """With beta = j = 1 the residual is made up for, in the mean and in the energy of what is left."""
    tank = pool(replace(DENOISE, levels=(0.5, 1.7), efficiency=(1.0, 1.0), spread=0.0))
    tank.law = replace(tank.law, levels=(0.0, 1.7))  # none ends
    tank.chains.left.fill_(30)
    error = 0.2 * torch.randn(tank.chains.x.shape, generator=torch.Generator().manual_seed(0))
    y, before, x = tank.chains.y.clone(), tank.chains.sigma.clone(), tank.chains.x.clone()
    tank.move(x - error, np.random.default_rng(1))
    rho = ((tank.chains.sigma / before) ** 2)[:, None, None, None]
    spent = (1 - rho) / level(tank.chains) ** 2 * error.square().mean((1, 2, 3), keepdim=True)
    white = (tank.chains.y - x - rho * (y - x)) / (level(tank.chains) * ((1 - rho) * (1 - spent)).sqrt())
    assert torch.equal(tank.chains.x, x)
    assert has_unit_variance(white)
    assert abs((white * error).sum() / error.norm()) < Z


def test_growing_keeps_the_averages_that_are_known():
    tank = pool(REFINE)
    tank.chains.left.fill_(5)
    coarse = tank.chains.coarse.clone()
    tank.move(torch.zeros_like(tank.chains.x), np.random.default_rng(1))
    assert torch.allclose(functional.avg_pool2d(tank.chains.y, 2), coarse, atol=1e-5)


@given(st.floats(0, 2), st.floats(0.6, 1.4), st.integers(0, 2**32))
def test_steering_noise_holds_the_energy_that_it_should(kappa, j, seed):
    generator = torch.Generator().manual_seed(seed)
    residual, white = torch.randn(2, 3, 32, 32, generator=generator), torch.randn(2, 3, 32, 32, generator=generator)
    z = steer(residual, torch.full((2,), kappa), white, torch.full((2,), j))
    steered = min(0.9, j * kappa**2 * residual[0].square().mean().item())
    left = (z - kappa * residual)[0]
    assert left.square().mean().item() == pytest.approx((1 - steered) * white[0].square().mean().item(), rel=1e-3)
    assert torch.allclose(
        z.flatten(1), steer(residual.flatten(1), torch.full((2,), kappa), white.flatten(1), torch.full((2,), j))
    )


def test_chains_end_and_others_begin():
    tank, rng = pool(count=32), np.random.default_rng(1)
    for _ in range(20):
        mean = tank.chains.x + 0.05 * torch.sin(37 * tank.chains.x)
        tank.move(mean, rng)
        chains = tank.chains
        assert chains.left.min() >= 1
        assert chains.left.max() <= LAW.life + 2
        assert chains.sigma.min() >= LAW.levels[0]
        assert chains.sigma.max() <= 2 * LAW.refine_levels[-1]
        assert chains.y.isfinite().all()
    assert 0 < chains.refine.sum() < 32


def test_pools_are_drawn_by_their_generator_and_come_back():
    one, same, other = pool(seed=1), pool(seed=1), pool(seed=2)
    rng = np.random.default_rng(3)
    assert all(torch.equal(tensor, same.chains.tensors()[name]) for name, tensor in one.chains.tensors().items())
    one.move(one.chains.x.clone(), rng)
    other.chains.restore(one.chains.tensors())
    assert all(torch.equal(tensor, other.chains.tensors()[name]) for name, tensor in one.chains.tensors().items())
    with pytest.raises(WeightsError, match=r"expected chains with x of shape \(8, 3, 16, 16\), got \(64, 3, 16, 16\)"):
        pool(count=8).chains.restore(one.chains.tensors())
    with pytest.raises(WeightsError, match=r"with x of shape .* got none"):
        one.chains.restore({})
