"""A tracks file in the making: what each step wants, what still fits, and the header that says so.

Header fields after the common ones: the schedule, the number of steps, the grid the chain ends on, noise and tracks of
the last step, then the tracks of all steps before it, quantised to quarter octaves, the first two on 7 bits each and
the others as differences, which hover around 1.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from torch import Tensor

from flipproof import container
from flipproof.bits import BitArray, BitReader, BitWriter
from flipproof.chain import Move, Proposal, follow, walk
from flipproof.codec.rcc import codebook_for
from flipproof.codec.script import COMMON_BITS, Common, Script, Step
from flipproof.codec.target import Target
from flipproof.errors import HeaderError
from flipproof.prior.base import Prior
from flipproof.protection.plan import Plan
from flipproof.protocol.tracks import TracksProtocol
from flipproof.schedule import GrownSchedule, Level
from flipproof.selection.tracks import capture, select_tracks, track_bits

__all__ = ["GROWTH_RESERVE", "MOST_STEPS", "Draft", "TrackStep", "read_tracks_script", "smallest_file"]

BUDGET_SCALE = 0.8
"""Tracks spent over tracks that the information asks for; less than 1 lets the chain run a little ahead."""
GROWTH_RESERVE = 1.0
"""A chain grows at first only if it can afford the new band and then this many times its bits."""
SIGMA_LEAST = 0.015
"""Noise under which the shipped prior has nothing left to say."""
MOST_STEPS = 63
MOST_RATE = 24
"""Bits per pixel that a payload may have, and 1280 bits more."""
BEYOND = 64
"""Tracks tried beyond the most that fit at first."""
MOST_CODE = 127
"""Largest budget code, of seven bits."""
SIGMA_TOP, SIGMA_OCTAVES, SIGMA_BITS = 16.0, 12, 12
TRACKS_BITS = 22
FIXED_BITS = 3 + 8 + 5 + 3 + 4 + 6 + 3 + SIGMA_BITS + TRACKS_BITS


@dataclass(frozen=True)
class TrackStep(Step):
    """A step of tracks.

    Attributes:
        protocol: How its selection is written.
        code: Its number of tracks as the header has it, in quarter octaves.
    """

    protocol: TracksProtocol
    code: int = 0


@dataclass
class Draft:
    """Steps written so far towards a file of a given size.

    Attributes:
        schedule: Proposes the levels.
        common: What the header says of the picture and its space.
        target: Bytes the file may have.
        track_bits: Index bits of the longest tracks.
        plan: The protection of the payload.
        growth_reserve: Bits that must be left after growing, over those of the new band; 0 grows in any case.
        steps: The steps.
        bits: What each of them wrote.
    """

    schedule: GrownSchedule
    common: Common
    target: int
    track_bits: int
    plan: Plan
    growth_reserve: float
    steps: list[TrackStep] = field(default_factory=list)
    bits: list[BitArray] = field(default_factory=list)
    _full: bool = False

    def steer_to(self, target: Target, prior: Prior, device: str) -> None:
        """Walks the chain towards a picture, taking every step that fits."""

        def choose(proposal: Proposal) -> Move | None:
            if proposal.target.sigma < SIGMA_LEAST:
                return None
            residual = target.residual(proposal)
            step = self._fit(proposal, max(float(residual.square().sum()), 1e-9))
            return self._take(step, proposal, residual) if step else None

        follow(walk(prior, self.schedule, target.shape, device), choose, lambda: self._full)

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
        writer.write("longest track (log2)", self.track_bits, 4)
        writer.write("steps", len(self.steps), 6)
        writer.write("finest grid (log2)", _log2(last.level.grid), 3)
        writer.write("last sigma", _sigma_code(last.level.sigma), SIGMA_BITS)
        writer.write("last tracks", last.protocol.tracks, TRACKS_BITS)
        _write_codes(writer, self.steps[:-1])
        return writer

    def wish(self, proposal: Proposal, energy: float) -> TrackStep:
        """Returns the step that moves the chain to the proposed level."""
        gain = BUDGET_SCALE * energy * (proposal.target.sigma**-2 - proposal.source**-2)
        bits = self.track_bits
        for _ in range(3):
            step = self.with_tracks(proposal, gain / capture(bits) ** 2)
            bits = step.protocol.index_bits
        return step

    def with_tracks(self, proposal: Proposal, tracks: float) -> TrackStep:
        """Returns the step to the proposed level with about so many tracks."""
        code = min(MOST_CODE, round(4 * math.log2(max(1.0, tracks))))
        protocol = _protocol(proposal.size, min(_budget(code), proposal.size), self.track_bits)
        return TrackStep(proposal.target, proposal.growing, protocol, code)

    def _fit(self, proposal: Proposal, energy: float) -> TrackStep | None:
        """Returns the step to take: as wished, or the last one with all that is left, or None."""
        step = self.wish(proposal, energy)
        spent = self._size_with(step)
        if proposal.growing and self.growth_reserve and spent + self.growth_reserve * step.bits / 8 > self.target:
            return None
        if spent < self.target and len(self.steps) < MOST_STEPS - 1 and self._leaves_room(step):
            return step
        self._full = True
        tracks = self._most_tracks(proposal)
        return _last(proposal, energy, tracks, self.track_bits) if tracks else None

    def _take(self, step: TrackStep, proposal: Proposal, residual: Tensor) -> Move:
        codebook = codebook_for(self.common.codebook, step, proposal)
        selection = select_tracks(codebook.analyse(residual), step.protocol.tracks, step.protocol.index_bits)
        self.steps.append(step)
        self.bits.append(step.protocol.write(selection))
        return Move(step.level.sigma, selection.steer(codebook))

    def _leaves_room(self, step: TrackStep) -> bool:
        """Returns whether a step of one track would still fit after one more step."""
        least = replace(step, protocol=TracksProtocol(1, self.track_bits))
        return self._size_with(step, least) <= self.target

    def _size_with(self, *more: TrackStep) -> int:
        """Returns the bytes of the file if it ended with more steps."""
        steps = [*self.steps, *more]
        payload = -(-sum(step.bits for step in steps) // 8)
        return container.packed_size(_fields_size(steps[:-1]), payload, self.plan)

    def _most_tracks(self, proposal: Proposal) -> int:
        """Returns the most tracks one last step can have."""
        size = proposal.size

        def bytes_with(tracks: int) -> int:
            protocol = _protocol(size, tracks, self.track_bits)
            return self._size_with(TrackStep(proposal.target, proposal.growing, protocol))

        most = min(size, (1 << TRACKS_BITS) - 1)
        tracks = bisect_right(range(1, most + 1), self.target, key=bytes_with)
        # sizes fall now and then, where one more byte moves the end of a tier so that a block less is needed
        beyond = range(min(most, tracks + BEYOND), tracks, -1)
        return next((more for more in beyond if bytes_with(more) <= self.target), tracks)


def smallest_file(plan: Plan) -> int:
    """Returns the bytes of a file with one step of a few bits."""
    return container.packed_size(_fields_size([]), 2, plan)


def read_tracks_script(reader: BitReader, common: Common) -> Script:
    """Reads the header fields of a tracks file.

    Raises:
        HeaderError: They describe no possible chain.
    """
    coarsest = 1 << reader.read("coarsest grid (log2)", 3)
    start = reader.read("first sigma (1/16)", 8) / 16
    threshold = reader.read("growth threshold (1/16)", 5) / 16
    per_octave = reader.read("steps per octave", 3)
    most = reader.read("longest track (log2)", 4)
    count = reader.read("steps", 6)
    finest = 1 << reader.read("finest grid (log2)", 3)
    sigma = _sigma(reader.read("last sigma", SIGMA_BITS))
    last = reader.read("last tracks", TRACKS_BITS)
    fits = finest <= coarsest and (coarsest == 1 or common.space.factor == 1)
    if not (per_octave and start and threshold and count and last and fits):
        raise HeaderError("the header describes no possible chain")
    schedule = GrownSchedule(coarsest, start, threshold, per_octave)
    budgets = [*(_budget(code) for code in _read_codes(reader, count - 1)), last]
    steps: list[Step] = []
    for (level, growing), tracks in zip(_path(schedule, finest), budgets, strict=False):
        size = _band_size(common, coarsest, level.grid, growing)
        steps.append(Step(level, growing, _protocol(size, min(tracks, size), most)))
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


def _last(proposal: Proposal, energy: float, tracks: int, most: int) -> TrackStep:
    """Returns the step that takes the given tracks, to the level they pay for; growing, no lower than what is known."""
    protocol = _protocol(proposal.size, tracks, most)
    precision = proposal.source**-2 + tracks * capture(protocol.index_bits) ** 2 / (BUDGET_SCALE * energy)
    code = _sigma_code(max(precision**-0.5, proposal.target.sigma if proposal.growing else SIGMA_LEAST))
    while _sigma(code) >= proposal.source:
        code += 1
    return TrackStep(Level(proposal.target.grid, _sigma(code)), proposal.growing, protocol)


def _protocol(size: int, tracks: int, most: int) -> TracksProtocol:
    return TracksProtocol(tracks, track_bits(size, tracks, most))


def _band_size(common: Common, coarsest: int, grid: int, growing: bool) -> int:
    """Returns the number of samples a step moves: of the whole grid, or of its detail band."""
    samples = common.samples(coarsest, grid)
    return samples * 3 // 4 if growing else samples


def _budget(code: int) -> int:
    return round(math.exp2(code / 4))


def _write_codes(writer: BitWriter, steps: list[TrackStep]) -> None:
    for index, step in enumerate(steps):
        if index < 2:
            writer.write("tracks (quarter octaves)", step.code, 7)
        else:
            writer.write_signed("tracks (quarter octaves, growth over 1)", step.code - steps[index - 1].code - 1)


def _read_codes(reader: BitReader, count: int) -> Iterator[int]:
    code = 0
    for index in range(count):
        if index > 1:
            code += 1 + reader.read_signed("tracks (quarter octaves, growth over 1)")
        else:
            code = reader.read("tracks (quarter octaves)", 7)
        if not 0 <= code <= MOST_CODE:
            raise HeaderError(f"expected a budget code from 0 to {MOST_CODE}, got {code}")
        yield code


def _fields_size(before_last: list[TrackStep]) -> int:
    """Returns the bytes of all header fields of a file whose last step follows these."""
    writer = BitWriter()
    _write_codes(writer, before_last)
    bits: int = COMMON_BITS + FIXED_BITS + writer.bits
    return -(-bits // 8)


def _sigma(code: int) -> float:
    return SIGMA_TOP * math.exp2(-code * SIGMA_OCTAVES / (1 << SIGMA_BITS))


def _sigma_code(sigma: float) -> int:
    code = round(math.log2(SIGMA_TOP / sigma) * (1 << SIGMA_BITS) / SIGMA_OCTAVES)
    return min(max(0, code), (1 << SIGMA_BITS) - 1)


def _log2(power: int) -> int:
    return power.bit_length() - 1
