"""A file in the making whose budget follows the information: what each step wants, what still fits, and the header.

Header fields after the common ones: the schedule, the number of steps, the grid the chain ends on, noise and budget of
the last step, then the budgets of all steps before it, quantised to quarter octaves, the first two on 7 bits each and
the others as differences, which hover around 1.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from torch import Tensor

from flipproof import container
from flipproof.bits import BitArray, BitReader, BitWriter
from flipproof.chain import Move, Proposal, follow, walk
from flipproof.codec.moves import codebook_for
from flipproof.codec.script import COMMON_BITS, Common, Script, Step
from flipproof.codec.spending import Spending
from flipproof.codec.target import Target
from flipproof.errors import HeaderError
from flipproof.protection.plan import Plan
from flipproof.protocol.base import SelectionProtocol
from flipproof.schedule import GrownSchedule, Level

__all__ = ["MOST_STEPS", "CodedStep", "Draft", "read_grown_script", "smallest_file"]

SIGMA_LEAST = 0.015
"""Noise under which the shipped prior has nothing left to say."""
FAINTEST = 0.01
"""Detail that is left out where it is: a 200th of the range of a picture is about one of 256 levels."""
COARSEST_FAINT = 2
"""Coarsest grid on which it is: coarser ones have hardly any."""
LEAST_STEP = 0.4
"""Share of an octave's steps that a last one is worth its time for; shorter ones are made with the one before."""
MOST_STEPS = 63
MOST_RATE = 24
"""Bits per pixel that a payload may have, and 1280 bits more."""
BEYOND = 64
"""Budgets tried beyond the most that fits at first."""
MOST_CODE = 127
"""Largest budget code, of seven bits."""
SIGMA_TOP, SIGMA_OCTAVES, SIGMA_BITS = 16.0, 12, 12
FIXED_BITS = 3 + 8 + 5 + 3 + 4 + 6 + 3 + SIGMA_BITS


@dataclass(frozen=True)
class CodedStep(Step):
    """A step of a draft.

    Attributes:
        protocol: How its selection is written.
        amount: Its budget.
        code: The same as the header has it, in quarter octaves.
    """

    protocol: SelectionProtocol
    amount: int
    code: int = 0


@dataclass
class Draft:
    """Steps written so far towards a file of a given size.

    Attributes:
        schedule: Proposes the levels.
        common: What the header says of the picture and its space.
        target: Bytes the file may have.
        spending: What its bits buy.
        longest: What the codec says of its choices on four bits: index bits of the longest tracks, bits of a window.
        plan: The protection of the payload.
        growth_reserve: Bits that must be left after growing, over those of the new band; 0 grows in any case.
        faint: Detail below this share of the last noise is left out.
        steps: The steps.
        bits: What each of them wrote.
    """

    schedule: GrownSchedule
    common: Common
    target: int
    spending: Spending
    longest: int
    plan: Plan
    growth_reserve: float
    faint: float
    steps: list[CodedStep] = field(default_factory=list)
    bits: list[BitArray] = field(default_factory=list)
    _full: bool = False
    _faint: dict[int, float] = field(default_factory=dict)

    def steer_to(self, target: Target, device: str) -> None:
        """Walks the chain towards a picture, taking every step that fits."""

        def choose(proposal: Proposal) -> Move | None:
            if proposal.target.sigma < SIGMA_LEAST:
                return None
            residual = self._residual(target, proposal)
            step = self._fit(proposal, _energy(residual))
            return self._take(step, proposal, residual) if step else None

        follow(walk(target.prior, self.schedule, target.shape, device), choose, lambda: self._full)

    @property
    def starved(self) -> bool:
        """Whether the chain stayed on a coarse grid and could not use its bits there."""
        return not self._full and bool(self.steps) and self.steps[-1].level.grid > 1

    def script(self) -> Script:
        """Returns the script of the steps so far."""
        return Script(self.common, self.schedule, tuple(self.steps))

    def fields(self) -> BitWriter:
        """Returns the codec's own header fields for the steps so far."""
        writer, last = BitWriter(), self.steps[-1]
        writer.write("coarsest grid (log2)", _log2(self.schedule.coarsest), 3)
        writer.write("first sigma (1/16)", int(16 * self.schedule.start), 8)
        writer.write("growth threshold (1/16)", int(16 * self.schedule.threshold), 5)
        writer.write("steps per octave", self.schedule.steps_per_octave, 3)
        writer.write("longest track (log2) or window", self.longest, 4)
        writer.write("steps", len(self.steps), 6)
        writer.write("finest grid (log2)", _log2(last.level.grid), 3)
        writer.write("last sigma", _sigma_code(last.level.sigma), SIGMA_BITS)
        writer.write("last budget", last.amount, self.spending.field_bits)
        _write_codes(writer, self.steps[:-1])
        return writer

    def _residual(self, target: Target, proposal: Proposal) -> Tensor:
        """Returns the residual to steer along, without detail that is faint beside the noise that will be left.

        So much is known of that noise as the bits left would buy if the residual stayed as it is. What is left out is
        found once on a grid, when the chain gets there.
        """
        grid = proposal.target.grid
        if not self.faint or grid > COARSEST_FAINT:
            return target.residual(proposal)
        if grid not in self._faint:
            faint = self.faint * self._end(proposal, _energy(target.residual(proposal)))
            self._faint[grid] = faint if faint > FAINTEST else 0.0
        return target.residual(proposal, self._faint[grid])

    def _end(self, proposal: Proposal, energy: float) -> float:
        """Returns the noise that all bits left would pay for."""
        fields = _fields_size(self.steps, self.spending.field_bits)
        room = 8 * container.payload_room(fields, self.target, self.plan) - sum(step.bits for step in self.steps)
        price = self.spending.protocol(proposal.size, 1).bits / self.spending.gain(proposal.size, 1)
        return float((proposal.source**-2 + max(1, room) / price / (self.spending.scale * energy)) ** -0.5)

    def _wish(self, proposal: Proposal, energy: float) -> CodedStep:
        """Returns the step that moves the chain to the proposed level."""
        gain = self.spending.scale * energy * (proposal.target.sigma**-2 - proposal.source**-2)
        code = min(MOST_CODE, round(4 * math.log2(max(1.0, self.spending.amount(proposal.size, gain)))))
        amount = min(_budget(code), self.spending.most(proposal.size))
        return self._step(proposal, proposal.target, amount, code)

    def _step(self, proposal: Proposal, level: Level, amount: int, code: int = 0) -> CodedStep:
        return CodedStep(level, proposal.growing, self.spending.protocol(proposal.size, amount), amount, code)

    def _fit(self, proposal: Proposal, energy: float) -> CodedStep | None:
        """Returns the step to take: as wished, or the last one with all that is left, or None."""
        step = self._wish(proposal, energy)
        spent = self._size_with(step)
        if proposal.growing and self.growth_reserve and spent + self.growth_reserve * step.bits / 8 > self.target:
            return None
        last = self._last(proposal, energy, amount) if (amount := self._most(proposal)) else None
        fits = spent < self.target and len(self.steps) < MOST_STEPS - 1 and self._leaves_room(proposal, step)
        if fits and not (last and self._nearly_there(proposal, last)):
            return step
        self._full = True
        return last

    def _nearly_there(self, proposal: Proposal, last: CodedStep) -> bool:
        """Returns whether all that is left takes the chain hardly farther than the proposed step."""
        if proposal.growing or math.isinf(proposal.source) or last.amount == self.spending.most(proposal.size):
            return False
        sigma = proposal.target.sigma
        least: float = sigma * (sigma / proposal.source) ** LEAST_STEP
        return last.level.sigma > least

    def _last(self, proposal: Proposal, energy: float, amount: int) -> CodedStep:
        """Returns the step that takes a budget, to the level it pays for; growing, no lower than what is known."""
        gain = self.spending.gain(proposal.size, amount)
        precision = proposal.source**-2 + gain / (self.spending.scale * energy)
        code = _sigma_code(max(precision**-0.5, proposal.target.sigma if proposal.growing else SIGMA_LEAST))
        while _sigma(code) >= proposal.source:
            code += 1
        return self._step(proposal, Level(proposal.target.grid, _sigma(code)), amount)

    def _take(self, step: CodedStep, proposal: Proposal, residual: Tensor) -> Move:
        codebook = codebook_for(self.common.codebook, step, proposal)
        bits, steering = self.spending.select(codebook, residual, step.protocol)
        self.steps.append(step)
        self.bits.append(bits)
        return Move(step.level.sigma, steering.steer(codebook))

    def _leaves_room(self, proposal: Proposal, step: CodedStep) -> bool:
        """Returns whether a step of the least budget would still fit after one more step."""
        return self._size_with(step, self._step(proposal, proposal.target, 1)) <= self.target

    def _size_with(self, *more: CodedStep) -> int:
        """Returns the bytes of the file if it ended with more steps."""
        steps = [*self.steps, *more]
        return self._packed(_fields_size(steps[:-1], self.spending.field_bits), sum(step.bits for step in steps))

    def _packed(self, fields: int, bits: int) -> int:
        """Returns the bytes of a file with so many bytes of fields and bits of steps."""
        return container.packed_size(fields, -(-bits // 8), self.plan)

    def _most(self, proposal: Proposal) -> int:
        """Returns the largest budget one last step can have."""
        fields, spent = _fields_size(self.steps, self.spending.field_bits), sum(step.bits for step in self.steps)

        def bytes_with(amount: int) -> int:
            return self._packed(fields, spent + self._step(proposal, proposal.target, amount).bits)

        most = self.spending.most(proposal.size)
        amount = bisect_right(range(1, most + 1), self.target, key=bytes_with)
        # sizes fall now and then, where one more byte moves the end of a tier so that a block less is needed
        beyond = range(min(most, amount + BEYOND), amount, -1)
        return next((more for more in beyond if bytes_with(more) <= self.target), amount)


def smallest_file(plan: Plan, field_bits: int) -> int:
    """Returns the bytes of a file with one step of a few bits."""
    return container.packed_size(_fields_size([], field_bits), 2, plan)


def read_grown_script(reader: BitReader, common: Common, spending_of: Callable[[int], Spending]) -> Script:
    """Reads the header fields of a file.

    Arguments:
        reader: Stands at the first of them.
        common: The fields before.
        spending_of: Maps the four bits of a codec's own to what its bits buy.

    Raises:
        HeaderError: They describe no possible chain.
    """
    coarsest = 1 << reader.read("coarsest grid (log2)", 3)
    start = reader.read("first sigma (1/16)", 8) / 16
    threshold = reader.read("growth threshold (1/16)", 5) / 16
    per_octave = reader.read("steps per octave", 3)
    spending = spending_of(reader.read("longest track (log2) or window", 4))
    count = reader.read("steps", 6)
    finest = 1 << reader.read("finest grid (log2)", 3)
    sigma = _sigma(reader.read("last sigma", SIGMA_BITS))
    last = reader.read("last budget", spending.field_bits)
    fits = finest <= coarsest and (coarsest == 1 or common.space.factor == 1)
    if not (per_octave and start and threshold and count and last and fits):
        raise HeaderError("the header describes no possible chain")
    schedule = GrownSchedule(coarsest, start, threshold, per_octave)
    budgets = [*(_budget(code) for code in _read_codes(reader, count - 1)), last]
    steps: list[Step] = []
    for (level, growing), amount in zip(_path(schedule, finest), budgets, strict=False):
        size = _band_size(common, coarsest, level.grid, growing)
        steps.append(Step(level, growing, spending.protocol(size, min(amount, spending.most(size)))))
    most_bits = MOST_RATE * common.height * common.width + 1280
    end, before = steps[-1], steps[-2].level.sigma if count > 1 else math.inf
    if not (end.growing or sigma < before) or sum(step.bits for step in steps) > most_bits:
        raise HeaderError("the header describes no possible chain")
    steps[-1] = Step(Level(end.level.grid, sigma), end.growing, end.protocol)
    return Script(common, schedule, tuple(steps))


def _path(schedule: GrownSchedule, finest: int) -> Iterator[tuple[Level, bool]]:
    """Yields the levels of a chain that stops growing at a grid, and whether each is reached by growing."""
    level, growing = schedule.first, False
    while True:
        yield level, growing
        finer = schedule.grown(level) if level.grid > finest else None
        level, growing = finer or schedule.next(level), finer is not None


def _band_size(common: Common, coarsest: int, grid: int, growing: bool) -> int:
    """Returns the number of samples a step moves: of the whole grid, or of its detail band."""
    samples = common.samples(coarsest, grid)
    return samples * 3 // 4 if growing else samples


def _budget(code: int) -> int:
    return round(math.exp2(code / 4))


def _write_codes(writer: BitWriter, steps: list[CodedStep]) -> None:
    for index, step in enumerate(steps):
        if index < 2:
            writer.write("budget (quarter octaves)", step.code, 7)
        else:
            writer.write_signed("budget (quarter octaves, growth over 1)", step.code - steps[index - 1].code - 1)


def _read_codes(reader: BitReader, count: int) -> Iterator[int]:
    code = 0
    for index in range(count):
        if index > 1:
            code += 1 + reader.read_signed("budget (quarter octaves, growth over 1)")
        else:
            code = reader.read("budget (quarter octaves)", 7)
        if not 0 <= code <= MOST_CODE:
            raise HeaderError(f"expected a budget code from 0 to {MOST_CODE}, got {code}")
        yield code


def _fields_size(before_last: list[CodedStep], field_bits: int) -> int:
    """Returns the bytes of all header fields of a file whose last step follows these."""
    writer = BitWriter()
    _write_codes(writer, before_last)
    bits: int = COMMON_BITS + FIXED_BITS + field_bits + writer.bits
    return -(-bits // 8)


def _sigma(code: int) -> float:
    return SIGMA_TOP * math.exp2(-code * SIGMA_OCTAVES / (1 << SIGMA_BITS))


def _sigma_code(sigma: float) -> int:
    code = round(math.log2(SIGMA_TOP / sigma) * (1 << SIGMA_BITS) / SIGMA_OCTAVES)
    return min(max(0, code), (1 << SIGMA_BITS) - 1)


def _energy(residual: Tensor) -> float:
    return max(float(residual.square().sum()), 1e-9)


def _log2(power: int) -> int:
    return power.bit_length() - 1
