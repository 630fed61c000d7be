"""Priors that look at a picture from several sides."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from conftest import photograph
from flipproof import registry
from flipproof.errors import SpecError
from flipproof.metric.psnr import psnr
from flipproof.prior.base import LATENTS, Prior
from flipproof.prior.load import load_prior
from flipproof.prior.views import VIEWS, viewed

Y = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 3, 6, 10))).float()


class Sided(Prior):
    """Adds a ramp that looks different from every side."""

    name = "sided"
    fingerprint = 7

    def denoise(self, y: Tensor, sigma: float) -> Tensor:
        rows, columns = (torch.linspace(0, 1, side) for side in y.shape[2:])
        return y + sigma * (rows[:, None] ** 2 + 3 * columns)

    def refine(self, y: Tensor, sigma: float) -> Tensor:
        return functional.interpolate(self.denoise(y, sigma), scale_factor=2)


class Even(Sided):
    """Is the same from every side."""

    def denoise(self, y: Tensor, sigma: float) -> Tensor:
        return y.square() - sigma


def test_one_view_is_the_prior_itself():
    prior = Sided()
    assert viewed(prior, 1) is prior


def test_latents_are_no_pictures():
    prior = Sided()
    prior.space = LATENTS
    assert viewed(prior, 8) is prior


@pytest.mark.parametrize("views", VIEWS)
def test_the_same_from_every_side_stays(views):
    assert torch.allclose(viewed(Even(), views).denoise(Y, 0.5), Even().denoise(Y, 0.5), atol=1e-6)
    assert torch.allclose(viewed(Even(), views).refine(Y, 0.5), Even().refine(Y, 0.5), atol=1e-6)


@pytest.mark.parametrize(
    ("views", "turns"), [(2, [lambda x: x.flip(3)]), (4, [lambda x: x.flip(3), lambda x: x.flip(2)])]
)
def test_means_know_no_side_that_was_seen_mirrored(views, turns):
    prior = viewed(Sided(), views)
    for turn in turns:
        for ask in (prior.denoise, prior.refine):
            assert torch.allclose(ask(turn(Y), 0.5), turn(ask(Y, 0.5)), atol=1e-6)


def test_eight_views_know_no_side_at_all():
    prior = viewed(Sided(), 8)
    assert torch.allclose(prior.denoise(Y.transpose(2, 3), 0.5), prior.denoise(Y, 0.5).transpose(2, 3), atol=1e-6)


def test_answers_of_the_prior_stay_as_they_were():
    class Remembering(Even):
        answer = torch.ones(1, 3, 4, 4)

        def denoise(self, y: Tensor, sigma: float) -> Tensor:
            return self.answer

    viewed(Remembering(), 4).denoise(Y, 0.5)
    assert torch.equal(Remembering.answer, torch.ones(1, 3, 4, 4))


def test_a_viewed_prior_speaks_for_the_one_behind_it():
    prior, seen = load_prior("small"), viewed(load_prior("small"), 2)
    assert (seen.fingerprint, seen.space, seen.precision) == (prior.fingerprint, prior.space, prior.precision)


def test_more_views_decode_better():
    picture = photograph(128, 160)
    codec = registry.codec("trellis[bpp=0.3]")
    data = codec.encode(picture)
    one, four = (psnr(dataclasses.replace(codec, views=n).decode(data).picture, picture) for n in (1, 4))
    assert four > one


def test_the_number_of_views_is_checked():
    with pytest.raises(SpecError, match=r"expected views one of 1, 2, 4, 8, got 3"):
        registry.codec("trellis[views=3]")
