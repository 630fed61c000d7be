"""The codecs ``diffc`` and ``robust-diffc``."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from reference.bits import FieldReader, Received
from reference.codebook import Codebook
from reference.header import Header
from reference.plan import Place, Plan, Step, too_few
from reference.refusal import require
from reference.stream import words
from reference.uniform import latent_sigmas


@dataclass(frozen=True)
class Seeds:
    """Seeds of b bits for p chunks of a step with a KL of J bits."""

    kl: int
    parts: int
    seed_bits: int

    @classmethod
    def of(cls, code: int, longest: int, samples: int) -> Seeds:
        kl = round(2 ** (code / 8))
        parts = -(-kl // (longest - 2))
        return cls(kl, min(parts, samples), min(longest, -(-kl // parts) + 2))

    @property
    def bits(self) -> int:
        return self.parts * self.seed_bits

    def steer(self, received: Received, place: Place) -> np.ndarray | None:
        seeds = [received.number(self.seed_bits) for _ in range(self.parts)]
        if too_few(sum(seed is not None for seed in seeds), self.parts):
            return None
        codebook = place.codebook(self.parts)
        chunks = [_chunk(codebook, seed) for seed in seeds]
        return _dealt_out(np.concatenate(chunks), place.step)[: place.samples]


def read_diffc(reader: FieldReader, header: Header) -> Plan:
    levels, grid, longest, coded = reader.number(8), 1 << reader.number(3), reader.number(5), reader.number(8)
    sigma = 64 * 2 ** (-14 * reader.number(12) / 4096)
    stored = reader.number(24) if header.codec == "diffc" else None
    samples = math.prod(header.shape(grid, grid))
    require(2 <= levels <= 162 and 3 <= longest <= 16 and coded >= 1)
    require(grid == 1 or header.space.factor == 1)
    require(coded * samples <= 2**31)
    sigmas = latent_sigmas(header, grid, levels)
    while len(sigmas) <= coded:
        sigmas.append(sigmas[-1] / 2)
    steps = [Step(grid, sigmas[0], False, None)]
    for level, code in enumerate(_codes(reader, coded), start=1):
        steps.append(Step(grid, sigmas[level], False, Seeds.of(code, longest, samples)))
    require(sigma < steps[-2].sigma)
    steps[-1] = replace(steps[-1], sigma=sigma)
    require(max(sum(step.bits for step in steps), 8 * (stored or 0)) <= header.most_bits)
    return Plan(header, grid, tuple(steps), stored=stored)


def _codes(reader: FieldReader, count: int) -> list[int]:
    codes = [reader.number(8)]
    while len(codes) < count:
        codes.append(codes[-1] + reader.signed())
        require(0 <= codes[-1] <= 255)
    return codes


def _chunk(codebook: Codebook, seed: int | None) -> np.ndarray:
    return codebook.known_noise() if seed is None else codebook.weighted_sum([(seed, 1.0)])


def _dealt_out(samples: np.ndarray, step: int) -> np.ndarray:
    arrangement = words(len(samples), purpose="diffc arrangement", slots=len(samples), step=step)
    z = np.empty(len(samples))
    z[np.argsort(arrangement, kind="stable")] = samples
    return np.where(arrangement % np.uint64(2), -z, z)
