r"""A DiffC file in the making: how much of its channel each step simulates, and the header that says so.

A step to noise :math:`\sigma_s` carries :math:`|x - D|^2 (\sigma_s^{-2} - \sigma_t^{-2}) / (2 \ln 2)` bits of KL. The
header has it in eighth octaves; the number of chunks, the length of their seeds and Zipf's exponent follow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from torch import Tensor

from flipproof.bits import BitArray, BitReader, BitWriter, unpack_numbers
from flipproof.chain import Move, Proposal
from flipproof.codec.moves import codebook_for, free_move
from flipproof.codec.script import Common, Script, Step
from flipproof.codec.target import Target
from flipproof.errors import HeaderError
from flipproof.protocol import zipf
from flipproof.protocol.diffc import DiffCProtocol
from flipproof.schedule import Level, TimestepSchedule
from flipproof.selection.diffc import divide, select_diffc

__all__ = [
    "MOST_STEPS",
    "SIGMA_BITS",
    "ChannelStep",
    "Cost",
    "Draft",
    "channel_step",
    "fixed_cost",
    "read_codes",
    "sigma_of",
    "write_codes",
    "write_sigma",
    "zipf_cost",
]

MOST_CODE = 255
SIGMA_TOP, SIGMA_OCTAVES, SIGMA_BITS = 64.0, 14, 12
MOST_STEPS = 255
SIGMA_LEAST = 0.015
"""Noise under which a prior has nothing left to say."""
LEAST_ENERGY = 1e-9
SHARES = (1.0, 0.97, 0.93, 0.85, 0.7)
"""Shares of what seems to fit that the last step tries, until it does fit."""
FIRST_RATIO = 1.35
"""Real over expected bits, before there are real ones."""


@dataclass(frozen=True)
class ChannelStep(Step):
    """A step that simulates a channel.

    Attributes:
        protocol: How its seeds are written.
        code: KL of the step as the header has it, in eighth octaves.
    """

    protocol: DiffCProtocol
    code: int = 0

    @property
    def exponent(self) -> float:
        """Zipf's exponent of its seeds."""
        return zipf.exponent(_kl(self.code) / self.protocol.parts)


Cost = Callable[[ChannelStep, BitArray | None], float]
"""Payload bits of a step: of its bits if they are known, else as expected."""


def fixed_cost(step: ChannelStep, bits: BitArray | None) -> float:
    """Returns the payload bits of a step whose seeds have fixed length."""
    return float(step.bits)


def zipf_cost(step: ChannelStep, bits: BitArray | None) -> float:
    """Returns the payload bits of a step whose seeds are entropy-coded."""
    weights = zipf.weights(step.exponent, step.protocol.seed_bits)
    share = weights / weights.sum()
    if bits is None:
        return float(step.protocol.parts * -(share * np.log2(share)).sum())
    seeds = unpack_numbers(bits.reshape(step.protocol.parts, step.protocol.seed_bits))
    return float(-np.log2(share[seeds]).sum())


@dataclass
class Draft:
    """Steps written so far towards a file of a given size.

    Attributes:
        common: What the header says of the picture and its space.
        schedule: Proposes the levels.
        seed_bits: Longest seed of a chunk.
        budget: Payload bits the file may have; shrinks as the header grows.
        cost: Payload bits of a step.
        steps: The steps.
        bits: What each of them wrote, at fixed length.
        full: Whether the file is full.
    """

    common: Common
    schedule: TimestepSchedule
    seed_bits: int
    budget: Callable[[Sequence[ChannelStep]], int]
    cost: Cost
    steps: list[ChannelStep] = field(default_factory=list)
    bits: list[BitArray] = field(default_factory=list)
    full: bool = False
    _spent: float = 0.0
    _expected: float = 0.0

    def answer(self, proposal: Proposal, target: Target) -> Move | None:
        """Takes a step, the last one only as far as its bits fit."""
        if proposal.index == 0:
            start = Step(proposal.target, False, None)
            return free_move(start, proposal, codebook_for(self.common.codebook, start, proposal))
        if len(self.steps) == MOST_STEPS or proposal.target.sigma < SIGMA_LEAST:
            return None
        residual = target.residual(proposal)
        energy = max(float(residual.square().sum()), LEAST_ENERGY)
        move = self._take(self._step(proposal, energy, proposal.target.sigma), proposal, residual)
        return move or self._take_last(proposal, residual, energy)

    def script(self, stored: int | None = None) -> Script:
        """Returns the script of the steps so far."""
        steps = (Step(self.schedule.first, False, None), *self.steps)
        return Script(self.common, self.schedule, steps, stored=stored)

    def _take_last(self, proposal: Proposal, residual: Tensor, energy: float) -> Move | None:
        """Takes as much of a step as fits."""
        self.full = True
        whole = self._step(proposal, energy, proposal.target.sigma)
        fits = (self._left() - 1) / max(self._ratio() * self.cost(whole, None), 1.0)
        for share in SHARES:
            sigma = sigma_of(_sigma_code(_toward(proposal.source, proposal.target.sigma, min(1.0, share * fits))))
            if proposal.target.sigma <= sigma < proposal.source:
                move = self._take(self._step(proposal, energy, sigma), proposal, residual)
                if move:
                    return move
        return None

    def _take(self, step: ChannelStep, proposal: Proposal, residual: Tensor) -> Move | None:
        """Takes a step if its real bits fit, else does nothing."""
        if self._ratio() * self.cost(step, None) > 1.2 * self._left() + 64:
            return None
        codebook = codebook_for(self.common.codebook, step, proposal)
        mean = residual * (math.sqrt(1 - (step.level.sigma / proposal.source) ** 2) / step.level.sigma)
        seeds = select_diffc(codebook, mean, proposal.index, step.protocol.parts)
        bits = step.protocol.write(seeds)
        if self._spent + self.cost(step, bits) > self.budget([*self.steps, step]):
            return None
        self.steps.append(step)
        self.bits.append(bits)
        self._spent += self.cost(step, bits)
        self._expected += self.cost(step, None)
        return Move(step.level.sigma, seeds.steer(codebook))

    def _step(self, proposal: Proposal, energy: float, sigma: float) -> ChannelStep:
        kl = energy * (sigma**-2 - proposal.source**-2) / (2 * math.log(2))
        level = Level(self.schedule.grid, sigma)
        return channel_step(level, _kl_code(kl), self.seed_bits, proposal.index, proposal.size)

    def _left(self) -> float:
        return self.budget(self.steps) - self._spent

    def _ratio(self) -> float:
        return self._spent / self._expected if self._expected else FIRST_RATIO


def channel_step(level: Level, code: int, longest: int, index: int, samples: int) -> ChannelStep:
    """Returns a step as its header fields describe it.

    Arguments:
        level: Where it goes.
        code: Its KL in eighth octaves.
        longest: Longest seed of a chunk.
        index: Number of steps before it.
        samples: Samples it moves.
    """
    parts, seed_bits = divide(_kl(code), longest)
    return ChannelStep(level, False, DiffCProtocol(seed_bits, min(parts, samples), index, samples), code)


def write_codes(writer: BitWriter, steps: Sequence[ChannelStep]) -> None:
    """Writes the KL of the steps."""
    writer.write("KL (eighth octaves)", steps[0].code, 8)
    for before, step in pairwise(steps):
        writer.write_signed("KL (eighth octaves, growth)", step.code - before.code)


def read_codes(reader: BitReader, count: int) -> list[int]:
    """Reads what :func:`write_codes` wrote.

    Raises:
        HeaderError: A code is out of range.
    """
    codes = [reader.read("KL (eighth octaves)", 8)]
    for _ in range(count - 1):
        codes.append(codes[-1] + reader.read_signed("KL (eighth octaves, growth)"))
        if not 0 <= codes[-1] <= MOST_CODE:
            raise HeaderError(f"expected a KL code from 0 to {MOST_CODE}, got {codes[-1]}")
    return codes


def write_sigma(writer: BitWriter, sigma: float) -> None:
    """Writes the noise of the last step."""
    writer.write("last sigma", _sigma_code(sigma), SIGMA_BITS)


def sigma_of(code: int) -> float:
    """Returns the noise of a code."""
    return SIGMA_TOP * math.exp2(-code * SIGMA_OCTAVES / (1 << SIGMA_BITS))


def _sigma_code(sigma: float) -> int:
    """Returns the code of the least noise at or above the given one, up to rounding."""
    code = math.floor(math.log2(SIGMA_TOP / sigma) * (1 << SIGMA_BITS) / SIGMA_OCTAVES + 1e-6)
    return min(max(0, code), (1 << SIGMA_BITS) - 1)


def _kl(code: int) -> float:
    """Returns KL in whole bits, the same on every machine."""
    return float(round(math.exp2(code / 8)))


def _kl_code(kl: float) -> int:
    """Returns the code of the nearest KL."""
    return min(MOST_CODE, round(8 * math.log2(max(kl, 1.0))))


def _toward(source: float, sigma: float, share: float) -> float:
    """Returns the noise after a step with a share of the information."""
    precision = source**-2 + max(share, 1e-6) * (sigma**-2 - source**-2)
    return 1 / math.sqrt(precision)
