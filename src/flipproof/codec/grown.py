r"""Codecs whose budget follows the information, and whose resolution grows with the rate.

At every step the encoder measures the residual :math:`r = x - D` and spends as many bits as the step needs, see
:mod:`flipproof.codec.spending`. The chain starts on a coarse grid and moves to the next finer one when its noise falls
under a threshold. It ends where the file is full: the last step's :math:`\sigma_s` is the one its remaining bits pay
for.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

import torch

from flipproof.bits import BitReader
from flipproof.codec.draft import MOST_STEPS, Draft, read_grown_script, smallest_file
from flipproof.codec.rcc import ChainCodec
from flipproof.codec.script import Common, Script
from flipproof.codec.spending import Spending
from flipproof.codec.target import Priority, Target
from flipproof.errors import RateError
from flipproof.image import ImageLike, to_rgb
from flipproof.prior.base import Prior
from flipproof.prior.load import load_prior
from flipproof.prior.shipped import weights_for
from flipproof.schedule import GrownSchedule

__all__ = ["GrownCodec"]

JUDGE = "small-2"
"""Of the priors of the package, the one whose eye for faint detail makes the best pictures at a rate."""
DEFAULT_BPP = 0.25
DEFAULT_LEAST = 384
MOST_COARSE = 32
LEAST_ROWS = 4
LATENT_START = 14.5
"""First noise of a chain of latents, about the most that Stable Diffusion knows."""


@dataclass(frozen=True)
class GrownCodec(ChainCodec):
    """Base of flipproof's own codecs.

    Attributes:
        bpp: Whole-file rate in bits per pixel, header and protection included. Where the picture cannot use so many
            bits the file is smaller. None means 0.25, and at least 384 bytes.
        steps_per_octave: Steps in which the noise halves, 1 to 7: more save bits and cost time.
        threshold: Noise per sample at which the chain moves to a finer grid, from 1/16 to 31/16 in sixteenths.
        faint: Detail of pixels that a denoiser (``small-2`` for the priors of the package, else the prior) would take
            for noise of this share of the noise at the end, as it is foreseen, is not paid for, from 0 to 1: a decoder
            could not tell it from what is left of that noise.
            The other parameters are those of :class:`~flipproof.codec.rcc.ChainCodec`.
    """

    growth_reserve: ClassVar[float] = 0.3
    """A chain grows at first only if it can afford the new band and then this many times its bits."""
    bpp: float | None = None
    steps_per_octave: int = 3
    threshold: float = 0.375
    faint: float = 0.3
    protect: str = field(default="uep", kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_parameters(
            ("bpp", self.bpp is None or 0 < self.bpp <= 24, "above 0, at most 24"),
            ("steps_per_octave", 1 <= self.steps_per_octave <= 7, "from 1 to 7"),
            (
                "threshold",
                0 < self.threshold < 2 and (16 * self.threshold).is_integer(),
                "a multiple of 1/16 from 1/16 to 31/16",
            ),
            ("faint", 0 <= self.faint <= 1, "from 0 to 1"),
        )

    @property
    @abstractmethod
    def longest(self) -> int:
        """What the header says of the codec's choices, on four bits."""

    @classmethod
    @abstractmethod
    def spending(cls, longest: int) -> Spending:
        """Returns what bits buy.

        Raises:
            HeaderError: The four bits of a header mean nothing.
        """

    @torch.inference_mode()
    def encode(self, image: ImageLike, priority: Priority | None = None) -> bytes:  # noqa: D102 (inherited)
        rgb = to_rgb(image)
        common = self.common(rgb)
        schedule = self._schedule(common)
        size = self._file_size(common.height, common.width)
        self.check_scoring(common.samples(schedule.coarsest, 1) ** 2 * MOST_STEPS)
        spending, plan = self.spending(self.longest), self.plan(size)
        faint = self.faint if common.space.factor == 1 else 0.0
        judge = self._judge() if faint else None
        target = Target.of(rgb, self.denoiser, schedule.coarsest, self.device, priority, judge)
        for reserve in (self.growth_reserve, 0.0):
            draft = Draft(schedule, common, size, spending, self.longest, plan, reserve, faint)
            draft.steer_to(target, self.device)
            if not draft.starved:
                break
        if not draft.steps:
            raise RateError(f"{self.name}: {size} bytes leave no room for a single step with these parameters")
        return self.assemble(draft.fields(), draft.script(), draft.bits, draft.plan)

    @classmethod
    def read_script(cls, reader: BitReader, common: Common) -> Script:  # noqa: D102 (inherited)
        return read_grown_script(reader, common, cls.spending)

    def _judge(self) -> Prior:
        """Returns who tells faint detail from noise: a denoiser that is quicker than the prior, and stricter."""
        if weights_for(self.denoiser.fingerprint) is None:
            return self.denoiser
        return load_prior(JUDGE, self.device, self.denoiser.precision)

    def _schedule(self, common: Common) -> GrownSchedule:
        """Returns where the chain starts: a coarse grid of pixels, or the only grid of latents at most noise."""
        if common.space.factor > 1:
            return GrownSchedule(1, LATENT_START, self.threshold, self.steps_per_octave)
        coarsest = _coarsest(common.height, common.width)
        return GrownSchedule(coarsest, 2 * self.threshold, self.threshold, self.steps_per_octave)

    def _file_size(self, height: int, width: int) -> int:
        """Returns the size of the file to make, in bytes."""
        if self.bpp is None:
            return max(DEFAULT_LEAST, int(DEFAULT_BPP * height * width / 8))
        target, least = (
            int(self.bpp * height * width / 8),
            smallest_file(self.plan(1), self.spending(self.longest).field_bits),
        )
        if target < least:
            raise RateError(
                f"{self.name}: {self.bpp:g} bpp of {width}x{height} is {target} bytes; expected at least {least} "
                f"({8 * least / (height * width):.3g} bpp)"
            )
        return target


def _coarsest(height: int, width: int) -> int:
    """Returns the coarsest grid that still has a few rows and columns."""
    grid = 1
    while grid < MOST_COARSE and min(height, width) >= 2 * grid * LEAST_ROWS:
        grid *= 2
    return grid
