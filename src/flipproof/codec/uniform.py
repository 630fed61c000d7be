r"""What DDCM and the Turbo-DDCM family share: the same protocol, so the same number of bits, at every coded step.

Of T levels the first is known noise, the next T - 1 - N steps are coded, and the last N carry no bits and are
deterministic. Level i is Stable Diffusion's noise at the i-th of T timesteps. The published codecs live in latents of
8x8 pixels, with samples of deviation 1. In pixels, averaged over :math:`k \times k`, the noise is scaled by

.. math:: \frac{\sigma_i}{\sigma_\mathrm{SD}(t_i)} = 0.5 \cdot \frac{8}{k},

so that a patch of the picture has the same ratio of signal to noise as in the latents (the shift with resolution of
Hoogeboom et al., 2023, https://arxiv.org/abs/2301.11093); in those latents the factor is 1.
"""

from __future__ import annotations

from abc import abstractmethod
from bisect import bisect_right
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from flipproof import container
from flipproof.bits import BitArray, BitReader, BitWriter
from flipproof.chain import Move, Proposal, follow, walk
from flipproof.codebook.base import Codebook
from flipproof.codec.moves import codebook_for, free_move
from flipproof.codec.rcc import ChainCodec
from flipproof.codec.script import COMMON_BITS, Common, Script, Step
from flipproof.codec.target import Priority, Target
from flipproof.errors import HeaderError, RateError, SpecError
from flipproof.image import ImageLike, to_rgb
from flipproof.prior.base import LATENTS, Space
from flipproof.protocol.base import SelectionProtocol
from flipproof.schedule import TimestepSchedule
from flipproof.selection.base import Steering

__all__ = ["MOST_COUNT", "MOST_SAMPLES_MOVED", "UniformCodec", "latent_schedule", "pixel_grid"]

FIXED_BITS = 10 + 10 + 5 + 13 + 3
FINEST_RATE = ((0.5, 1), (0.05, 2))
"""Rates in bits per pixel from which the finer grids of pixels pay; grid 4 below."""
MOST_COUNT = 4096
MOST_ATOMS = 2**20
MOST_ATOMS_READ = 2**25
MOST_SAMPLES_MOVED = 2**31
"""Bounds on a whole chain, steps times atoms and steps times samples: what a header may ask a decoder to do."""


@dataclass(frozen=True)
class UniformCodec(ChainCodec):
    """Base of codecs that spend the same bits on every coded step.

    Attributes:
        bpp: Whole-file rate in bits per pixel, header included; sets M. Ignored if ``count`` is given.
        count: Atoms M per coded step, at most 4096 and K; None follows from ``bpp``.
        steps: Levels T, 2 to 1000.
        atoms: Codebook size K, a power of two up to 2^20.
        grid: Averaging factor of the grid of pixels, 1 to 64, a power of two; None follows from ``bpp``. Latents have
            grid 1 only.
    """

    bpp: float = 0.1
    count: int | None = None
    steps: int = 30
    atoms: int = 16384
    grid: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_parameters(
            ("bpp", 0 < self.bpp <= 24, "above 0, at most 24"),
            ("steps", 2 <= self.steps <= 1000, "from 2 to 1000"),
            ("atoms", self.atoms.bit_count() == 1 and 2 <= self.atoms <= MOST_ATOMS, "a power of two from 2 to 2^20"),
            (
                "count",
                self.count is None or 1 <= self.count <= min(MOST_COUNT, self.atoms),
                f"from 1 to {MOST_COUNT} and at most {self.atoms} atoms",
            ),
            ("grid", self.grid is None or self.grid in [1 << i for i in range(7)], "a power of two from 1 to 64"),
        )

    @staticmethod
    @abstractmethod
    def timesteps(steps: int) -> tuple[int, ...]:
        """Returns T timesteps."""

    @abstractmethod
    def free_for(self, count: int, pixels: int) -> int:
        """Returns the number N of steps without bits, for M atoms per step and a number of pixels."""

    @abstractmethod
    def protocol(self, count: int) -> SelectionProtocol:
        """Returns how a step of M atoms is written."""

    @abstractmethod
    def select(self, codebook: Codebook, residual: Tensor, count: int) -> Steering:
        """Returns the atoms to take for a residual (1, n)."""

    def analyses(self, count: int) -> int:
        """Returns how often :meth:`select` goes through the codebook."""
        return 1

    def with_rate(self, bpp: float) -> Self:
        """Returns the same codec at another rate in bits per pixel, which sets M."""
        return replace(self, bpp=bpp, count=None)

    @classmethod
    @abstractmethod
    def read_protocol(cls, reader: BitReader, atoms: int, count: int) -> SelectionProtocol:
        """Returns how a step was written, from what the header adds to the common fields.

        Raises:
            HeaderError: There is no such way.
        """

    def protocol_fields(self, writer: BitWriter, count: int) -> None:
        """Writes what :meth:`read_protocol` reads."""

    def last_step(self, script: Script) -> int:
        """Returns the steps a decoder takes: for the least squared error, only those with bits."""
        if self.reconstruction == "mse":
            return max(index for index, step in enumerate(script.steps) if step.bits) + 1
        return len(script.steps)

    @torch.inference_mode()
    def encode(self, image: ImageLike, priority: Priority | None = None) -> bytes:  # noqa: D102 (inherited)
        rgb = to_rgb(image)
        common, prior = self.common(rgb), self.denoiser
        grid = self.grid or pixel_grid(self.bpp, prior.space)
        count = self.count or self._count_for(common.height, common.width)
        free = self.free_for(count, common.height * common.width)
        script = _script(common, grid, self.timesteps(self.steps), self.protocol(count), free)
        self.check_drawing(script)
        self._check_effort(common.samples(grid, grid), count, free)
        target = Target.of(rgb, prior, grid, self.device, priority)
        bits: list[BitArray] = []

        def choose(proposal: Proposal) -> Move | None:
            step = script.steps[proposal.index]
            codebook = codebook_for(self.codebook, step, proposal)
            if step.protocol is None:
                return free_move(step, proposal, codebook)
            selection = self.select(codebook, target.residual(proposal), count)
            bits.append(step.protocol.write(selection))
            return Move(step.level.sigma, selection.steer(codebook))

        coded = self.steps - 1 - free
        follow(walk(prior, script.schedule, target.shape, self.device), choose, lambda: len(bits) == coded)
        plan = self.plan(
            int(self.bpp * common.height * common.width / 8) if self.count is None else script.payload_size
        )
        return self.assemble(self._fields(grid, count, free), script, bits, plan)

    @classmethod
    def read_script(cls, reader: BitReader, common: Common) -> Script:  # noqa: D102 (inherited)
        steps, free = reader.read("steps T", 10), reader.read("free steps N", 10)
        atoms, count = 1 << reader.read("atoms K (log2)", 5), reader.read("atoms per step M", 13)
        grid = 1 << reader.read("grid (log2)", 3)
        possible = 2 <= steps <= 1000 and free <= steps - 2 and 1 <= count <= atoms and 2 <= atoms <= MOST_ATOMS
        if not (possible and _fits(common.space, grid)):
            raise HeaderError("the header describes no possible chain")
        if not _bounded(steps, atoms, count, common.samples(grid, grid)):
            raise HeaderError("the header describes a chain that is too long")
        return _script(common, grid, cls.timesteps(steps), cls.read_protocol(reader, atoms, count), free)

    def _fields(self, grid: int, count: int, free: int) -> BitWriter:
        writer = BitWriter()
        writer.write("steps T", self.steps, 10)
        writer.write("free steps N", free, 10)
        writer.write("atoms K (log2)", self.atoms.bit_length() - 1, 5)
        writer.write("atoms per step M", count, 13)
        writer.write("grid (log2)", grid.bit_length() - 1, 3)
        self.protocol_fields(writer, count)
        return writer

    def _check_effort(self, samples: int, count: int, free: int) -> None:
        if not _bounded(self.steps, self.atoms, count, samples):
            raise RateError(f"{self.name}: {self.steps} steps of {self.atoms} atoms on {samples} samples are too many")
        self.check_scoring((self.steps - 1 - free) * self.analyses(count) * self.atoms * samples)

    def _count_for(self, height: int, width: int) -> int:
        """Returns the largest M whose file stays within the rate."""
        fields, size = -(-(COMMON_BITS + FIXED_BITS + self._protocol_bits()) // 8), int(self.bpp * height * width / 8)
        plan = self.plan(size)
        room = container.payload_room(fields, size, plan)

        def total(count: int) -> int:
            return (self.steps - 1 - self.free_for(count, height * width)) * self.protocol(count).bits

        choices = range(1, min(self.atoms // 2 + 1, MOST_COUNT) + 1)
        count = bisect_right(choices, 8 * room, key=total)
        if not count:
            least = container.packed_size(fields, -(-total(1) // 8), plan)
            raise RateError(
                f"{self.name}: {self.bpp:g} bpp of {width}x{height} is {size} bytes; "
                f"expected at least {least} ({8 * least / (height * width):.3g} bpp)"
            )
        return count

    def _protocol_bits(self) -> int:
        writer = BitWriter()
        self.protocol_fields(writer, 1)
        return writer.bits


def pixel_grid(bpp: float, space: Space) -> int:
    """Returns the grid on which a chain of one resolution does best at a rate; latents have but one."""
    if space.factor > 1:
        return 1
    return next((grid for rate, grid in FINEST_RATE if bpp >= rate), 4)


def latent_schedule(space: Space, grid: int, timesteps: tuple[int, ...]) -> TimestepSchedule:
    """Returns Stable Diffusion's noise at given timesteps, shifted to the resolution of a grid.

    Raises:
        SpecError: The prior knows one resolution only, and the grid is coarser.
    """
    if not _fits(space, grid):
        raise SpecError(f"expected grid 1 for a prior of latents, got {grid}")
    scale = space.deviation * LATENTS.factor / (space.factor * grid)
    return TimestepSchedule(grid, scale, timesteps)


def _fits(space: Space, grid: int) -> bool:
    return grid == 1 or space.factor == 1


def _script(common: Common, grid: int, timesteps: tuple[int, ...], protocol: SelectionProtocol, free: int) -> Script:
    schedule = latent_schedule(common.space, grid, timesteps)
    level = schedule.first
    steps = [Step(level, False, None)]
    for index in range(1, len(timesteps)):
        level = schedule.next(level)
        steps.append(Step(level, False, protocol if index < len(timesteps) - free else None))
    return Script(common, schedule, tuple(steps))


def _bounded(steps: int, atoms: int, count: int, samples: int) -> bool:
    """Returns whether a chain is short enough to decode in minutes."""
    return count <= MOST_COUNT and steps * atoms <= MOST_ATOMS_READ and steps * samples <= MOST_SAMPLES_MOVED
