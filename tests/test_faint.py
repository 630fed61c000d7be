"""Detail that an encoder leaves out, since a decoder could not tell it from noise."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage import data as pictures
from torch import Tensor

from conftest import photograph
from flipproof import registry
from flipproof.chain import Proposal
from flipproof.codec.target import Target
from flipproof.errors import SpecError
from flipproof.metric.psnr import psnr
from flipproof.prior.base import Prior
from flipproof.prior.remembering import RememberingPrior
from flipproof.prior.shipped import SHIPPED
from flipproof.prior.small import SmallPrior
from flipproof.schedule import Level


class Halving(Prior):
    """Takes half of everything for noise, and counts how often it is asked."""

    name, fingerprint = "halving", 1

    def __init__(self) -> None:
        self.asked: list[tuple[torch.Size, float]] = []

    def denoise(self, y: Tensor, sigma: float) -> Tensor:
        self.asked.append((y.shape, sigma))
        return y / 2


class Strict(Halving):
    """Another, which is not to be asked."""

    name, fingerprint = "strict", 2

    def denoise(self, y: Tensor, sigma: float) -> Tensor:
        raise AssertionError


def target(judge: Prior) -> Target:
    return Target.of(photograph(16, 32), Strict(), 2, "cpu", judge=judge)


def proposal(grid: int, growing: bool = False) -> Proposal:
    size = 3 * 16 * 32 // grid**2 * (3 if growing else 4) // 4
    return Proposal(1, 1.0, Level(grid, 0.5), growing, size, lambda: torch.zeros(1, size))


def test_what_the_judge_takes_for_noise_is_left_out():
    aim = target(Halving())
    for step in (proposal(2), proposal(1), proposal(1, growing=True)):
        assert torch.allclose(aim.residual(step, 0.125), aim.residual(step) / 2, atol=1e-6)


def test_the_judge_is_asked_once_for_a_grid_and_a_noise():
    judge = Halving()
    aim = target(judge)
    for grid, faint in ((2, 0.25), (2, 0.25), (1, 0.25), (1, 0.25), (1, 0.125), (1, 0.0)):
        aim.residual(proposal(grid), faint)
    assert [(shape[2], sigma) for shape, sigma in judge.asked] == [(8, 0.25), (16, 0.25), (16, 0.125)]


@pytest.mark.parametrize("codec", ["trellis", "tracks"])
def test_leaving_out_is_worth_more_than_it_costs(codec):
    """On a photograph at a low rate; by a third of a decibel with either codec when this was written."""
    picture = pictures.chelsea()[:256, 100:356]
    whole, bold = (
        psnr(coder.decode(coder.encode(picture)).picture, picture)
        for coder in (registry.codec(f"{codec}[bpp=0.15,protect=none,faint={faint}]") for faint in ("0", "0.3"))
    )
    assert bold > whole


def test_shipped_priors_have_a_judge_and_others_judge_themselves():
    assert isinstance(registry.codec("trellis", prior=Halving())._judge(), Halving)
    loaded = RememberingPrior(SmallPrior.load("cpu", "float32", "small-3"))
    for prior in ("small", "small-1", loaded):
        judge = registry.codec("trellis", prior=prior, precision="float32")._judge()
        assert judge.fingerprint == SHIPPED["small-2"].fingerprint


def test_the_judge_says_so_once_on_each_of_the_two_finest_grids(monkeypatch):
    without, asked = Target._without, set()
    monkeypatch.setattr(Target, "_without", lambda self, *at: asked.add(at[1:]) or without(self, *at))
    registry.codec("trellis[bpp=0.4,steps_per_octave=3]").encode(photograph(96, 128))
    assert sorted(grid for grid, _ in asked) == [1, 2]


def test_decoders_need_not_know():
    picture = photograph(96, 128)
    data = registry.codec("trellis[bpp=0.4,faint=0.5]").encode(picture)
    assert np.array_equal(*(registry.codec(name).decode(data).picture for name in ("trellis", "trellis[faint=0]")))


def test_the_share_is_checked():
    with pytest.raises(SpecError, match=r"expected faint from 0 to 1, got 1\.5"):
        registry.codec("trellis[faint=1.5]")
