"""The channel with additive white Gaussian noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from flipproof.bits import BitArray
from flipproof.channel.base import Observation, SoftChannel
from flipproof.channel.modulation import BITS_PER_SYMBOL, MOST_DB, detect

__all__ = ["GaussianNoiseChannel"]


@dataclass(frozen=True)
class GaussianNoiseChannel(SoftChannel):
    r"""Adds white Gaussian noise to the signal of each bit.

    :mod:`flipproof.channel.modulation` has the signals. A hard decision is wrong with probability
    :math:`Q(\sqrt{2 E_b / N_0})`: 1.3e-2 at 4 dB, 7.7e-4 at 7 dB.

    Attributes:
        snr: Eb/N0 in dB, from -100 to 100, where Eb is the energy of one bit on the channel. Parity bits are sent with
            as much: a code of rate R has 10 log10(1/R) dB more for each bit of data.
        modulation: ``bpsk`` or ``qpsk``, which is the same to a bit.
        soft: Whether the receiver gets the exact log-likelihood ratios, or hard decisions alone.
    """

    name: ClassVar[str] = "awgn"
    snr: float = 4.0
    modulation: str = "bpsk"
    soft: bool = False

    def __post_init__(self) -> None:
        self.check("snr", abs(self.snr) <= MOST_DB, f"from -{MOST_DB} to {MOST_DB} dB")
        self.check("modulation", self.modulation in BITS_PER_SYMBOL, f"one of {', '.join(BITS_PER_SYMBOL)}")

    @property
    def tells(self) -> bool:  # noqa: D102
        return self.soft

    def observe(self, bits: BitArray, rng: np.random.Generator) -> Observation:  # noqa: D102
        return detect(bits, 1.0, self.snr, rng)
