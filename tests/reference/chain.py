"""The walk from noise to a picture."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from reference import haar
from reference.bits import Received
from reference.denoiser import Denoiser
from reference.plan import Place, Plan, Step


@dataclass(frozen=True)
class State:
    """The chain at a level."""

    y: np.ndarray
    grid: int
    sigma: float


def walk(plan: Plan, denoiser: Denoiser, received: Received) -> np.ndarray:
    """Takes all steps that can be taken; returns the picture x."""
    state = None
    for number, step in enumerate(plan.steps):
        place = Place(plan.header, number, plan.samples(step))
        z = step.coding.steer(received, place) if step.coding else None
        if step.coding and z is None:
            break
        if state is None:
            start = place.codebook().known_noise() if z is None else z
            state = State(step.sigma * start.reshape(plan.shape(step.grid)), step.grid, step.sigma)
        else:
            state = State(_moved(denoiser, state, step, z), step.grid, step.sigma)
    return np.zeros(plan.shape(1)) if state is None else _end(denoiser, state)


def _moved(denoiser: Denoiser, state: State, step: Step, z: np.ndarray | None) -> np.ndarray:
    if step.growing:
        expected = haar.details(denoiser.refine(state.y, state.sigma))
        return haar.merge(state.y, expected + step.sigma * z.reshape(expected.shape))
    mean = denoiser.denoise(state.y, state.sigma)
    ratio = step.sigma / state.sigma
    if z is None:
        return mean + ratio * (state.y - mean)
    noise = step.sigma * math.sqrt(1 - ratio**2) * z.reshape(mean.shape)
    return mean + ratio**2 * (state.y - mean) + noise


def _end(denoiser: Denoiser, state: State) -> np.ndarray:
    if state.grid == 1:
        return denoiser.denoise(state.y, state.sigma)
    x, grid, sigma = state.y, state.grid, state.sigma
    while grid > 1:
        x, grid, sigma = denoiser.refine(x, sigma), grid // 2, 0.04
    return x
