"""A small codec of every kind that steers a chain, a prior that is one formula, and a look into files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from flipproof import registry
from flipproof.bits import BitArray
from flipproof.codec.ddcm import DDCM
from flipproof.codec.diffc import DiffC, RobustDiffC
from flipproof.codec.rcc import ChainCodec
from flipproof.codec.script import Script, Step
from flipproof.codec.tracks import TracksCodec
from flipproof.codec.trellis import TrellisCodec
from flipproof.codec.turbo import HybridTurboDDCM, RobustTurboDDCM, TurboDDCM
from flipproof.container import packed_size, unpack
from flipproof.prior.base import PIXELS, Prior, Space
from flipproof.selection.base import Steering

SMALL = (
    TrellisCodec(bpp=0.6),
    TracksCodec(bpp=0.6),
    TurboDDCM(bpp=0.6, steps=8, free_steps=2, atoms=256, grid=4),
    RobustTurboDDCM(bpp=0.8, steps=8, free_steps=2, atoms=256, grid=4),
    HybridTurboDDCM(bpp=0.6, steps=8, free_steps=2, atoms=256, grid=4, alone=3),
    DDCM(bpp=0.4, steps=20, atoms=256, grid=4),
    DiffC(bpp=0.5, steps=12, seed_bits=12, grid=4),
    RobustDiffC(bpp=0.5, steps=12, seed_bits=12, grid=4),
)
"""For pictures of a few thousand pixels."""
NAMES = [codec.name for codec in SMALL]
KINDS = (SMALL[0], SMALL[1], SMALL[3], SMALL[5], SMALL[7])
"""One of every way to select; the others only write the same choices in another way."""


class Wiener(Prior):
    """What is best if samples are independent normals of the space's deviation, with a mean of zero."""

    name = "wiener"

    def __init__(self, space: Space = PIXELS, fingerprint: int = 1) -> None:
        self.space, self._fingerprint = space, fingerprint

    @property
    def fingerprint(self) -> int:
        return self._fingerprint

    def denoise(self, y: Tensor, sigma: float) -> Tensor:
        return y * (self.space.deviation**2 / (self.space.deviation**2 + sigma**2))

    def refine(self, y: Tensor, sigma: float) -> Tensor:
        """Of finer grids it knows nothing: samples stand for their blocks."""
        return self.denoise(y, sigma).repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)


CHEAP = tuple(replace(codec, prior=Wiener()) for codec in SMALL)
"""The same without a network, where quality is of no interest."""

FREE = [name for name in registry.names("codecs") if name not in ("ms-illm", "stablecodec")]
"""Names of the codecs that need no weights but those in the package."""
OTHERS = [name for name in FREE if not isinstance(registry.codec(name), ChainCodec)]
"""Those of them that steer no chain."""


@dataclass(frozen=True)
class Opened:
    """A file taken apart; ``held`` of its payload bits are in the header's blocks, other bare ones start at a byte."""

    script: Script
    bits: BitArray
    held: int
    start: int

    def place(self, bit: int) -> int:
        """Returns where a bare bit of the payload is in a plain file."""
        if bit < self.held:
            raise IndexError(bit)
        return 8 * self.start + bit - self.held

    def steps(self) -> Iterator[tuple[Step, BitArray]]:
        """Yields the steps that have bits, and their bits."""
        ends = accumulate((step.bits for step in self.script.steps), initial=0)
        for step, (a, b) in zip(self.script.steps, pairwise(ends), strict=True):
            if step.bits:
                yield step, self.bits[a:b]

    def read(self) -> list[Steering]:
        """Returns what every step with bits selects."""
        return [step.protocol.read(bits[None], np.ones(step.bits, bool)) for step, bits in self.steps()]


def opened(codec: ChainCodec, data: bytes) -> Opened:
    """Takes an undamaged header, and any payload, apart."""
    file = unpack(data)
    _, script = codec.open(file)
    payload = np.packbits(file.payload(script.payload_size).bits).tobytes()
    bits, _ = codec.retrieve(script, payload, np.ones(8 * len(payload), bool))
    return Opened(script, bits, 8 * file.safe, packed_size(len(file.fields), 0, file.plan))


def flip(data: bytes, *bits: int) -> bytes:
    """Returns the bytes with some bits flipped, the first one being the highest of the first byte."""
    values = np.frombuffer(data, np.uint8).copy()
    for bit in bits:
        values[bit // 8] ^= 128 >> bit % 8
    return values.tobytes()


def squared_error(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Returns the squared error of every pixel (H, W), summed over its channels."""
    return ((a.astype(float) - b) ** 2).sum(axis=2)
