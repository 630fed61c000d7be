r"""The reverse process that encoder and decoder walk alike.

In variance-exploding form a chain holds :math:`y_t = x + \sigma_t n`. With :math:`D` the prior's posterior mean and
:math:`\rho = (\sigma_s / \sigma_t)^2`, one ancestral step is

.. math:: y_s = D + \rho (y_t - D) + \sigma_s \sqrt{1 - \rho}\, z,

with :math:`z` of unit variance; from no knowledge at all, :math:`\rho = 0`. A codec chooses :math:`z` to point along
the residual :math:`x - D`. A step without :math:`z` is deterministic (DDIM),
:math:`y_s = D + (\sigma_s / \sigma_t)(y_t - D)`.

A step moves either every sample of the grid, or, when the chain grows to the next finer grid, the detail band alone:
the three orthonormal Haar differences of each 2x2 block, about which nothing was known.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TypeAlias

import torch
from torch import Tensor

from flipproof.prior.base import Prior
from flipproof.schedule import Level, Schedule

__all__ = ["Move", "Proposal", "Walk", "drive", "follow", "grid_shape", "haar_detail", "haar_merge", "walk"]


class Proposal:
    """A step the chain could take next.

    Attributes:
        index: Number of steps taken before.
        source: Noise per sample before the step; infinite for samples nothing is known about.
        target: Level after the step, as the schedule has it.
        growing: Whether only the detail band of a finer grid moves.
        size: Number of samples that move.
    """

    def __init__(
        self, index: int, source: float, target: Level, growing: bool, size: int, expect: Callable[[], Tensor]
    ) -> None:
        self.index, self.source, self.target, self.growing, self.size = index, source, target, growing, size
        self._expect = expect

    @cached_property
    def mean(self) -> Tensor:
        """What the prior expects, with shape (B, n); asks the prior on first use."""
        return self._expect().flatten(1)


@dataclass(frozen=True)
class Move:
    """A step to take.

    Attributes:
        sigma: Noise per sample to reach.
        z: Unit-variance steering noise with shape (B, n); None for a deterministic step.
    """

    sigma: float
    z: Tensor | None


Walk: TypeAlias = Generator[Proposal, Move | None, tuple[Tensor, Level]]
"""A chain under way: yields proposals, is sent moves, returns where it ends."""


def grid_shape(height: int, width: int, grid: int) -> tuple[int, int]:
    """Returns the rows and columns of a grid that covers a picture."""
    return -(-height // grid), -(-width // grid)


def haar_detail(x: Tensor) -> Tensor:
    """Returns the orthonormal Haar differences of the 2x2 blocks of (B, C, 2H, 2W), as (B, 3 C H W)."""
    a, b, c, d = _quarters(x)
    detail = x.new_empty(len(x), 3, *a.shape[1:])
    detail[:, 0] = a + b - c - d
    detail[:, 1] = a - b + c - d
    detail[:, 2] = a - b - c + d
    return detail.div_(2).flatten(1)


def haar_merge(average: Tensor, detail: Tensor) -> Tensor:
    """Inverts: block averages (B, C, H, W) and differences (B, 3 C H W) give (B, C, 2H, 2W)."""
    v, h, q = (detail / 2).view(-1, 3, *average.shape[1:]).unbind(1)
    x = average.new_empty(*average.shape[:2], 2 * average.shape[2], 2 * average.shape[3])
    a, b, c, d = _quarters(x)
    a.copy_(average + v + h + q)
    b.copy_(average + v - h - q)
    c.copy_(average - v + h - q)
    d.copy_(average - v - h + q)
    return x


def _quarters(x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Returns views of the top left, top right, bottom left and bottom right samples of all 2x2 blocks."""
    return x[..., ::2, ::2], x[..., ::2, 1::2], x[..., 1::2, ::2], x[..., 1::2, 1::2]


def walk(prior: Prior, schedule: Schedule, shape: tuple[int, int, int], device: str = "cpu") -> Walk:
    """Walks a chain: yields proposals, is sent moves, returns where it ends.

    The answer to a growing proposal may be None: the chain then stays on its grid for good. The answer to any other
    may be None: the chain ends there.

    Arguments:
        prior: Denoiser.
        schedule: Proposes levels.
        shape: Number of chains B, rows and columns of the prior's space, multiples of the coarsest grid.
        device: Where to compute.

    Returns:
        The chains y at their end, with shape (B, C, h, w), and the level they reached.
    """
    batch, height, width = shape
    level = schedule.first
    rows, columns = grid_shape(height, width, level.grid)
    y = torch.zeros(batch, prior.space.channels, rows, columns, dtype=torch.float32, device=device)
    proposal = Proposal(0, math.inf, level, False, y[0].numel(), lambda: y)
    move = yield proposal
    if move is None:
        return y, Level(level.grid, math.inf)
    y, level = _step(y, y, math.inf, move), Level(level.grid, move.sigma)
    del move  # here and below: its noise is as large as the chain, which should not wait for the next answer
    may_grow, index = True, 1
    while True:
        known, at = y, level
        if may_grow and (finer := schedule.grown(level)):
            refined = partial(_expected_detail, prior, known, at.sigma)
            proposal = Proposal(index, math.inf, finer, True, 3 * y[0].numel(), refined)
            move = yield proposal
            if may_grow := move is not None:
                detail = _step(proposal.mean, proposal.mean, math.inf, move)
                y, level = haar_merge(y, detail), Level(finer.grid, move.sigma)
                del detail, move
                index += 1
                continue
        denoised = partial(prior.denoise, known, at.sigma)
        proposal = Proposal(index, level.sigma, schedule.next(level), False, y[0].numel(), denoised)
        move = yield proposal
        if move is None:
            return y, level
        y, level = _step(y, proposal.mean.view_as(y), level.sigma, move), Level(level.grid, move.sigma)
        del move
        index += 1


def drive(steps: Walk, choose: Callable[[Proposal], Move | None]) -> tuple[Tensor, Level]:
    """Runs a walk to its end, answering every proposal with ``choose``; returns where it ends."""
    try:
        proposal = next(steps)
        while True:
            proposal = steps.send(choose(proposal))
    except StopIteration as stop:
        end: tuple[Tensor, Level] = stop.value
        return end


def follow(steps: Walk, choose: Callable[[Proposal], Move | None], done: Callable[[], bool]) -> None:
    """Runs a walk until ``done`` says so or it ends; for encoders, which have no use for the pictures at its end."""
    proposal = next(steps)
    while True:
        move = choose(proposal)
        if done() or (move is None and not proposal.growing):
            return steps.close()
        proposal = steps.send(move)
        del move


def _step(y: Tensor, mean: Tensor, sigma: float, move: Move) -> Tensor:
    rho = (move.sigma / sigma) ** 2
    known = (y - mean).mul_(math.sqrt(rho) if move.z is None else rho).add_(mean)
    return known if move.z is None else known.add_(move.sigma * math.sqrt(1 - rho) * move.z.view_as(mean))


def _expected_detail(prior: Prior, y: Tensor, sigma: float) -> Tensor:
    return haar_detail(prior.refine(y, sigma))
