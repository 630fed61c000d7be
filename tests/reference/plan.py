"""What a header says a decoder has to do."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from reference.bits import Received
from reference.codebook import Codebook
from reference.header import Header
from reference.refusal import require


@dataclass(frozen=True)
class Place:
    """Where steering noise goes: the number of the step and the samples it moves."""

    header: Header
    step: int
    samples: int

    def codebook(self, parts: int = 1) -> Codebook:
        return self.header.codebook(-(-self.samples // parts), self.step)


class Coding(Protocol):
    """How the bits of a step steer it."""

    @property
    def bits(self) -> int: ...

    def steer(self, received: Received, place: Place) -> np.ndarray | None:
        """Returns the steering noise; None if too much of it was lost."""


@dataclass(frozen=True)
class Step:
    """A step to a level; without a coding where it has no bits."""

    grid: int
    sigma: float
    growing: bool
    coding: Coding | None

    @property
    def bits(self) -> int:
        return self.coding.bits if self.coding else 0


@dataclass(frozen=True)
class Plan:
    """All steps; ``stored`` is the length of the payload in bytes where it does not follow from them."""

    header: Header
    coarsest: int
    steps: tuple[Step, ...]
    stored: int | None = None

    @property
    def payload_size(self) -> int:
        return -(-sum(step.bits for step in self.steps) // 8) if self.stored is None else self.stored

    def shape(self, grid: int) -> tuple[int, int, int]:
        return self.header.shape(self.coarsest, grid)

    def samples(self, step: Step) -> int:
        """The number of samples a step moves."""
        whole = math.prod(self.shape(step.grid))
        return whole * 3 // 4 if step.growing else whole

    def check_gaussian_work(self) -> None:
        sizes = [math.prod(self.shape(step.grid)) for step in self.steps]
        drawn = sum(step.bits * size for step, size in zip(self.steps, sizes, strict=True))
        require(not self.header.gaussian or (max(sizes) <= 2**24 and drawn <= 2**36))


def too_few(usable: int, count: int) -> bool:
    """Whether a step has lost more than half."""
    return 2 * usable < count
