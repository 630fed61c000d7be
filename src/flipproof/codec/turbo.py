r"""Turbo-DDCM (https://arxiv.org/abs/2511.06424) and Robust Turbo-DDCM (https://arxiv.org/abs/2604.05743).

Every coded step takes the M atoms of largest absolute inner product with the residual, each with its sign; the sum is
scaled to unit variance. Of T levels the first is known noise, the next T - 1 - N steps are coded with the same M each,
and the last N carry no bits and are deterministic. Turbo-DDCM writes the indices of a step as one lexicographic rank,
the robust variant writes each alone, the hybrid the strongest few alone; nothing else differs.

The published codecs live in the latent space of Stable Diffusion. These run on one grid of the pixel-space prior, with
a geometric schedule; the coarser the grid, the fewer bits the chain needs and the less detail it can show.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import ClassVar

import torch

from flipproof import container
from flipproof.bits import BitArray, BitReader, BitWriter
from flipproof.chain import Move, Proposal, follow, walk
from flipproof.codebook.rotated import RotatedCodebook
from flipproof.codec.rcc import (
    COMMON_BITS,
    ChainCodec,
    Script,
    Step,
    check_device,
    free_move,
    pad,
    padded_size,
    to_tensor,
)
from flipproof.errors import HeaderError, RateError, SpecError
from flipproof.image import ImageLike, to_rgb
from flipproof.protocol.base import SelectionProtocol
from flipproof.protocol.hybrid import HybridProtocol
from flipproof.protocol.independent import IndependentProtocol
from flipproof.protocol.lexicographic import LexicographicProtocol
from flipproof.schedule import FixedSchedule
from flipproof.selection.base import steer
from flipproof.selection.turbo import select_turbo

__all__ = ["HybridTurboDDCM", "RobustTurboDDCM", "TurboDDCM"]

FIXED_BITS = 10 + 10 + 20 + 16 + 3 + 10 + 10 + 13
SIGMA_UNIT = 1 / 128
FINEST_RATE = ((0.5, 1), (0.05, 2))
"""Rates in bits per pixel from which the finer grids pay; grid 4 below."""
MOST_COUNT = 4096
MOST_ATOMS_READ = 2**25
MOST_SAMPLES_MOVED = 2**31
"""Bounds on a whole chain, steps times atoms and steps times samples: what a header may ask a decoder to do."""


@dataclass(frozen=True)
class TurboDDCM(ChainCodec):
    """Turbo-DDCM with lexicographic ranks.

    Attributes:
        bpp: Whole-file rate in bits per pixel, header included; sets M. Ignored if ``count`` is given.
        count: Atoms M per coded step, at most 4096; None follows from ``bpp``.
        steps: Levels T, 3 to 1000.
        atoms: Codebook size K, at most 2^20 - 1; cut to the number of samples where the grid has fewer.
        free_steps: Last steps N without bits, at most T - 2.
        grid: Averaging factor of the grid, 1 to 64, a power of two; None follows from ``bpp``.
        sigma_max: Noise of the first level, in steps of 1/128 up to 7.99.
        sigma_min: Noise of the last level.
        device: Where to compute: cpu or cuda.
    """

    name: ClassVar[str] = "turbo-ddcm"
    bpp: float = 0.1
    count: int | None = None
    steps: int = 30
    atoms: int = 16384
    free_steps: int = 5
    grid: int | None = None
    sigma_max: float = 4.0
    sigma_min: float = 0.0625
    device: str = "cpu"

    def __post_init__(self) -> None:
        grids = [1 << i for i in range(7)]
        for name, legal, expected in (
            ("bpp", 0 < self.bpp <= 24, "above 0, at most 24"),
            ("count", self.count is None or 1 <= self.count <= MOST_COUNT, f"from 1 to {MOST_COUNT}"),
            ("steps", 3 <= self.steps <= 1000, "from 3 to 1000"),
            ("atoms", 2 <= self.atoms < 2**20, "from 2 to 1048575"),
            ("free_steps", 0 <= self.free_steps <= self.steps - 2, "from 0 to steps - 2"),
            ("grid", self.grid is None or self.grid in grids, "a power of two from 1 to 64"),
            ("sigma_max", 0 < self.sigma_max <= 1023 * SIGMA_UNIT, "above 0, at most 1023/128"),
            (
                "sigma_min",
                SIGMA_UNIT <= self.sigma_min <= self.sigma_max - SIGMA_UNIT,
                "from 1/128 to sigma_max - 1/128",
            ),
        ):
            if not legal:
                raise SpecError(f"{self.name}: expected {name} {expected}, got {getattr(self, name)}")
        check_device(self.device)

    def protocol(self, atoms: int, count: int) -> SelectionProtocol:
        """Returns how a step is written."""
        return LexicographicProtocol(atoms, count)

    @classmethod
    def read_protocol(cls, reader: BitReader, atoms: int, count: int) -> SelectionProtocol:
        """Returns how a step was written, from what the header adds to the common Turbo fields.

        Raises:
            HeaderError: There is no such way.
        """
        return cls().protocol(atoms, count)

    def protocol_fields(self, writer: BitWriter, count: int) -> None:
        """Writes what :meth:`read_protocol` reads."""

    @torch.inference_mode()
    def encode(self, image: ImageLike) -> bytes:  # noqa: D102 (inherited)
        rgb = to_rgb(image)
        height, width, _ = rgb.shape
        grid = self.grid or _grid_for(self.bpp)
        schedule = FixedSchedule(grid, _quantised(self.sigma_max), _quantised(self.sigma_min), self.steps)
        samples = _samples(height, width, grid)
        atoms = min(self.atoms, samples)
        count = min(self.count or self._count_for(height, width, atoms), atoms)
        if not _bounded(self.steps, atoms, count, samples):
            raise RateError(f"{self.name}: {self.steps} steps of {atoms} atoms on {samples} samples are too many")
        script = _script(height, width, schedule, self.protocol(atoms, count), self.free_steps)
        x = pad(to_tensor(rgb).to(self.device), grid)
        target = torch.nn.functional.avg_pool2d(x, grid).flatten(1)
        bits: list[BitArray] = []

        def choose(proposal: Proposal) -> Move | None:
            step = script.steps[proposal.index]
            codebook = RotatedCodebook(samples, proposal.index)
            if step.protocol is None:
                return free_move(step, proposal, codebook)
            selection = select_turbo(codebook.analyse(target - proposal.mean), atoms, count)
            bits.append(step.protocol.write(selection))
            return Move(step.level.sigma, steer(codebook, selection))

        coded = self.steps - 1 - self.free_steps
        follow(walk(self.prior, schedule, (1, *x.shape[2:]), self.device), choose, lambda: len(bits) == coded)
        fields = _fields(schedule, atoms, count, self.free_steps)
        self.protocol_fields(fields, count)
        return self.assemble(fields, script, bits)

    @classmethod
    def read_script(cls, reader: BitReader, height: int, width: int) -> Script:  # noqa: D102 (inherited)
        steps, free = reader.read("steps T", 10), reader.read("free steps N", 10)
        atoms, count = reader.read("atoms K", 20), reader.read("atoms per step M", 16)
        grid = 1 << reader.read("grid (log2)", 3)
        high, low = (reader.read(f"{end} sigma (1/128)", 10) * SIGMA_UNIT for end in ("first", "last"))
        samples = _samples(height, width, grid)
        possible = steps >= 3 and free <= steps - 2 and 1 <= count <= atoms <= samples and 0 < low < high
        if not (possible and _bounded(steps, atoms, count, samples)):
            raise HeaderError("the header describes no possible chain, or one too long")
        protocol = cls.read_protocol(reader, atoms, count)
        return _script(height, width, FixedSchedule(grid, high, low, steps), protocol, free)

    def _count_for(self, height: int, width: int, atoms: int) -> int:
        """Returns the largest M whose file stays within the rate."""
        coded = self.steps - 1 - self.free_steps
        header = container.packed_size(-(-(COMMON_BITS + FIXED_BITS) // 8), 0, 0)
        budget = int(self.bpp * height * width / 8) - header
        top = min(atoms // 2 + 1, MOST_COUNT)
        count = bisect_right(range(1, top + 1), 8 * budget, key=lambda m: coded * self.protocol(atoms, m).bits)
        if not count:
            least = header + -(-coded * self.protocol(atoms, 1).bits // 8)
            raise RateError(
                f"{self.name}: {self.bpp:g} bpp of {width}x{height} is {budget + header} bytes; "
                f"expected at least {least} ({8 * least / (height * width):.3g} bpp)"
            )
        return count


@dataclass(frozen=True)
class RobustTurboDDCM(TurboDDCM):
    """Turbo-DDCM with every index on its own."""

    name: ClassVar[str] = "robust-turbo-ddcm"

    def protocol(self, atoms: int, count: int) -> SelectionProtocol:
        """Returns how a step is written."""
        return IndependentProtocol(atoms, count)


@dataclass(frozen=True)
class HybridTurboDDCM(TurboDDCM):
    """Turbo-DDCM with the strongest indices on their own and one rank for the others.

    Attributes:
        alone: Indices B on their own, 0 to 4096; cut to M. The other parameters are those of :class:`TurboDDCM`.
    """

    name: ClassVar[str] = "hybrid-turbo-ddcm"
    alone: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.alone <= MOST_COUNT:
            raise SpecError(f"{self.name}: expected alone from 0 to {MOST_COUNT}, got {self.alone}")

    def protocol(self, atoms: int, count: int) -> SelectionProtocol:
        """Returns how a step is written."""
        return HybridProtocol(atoms, count, min(self.alone, count))

    @classmethod
    def read_protocol(cls, reader: BitReader, atoms: int, count: int) -> SelectionProtocol:  # noqa: D102 (inherited)
        alone = reader.read("atoms alone B", 13)
        if alone > count:
            raise HeaderError(f"expected at most {count} atoms alone, got {alone}")
        return HybridProtocol(atoms, count, alone)

    def protocol_fields(self, writer: BitWriter, count: int) -> None:  # noqa: D102 (inherited)
        writer.write("atoms alone B", min(self.alone, count), 13)


def _script(height: int, width: int, schedule: FixedSchedule, protocol: SelectionProtocol, free: int) -> Script:
    level = schedule.first
    steps = [Step(level, False, None)]
    for index in range(1, schedule.steps):
        level = schedule.next(level)
        steps.append(Step(level, False, protocol if index < schedule.steps - free else None))
    return Script(height, width, schedule, tuple(steps))


def _fields(schedule: FixedSchedule, atoms: int, count: int, free: int) -> BitWriter:
    writer = BitWriter()
    writer.write("steps T", schedule.steps, 10)
    writer.write("free steps N", free, 10)
    writer.write("atoms K", atoms, 20)
    writer.write("atoms per step M", count, 16)
    writer.write("grid (log2)", schedule.grid.bit_length() - 1, 3)
    writer.write("first sigma (1/128)", round(schedule.sigma_max / SIGMA_UNIT), 10)
    writer.write("last sigma (1/128)", round(schedule.sigma_min / SIGMA_UNIT), 10)
    return writer


def _bounded(steps: int, atoms: int, count: int, samples: int) -> bool:
    """Returns whether a chain is short enough to decode in minutes."""
    return count <= MOST_COUNT and steps * atoms <= MOST_ATOMS_READ and steps * samples <= MOST_SAMPLES_MOVED


def _grid_for(bpp: float) -> int:
    return next((grid for rate, grid in FINEST_RATE if bpp >= rate), 4)


def _quantised(sigma: float) -> float:
    return round(sigma / SIGMA_UNIT) * SIGMA_UNIT


def _samples(height: int, width: int, grid: int) -> int:
    rows, columns = padded_size(height, width, grid)
    return 3 * (rows // grid) * (columns // grid)
