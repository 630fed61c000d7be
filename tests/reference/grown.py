"""The header fields of ``trellis`` and ``tracks``: a chain whose grid grows finer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from reference.bits import FieldReader
from reference.header import Header
from reference.plan import Coding, Plan, Step
from reference.refusal import require

CodingOf = Callable[[int, int], Coding]
"""The coding of a step that moves so many samples with a budget."""


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


def read_grown(
    reader: FieldReader, header: Header, coding_from: Callable[[int], CodingOf], budget_bits: int = 26
) -> Plan:
    """Reads the fields; ``coding_from`` says what the four bits mean that are the codec's own."""
    growth = Growth(1 << reader.number(3), reader.number(8) / 16, reader.number(5) / 16, reader.number(3))
    coding, count, finest = coding_from(reader.number(4)), reader.number(6), 1 << reader.number(3)
    sigma, last = 16 * 2 ** (-12 * reader.number(12) / 4096), reader.number(budget_bits)
    require(growth.first and growth.threshold and growth.per_octave and count and last)
    require(finest <= growth.coarsest and (growth.coarsest == 1 or header.space.factor == 1))
    budgets = [round(2 ** (code / 4)) for code in _codes(reader, count - 1)]
    steps = _steps(header, growth, [*budgets, last], finest, coding)
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


def _steps(header: Header, growth: Growth, budgets: list[int], finest: int, coding: CodingOf) -> list[Step]:
    steps = []
    for (grid, sigma, growing), budget in zip(growth.levels(finest), budgets, strict=False):
        samples = math.prod(header.shape(growth.coarsest, grid))
        samples = samples * 3 // 4 if growing else samples
        steps.append(Step(grid, sigma, growing, coding(samples, budget)))
    return steps
