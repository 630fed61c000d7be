from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from flipproof.chain import Move, drive, haar_detail, haar_merge, walk
from flipproof.codec.draft import _path
from flipproof.prior.base import Prior
from flipproof.reconstruction import crisp, posterior_mean
from flipproof.schedule import (
    TURBO_TIMESTEPS,
    GrownSchedule,
    Level,
    TimestepSchedule,
    even_timesteps,
    timestep_sigmas,
    turbo_timesteps,
)


class Perfect(Prior):
    """Knows the one picture there is."""

    name = "perfect"
    fingerprint = 0

    def __init__(self, x: torch.Tensor) -> None:
        self.x = x

    def denoise(self, y, sigma):
        return self.at(y.shape[2]).expand_as(y)

    def refine(self, y, sigma):
        return self.at(2 * y.shape[2]).expand(len(y), -1, -1, -1)

    def at(self, rows):
        return functional.avg_pool2d(self.x, self.x.shape[2] // rows)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 99))
def test_haar_bands_are_orthonormal(rows, columns, seed):
    x = torch.randn(2, 3, 2 * rows, 2 * columns, generator=torch.Generator().manual_seed(seed))
    average, detail = functional.avg_pool2d(x, 2), haar_detail(x)
    assert torch.allclose(haar_merge(average, detail), x, atol=1e-6)
    energy = 4 * average.square().sum() + detail.square().sum()
    assert float(energy) == pytest.approx(float(x.square().sum()), rel=1e-4)


def answers(schedule, noise, steps):
    """Takes so many steps of pure noise, recording the proposals."""
    seen = []

    def choose(proposal):
        if len(seen) == steps:
            return None
        seen.append(proposal)
        return Move(proposal.target.sigma, torch.randn(proposal.mean.shape, generator=noise))

    return seen, choose


@pytest.mark.parametrize(
    "schedule", [GrownSchedule(8, 2 * 0.5, 0.5, 2), TimestepSchedule(2, 0.5, turbo_timesteps(9))], ids=repr
)
def test_a_chain_carries_exactly_the_noise_it_claims(schedule):
    """With a prior that knows the picture, y - x has deviation sigma after every step, on every grid (5 deviations)."""
    x = torch.rand(1, 3, 128, 128) * 2 - 1
    prior, noise = Perfect(x), torch.Generator().manual_seed(0)
    checked = []
    original = prior.denoise

    def spy(y, sigma):
        error = (y - functional.avg_pool2d(x, 128 // y.shape[2])) / sigma
        n = error.numel()
        assert abs(float(error.square().mean()) - 1) < 5 * math.sqrt(2 / n)
        checked.append((128 // y.shape[2], sigma))
        return original(y, sigma)

    prior.denoise = spy
    seen, choose = answers(schedule, noise, 8)
    drive(walk(prior, schedule, (1, 128, 128)), choose)
    assert len(checked) >= 8 - 4
    assert [p.index for p in seen] == list(range(8))


def test_a_perfect_prior_gives_the_picture_at_any_end():
    x = torch.rand(1, 3, 32, 32)
    for steps in range(1, 12):
        _, choose = answers(None, torch.Generator().manual_seed(1), steps)
        y, level = drive(walk(Perfect(x), GrownSchedule(4, 2 * 0.5, 0.5, 1), (2, 32, 32)), choose)
        picture = posterior_mean(Perfect(x), y, level)
        assert torch.allclose(picture, x.expand(2, -1, -1, -1), atol=1e-5)


def test_a_prior_is_asked_only_for_what_is_used():
    """The last proposal is turned down unseen, so the prior is not asked for its mean."""
    asked = []

    class Spy(Perfect):
        def denoise(self, y, sigma):
            asked.append(sigma)
            return super().denoise(y, sigma)

    x = torch.zeros(1, 3, 16, 16)
    moves = iter([Move(1.0, torch.zeros(1, 768)), Move(0.5, None), None])
    _, level = drive(walk(Spy(x), TimestepSchedule(1, 1.0, turbo_timesteps(3)), (1, 16, 16)), lambda _: next(moves))
    assert asked == [1.0]
    assert level == Level(1, 0.5)


def test_a_chain_that_stays_never_grows():
    grids = []

    def choose(proposal):
        if proposal.growing or proposal.index > 6:
            return None
        grids.append(proposal.target.grid)
        return Move(proposal.target.sigma, torch.zeros(proposal.mean.shape))

    drive(walk(Perfect(torch.zeros(1, 3, 16, 16)), GrownSchedule(4, 2 * 0.5, 0.5, 1), (1, 16, 16)), choose)
    assert grids == [4] * 7


def test_the_script_walks_where_the_chain_walks():
    schedule = GrownSchedule(8, 2 * 0.5, 0.5, 2)
    seen, choose = answers(schedule, torch.Generator().manual_seed(0), 15)
    drive(walk(Perfect(torch.zeros(1, 3, 64, 64)), schedule, (1, 64, 64)), choose)
    path = [step for step, _ in zip(_path(schedule, 1), range(15), strict=False)]
    assert path == [(p.target, p.growing) for p in seen]


def test_deterministic_steps_scale_the_noise():
    x = torch.zeros(1, 3, 8, 8)
    moves = iter([Move(1.0, torch.ones(1, 192)), Move(0.5, None), None])
    ys = []

    class Spy(Perfect):
        def denoise(self, y, sigma):
            ys.append(float(y.mean()))
            return super().denoise(y, sigma)

    end, level = drive(walk(Spy(x), TimestepSchedule(1, 1.0, turbo_timesteps(3)), (1, 8, 8)), lambda _: next(moves))
    posterior_mean(Spy(x), end, level)
    assert ys == pytest.approx([1.0, 0.5])


@given(st.floats(0.1, 1.9), st.integers(1, 7))
def test_growing_doubles_the_noise(threshold, steps):
    schedule = GrownSchedule(16, 2 * threshold, threshold, steps)
    level = schedule.first
    assert schedule.grown(level) is None
    for _ in range(steps):
        level = schedule.next(level)
    finer = schedule.grown(level)
    assert finer is not None
    assert finer.grid == 8
    assert finer.sigma == pytest.approx(2 * level.sigma)
    assert schedule.grown(Level(1, 0.01)) is None


def test_turbo_timesteps_are_the_published_ones():
    # fmt: off
    published = (999, 834, 704, 591, 520, 455, 410, 353, 313, 269, 231, 204, 175, 156, 135, 118, 101, 90, 76, 66, 54,
                 45, 40, 34, 29, 23, 18, 12, 7, 1)
    # fmt: on
    assert turbo_timesteps(30) == published
    assert turbo_timesteps(162) == TURBO_TIMESTEPS
    assert len(TURBO_TIMESTEPS) == 162
    assert turbo_timesteps(1000) == even_timesteps(1000) == tuple(range(999, -1, -1))


@given(st.integers(2, 1000))
def test_any_number_of_timesteps_descends_from_the_first(steps):
    for chosen in (turbo_timesteps(steps), even_timesteps(steps)):
        assert len(chosen) == steps
        assert chosen[0] == 999
        assert list(chosen) == sorted(set(chosen), reverse=True)
        schedule = TimestepSchedule(1, 1.0, chosen)
        levels = [schedule.first]
        for _ in range(steps - 1):
            levels.append(schedule.next(levels[-1]))
        assert [level.sigma for level in levels] == [timestep_sigmas()[t] for t in chosen]


@pytest.mark.parametrize(("sigma", "levels"), [(1.0, [1.0, 0.6, 0.36]), (0.08, [0.08, 0.048, 0.035]), (0.03, [0.03])])
def test_crisp_goes_on_to_less_noise_before_the_mean(sigma, levels):
    """Down to 0.36 of the noise or to 0.035; the noise that is left, about the prior's mean, is scaled along."""
    asked = []

    class Spy(Perfect):
        def denoise(self, y, sigma):
            asked.append((sigma, float(y.mean())))
            return super().denoise(y, sigma)

    x = torch.zeros(1, 3, 8, 8)
    crisp(Spy(x), x + sigma, Level(1, sigma))
    assert [level for level, _ in asked] == pytest.approx(levels)
    assert [mean for _, mean in asked] == pytest.approx(levels)
