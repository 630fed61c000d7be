"""Headers of ``ddcm`` and the Turbo-DDCM codecs, all coded steps of which are written alike."""

from __future__ import annotations

import math

from reference.bits import FieldReader
from reference.header import Header
from reference.plan import Coding, Plan, Step
from reference.pursuit import Pursuit
from reference.refusal import require
from reference.timesteps import noises, timesteps
from reference.turbo import Turbo


def read_uniform(reader: FieldReader, header: Header) -> Plan:
    levels, free, width, atoms = reader.number(10), reader.number(10), reader.number(5), reader.number(13)
    grid = 1 << reader.number(3)
    require(2 <= levels <= 1000 and free <= levels - 2)
    require(1 <= width <= 20 and 1 <= atoms <= min(1 << width, 4096))
    require(grid == 1 or header.space.factor == 1)
    require(levels << width <= 2**25 and levels * math.prod(header.shape(grid, grid)) <= 2**31)
    coding = _coding(reader, header.codec, width, atoms)
    steps = [
        Step(grid, sigma, False, coding if 0 < i < levels - free else None)
        for i, sigma in enumerate(latent_sigmas(header, grid, levels))
    ]
    return Plan(header, grid, tuple(steps))


def latent_sigmas(header: Header, grid: int, levels: int) -> list[float]:
    scale = 8 * header.space.deviation / (header.space.factor * grid)
    return [scale * noises()[t] for t in timesteps(levels, even=header.codec == "ddcm")]


def _coding(reader: FieldReader, codec: str, width: int, atoms: int) -> Coding:
    if codec == "ddcm":
        return Pursuit(width, atoms, 1 + reader.number(3))
    if codec == "hybrid-turbo-ddcm":
        alone = reader.number(13)
        require(alone <= atoms)
        return Turbo(width, atoms, alone)
    return Turbo(width, atoms, atoms if codec == "robust-turbo-ddcm" else 0)
