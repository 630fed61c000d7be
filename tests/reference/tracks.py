"""The codec ``tracks``."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from reference.bits import FieldReader, Received
from reference.codebook import scaled
from reference.header import Header
from reference.plan import Place, Plan, Step, too_few
from reference.refusal import require


@dataclass(frozen=True)
class Tracks:
    """Row and sign of the atom of every track."""

    tracks: int
    row_bits: int

    @property
    def bits(self) -> int:
        return self.tracks * (self.row_bits + 1)

    def steer(self, received: Received, place: Place) -> np.ndarray | None:
        terms = []
        for track in range(self.tracks):
            row, negative = received.number(self.row_bits), received.number(1)
            if row is not None and negative is not None:
                terms.append((row * self.tracks + track, 1 - 2 * negative))
        if too_few(len(terms), self.tracks):
            return None
        codebook = place.codebook()
        return scaled(codebook.weighted_sum(terms), codebook)


@dataclass(frozen=True)
class Growth:
    """The fields that say which levels there are."""

    coarsest: int
    first: float
    threshold: float
    per_octave: int

    def levels(self, finest: int) -> Iterator[tuple[int, float, bool]]:
        """Grid, noise, and whether the level is reached by growing."""
        grid, sigma, growing = self.coarsest, self.first, False
        while True:
            yield grid, sigma, growing
            growing = grid > finest and sigma <= 1.001 * self.threshold
            grid, sigma = (grid // 2, 2 * sigma) if growing else (grid, sigma * 2 ** (-1 / self.per_octave))


def read_tracks(reader: FieldReader, header: Header) -> Plan:
    growth = Growth(1 << reader.number(3), reader.number(8) / 16, reader.number(5) / 16, reader.number(3))
    most, count, finest = reader.number(4), reader.number(6), 1 << reader.number(3)
    sigma, last = 16 * 2 ** (-12 * reader.number(12) / 4096), reader.number(22)
    require(growth.first and growth.threshold and growth.per_octave and count and last)
    require(finest <= growth.coarsest and (growth.coarsest == 1 or header.space.factor == 1))
    budgets = [round(2 ** (code / 4)) for code in _codes(reader, count - 1)]
    steps = _steps(header, growth, [*budgets, last], finest, most)
    require(count == 1 or steps[-1].growing or sigma < steps[-2].sigma)
    steps[-1] = replace(steps[-1], sigma=sigma)
    require(sum(step.bits for step in steps) <= header.most_bits)
    return Plan(header, growth.coarsest, tuple(steps))


def _codes(reader: FieldReader, count: int) -> list[int]:
    codes: list[int] = []
    for index in range(count):
        codes.append(reader.number(7) if index < 2 else codes[-1] + reader.signed() + 1)
        require(0 <= codes[-1] <= 127)
    return codes


def _steps(header: Header, growth: Growth, budgets: list[int], finest: int, most: int) -> list[Step]:
    steps = []
    for (grid, sigma, growing), budget in zip(growth.levels(finest), budgets, strict=False):
        samples = math.prod(header.shape(growth.coarsest, grid))
        samples = samples * 3 // 4 if growing else samples
        tracks = min(budget, samples)
        row_bits = min(most, (samples // tracks).bit_length() - 1)
        steps.append(Step(grid, sigma, growing, Tracks(tracks, row_bits)))
    return steps
