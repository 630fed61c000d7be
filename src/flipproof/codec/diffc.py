r"""DiffC: lossy compression with Gaussian diffusion (https://arxiv.org/abs/2206.08889, https://arxiv.org/abs/2501.09815).

Every step simulates the channel that the true posterior would be, chunk by chunk; the KL divergence of the step says
how many chunks there are. The chain starts from known noise at the first of T timesteps, visits the others, halves the
noise at every step after the last, and ends where the file is full. ``diffc`` writes the seeds of all chunks with one
range coder under Zipf's law, as published; ``robust-diffc`` writes each on its own. Noise levels are those of
:mod:`flipproof.codec.uniform`.

Header fields after the common ones: T, the grid, the longest seed, the number of steps with bits, the noise of the last
one, payload bytes if entropy-coded, the KL of the steps.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from flipproof import container
from flipproof.bits import BitArray, BitReader, BitWriter, pack_numbers
from flipproof.chain import follow, walk
from flipproof.codec.diffc_draft import (
    MOST_STEPS,
    SIGMA_BITS,
    ChannelStep,
    Cost,
    Draft,
    channel_step,
    fixed_cost,
    read_codes,
    sigma_of,
    write_codes,
    write_sigma,
    zipf_cost,
)
from flipproof.codec.rcc import ChainCodec
from flipproof.codec.script import COMMON_BITS, Common, Script, Step
from flipproof.codec.target import Priority, Target
from flipproof.codec.uniform import MOST_SAMPLES_MOVED, latent_schedule, pixel_grid
from flipproof.errors import HeaderError, RateError
from flipproof.image import ImageLike, to_rgb
from flipproof.protocol import zipf
from flipproof.schedule import TURBO_TIMESTEPS, Level, turbo_timesteps
from flipproof.selection.diffc import MOST_SEED_BITS, PADDING

__all__ = ["DiffC", "RobustDiffC"]

FIXED_BITS = 8 + 3 + 5 + 8 + SIGMA_BITS
STORED_BITS = 24
MOST_LEVELS = len(TURBO_TIMESTEPS)
MOST_RATE = 24


@dataclass(frozen=True)
class _DiffCCodec(ChainCodec):
    """Base of both; :class:`DiffC` describes the parameters."""

    cost: ClassVar[Cost]
    bpp: float = 0.1
    steps: int = 30
    seed_bits: int = MOST_SEED_BITS
    grid: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_parameters(
            ("bpp", 0 < self.bpp <= 24, "above 0, at most 24"),
            ("steps", 2 <= self.steps <= MOST_LEVELS, f"from 2 to {MOST_LEVELS}"),
            ("seed_bits", PADDING < self.seed_bits <= MOST_SEED_BITS, f"from {PADDING + 1} to {MOST_SEED_BITS}"),
            ("grid", self.grid is None or self.grid in [1 << i for i in range(7)], "a power of two from 1 to 64"),
        )

    @classmethod
    @abstractmethod
    def read_stored(cls, reader: BitReader) -> int | None:
        """Reads the payload bytes, if the header has them."""

    def stored(self, draft: Draft) -> int | None:
        """Returns the payload bytes, if the header has them."""
        return None

    @torch.inference_mode()
    def encode(self, image: ImageLike, priority: Priority | None = None) -> bytes:
        rgb = to_rgb(image)
        common, prior = self.common(rgb), self.denoiser
        size = int(self.bpp * common.height * common.width / 8)
        grid = self.grid or pixel_grid(self.bpp, prior.space)
        draft = self._draft(common, grid, size, Target.of(rgb, prior, grid, self.device, priority))
        while not draft.full and grid > 1 and self.grid is None:
            grid //= 2
            draft = self._draft(common, grid, size, Target.of(rgb, prior, grid, self.device, priority))
        if not draft.steps:
            raise RateError(
                f"{self.name}: {self.bpp:g} bpp of {common.width}x{common.height} is {size} bytes; expected more than "
                f"{container.packed_size(_fields_size([]), 0, self.plan(size))}, and room for a first step"
            )
        stored = self.stored(draft)
        return self.assemble(self._fields(draft, stored), draft.script(stored), draft.bits, self.plan(size))

    def _draft(self, common: Common, grid: int, size: int, target: Target) -> Draft:
        """Returns the steps of a file of a size in bytes; fewer bits where the grid cannot use them all."""
        schedule = latent_schedule(common.space, grid, turbo_timesteps(self.steps))
        self.check_scoring((self.steps - 1) * common.samples(grid, grid) << self.seed_bits)
        plan = self.plan(size)

        def budget(steps: Sequence[ChannelStep]) -> int:
            return 8 * container.payload_room(_fields_size(steps), size, plan)

        draft = Draft(common, schedule, self.seed_bits, budget, type(self).cost)
        steps = walk(self.denoiser, schedule, target.shape, self.device)
        follow(steps, lambda proposal: draft.answer(proposal, target), lambda: draft.full)
        return draft

    @classmethod
    def read_script(cls, reader: BitReader, common: Common) -> Script:
        steps, grid = reader.read("steps T", 8), 1 << reader.read("grid (log2)", 3)
        seed_bits, coded = reader.read("longest seed", 5), reader.read("steps with bits", 8)
        sigma = sigma_of(reader.read("last sigma", SIGMA_BITS))
        fits = grid == 1 or common.space.factor == 1
        possible = 2 <= steps <= MOST_LEVELS and 1 <= coded <= MOST_STEPS and PADDING < seed_bits <= MOST_SEED_BITS
        if not (fits and possible):
            raise HeaderError("the header describes no possible chain")
        samples = common.samples(grid, grid)
        if coded * samples > MOST_SAMPLES_MOVED:
            raise HeaderError("the header describes a chain that is too long")
        stored = cls.read_stored(reader)
        schedule = latent_schedule(common.space, grid, turbo_timesteps(steps))
        level = schedule.first
        made = [Step(level, False, None)]
        for index, code in enumerate(read_codes(reader, coded), start=1):
            level = schedule.next(level)
            made.append(channel_step(level, code, seed_bits, index, samples))
        most_bits = MOST_RATE * common.height * common.width + 1280
        if not sigma < made[-2].level.sigma or max(sum(s.bits for s in made), 8 * (stored or 0)) > most_bits:
            raise HeaderError("the header describes no possible chain")
        made[-1] = replace(made[-1], level=Level(grid, sigma))
        return Script(common, schedule, tuple(made), stored=stored)

    def _fields(self, draft: Draft, stored: int | None) -> BitWriter:
        writer = BitWriter()
        writer.write("steps T", self.steps, 8)
        writer.write("grid (log2)", draft.schedule.grid.bit_length() - 1, 3)
        writer.write("longest seed", self.seed_bits, 5)
        writer.write("steps with bits", len(draft.steps), 8)
        write_sigma(writer, draft.steps[-1].level.sigma)
        if stored is not None:
            writer.write("payload bytes", stored, STORED_BITS)
        write_codes(writer, draft.steps)
        return writer


@dataclass(frozen=True)
class RobustDiffC(_DiffCCodec):
    """DiffC with seeds of fixed length: one flipped bit, one chunk.

    Its parameters are those of :class:`DiffC`.
    """

    name: ClassVar[str] = "robust-diffc"
    cost: ClassVar[Cost] = staticmethod(fixed_cost)

    @classmethod
    def read_stored(cls, reader: BitReader) -> None:  # noqa: D102 (inherited)
        return None


@dataclass(frozen=True)
class DiffC(_DiffCCodec):
    """DiffC as published: the seeds of all chunks behind one range coder.

    Attributes:
        bpp: Whole-file rate in bits per pixel, header included.
        steps: Levels T, 2 to 162, of those the published codec visits.
        seed_bits: Longest seed of a chunk, 3 to 16.
        grid: Averaging factor of the grid of pixels, 1 to 64, a power of two; None follows from ``bpp``. Latents have
            grid 1 only. The other parameters are those of :class:`~flipproof.codec.rcc.ChainCodec`.
    """

    name: ClassVar[str] = "diffc"
    cost: ClassVar[Cost] = staticmethod(zipf_cost)

    @classmethod
    def read_stored(cls, reader: BitReader) -> int:  # noqa: D102 (inherited)
        return reader.read("payload bytes", STORED_BITS)

    def stored(self, draft: Draft) -> int:  # noqa: D102 (inherited)
        return len(self.store(draft.script(), draft.bits))

    def store(self, script: Script, bits: Sequence[BitArray]) -> bytes:  # noqa: D102 (inherited)
        steps = _channel_steps(script)
        seeds = [
            step.protocol.read(part[None], np.ones(step.bits, bool)).seeds[0].numpy()
            for step, part in zip(steps, bits, strict=True)
        ]
        return zipf.compress(seeds, [s.exponent for s in steps], [s.protocol.seed_bits for s in steps])

    def retrieve(self, script: Script, payload: bytes, known: NDArray[np.bool_]) -> tuple[BitArray, NDArray[np.bool_]]:
        """Returns the bits of all seeds at fixed length; those the coder could not make out are unknown."""
        steps = _channel_steps(script)
        arrived = payload if known.all() else payload[: int(np.argmin(known)) // 8]
        widths, counts = [s.protocol.seed_bits for s in steps], [s.protocol.parts for s in steps]
        seeds, complete = zipf.expand(arrived, [s.exponent for s in steps], widths, counts)
        bits = [pack_numbers(numbers, width).ravel() for numbers, width in zip(seeds, widths, strict=True)]
        spans = zip(pairwise(accumulate(counts, initial=0)), widths, strict=True)
        usable = [np.repeat(np.arange(a, b) < complete, width) for (a, b), width in spans]
        return np.concatenate(bits), np.concatenate(usable)


def _channel_steps(script: Script) -> list[ChannelStep]:
    return [step for step in script.steps if isinstance(step, ChannelStep)]


def _fields_size(steps: Sequence[ChannelStep]) -> int:
    """Returns the most bytes that the header fields can take."""
    writer = BitWriter()
    if steps:
        write_codes(writer, steps)
    bits: int = COMMON_BITS + FIXED_BITS + STORED_BITS + writer.bits
    return -(-bits // 8)
