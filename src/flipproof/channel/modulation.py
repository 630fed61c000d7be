r"""Bits as signals: BPSK and Gray-mapped QPSK, detected coherently.

A bit :math:`b` is sent as the amplitude :math:`x = 1 - 2b` and received as :math:`y = hx + w` with noise of variance
:math:`N_0 / 2`, in units of the mean energy :math:`E_b` of a bit. The exact log-likelihood ratio is

.. math:: \ln \frac{P(b = 0 | y)}{P(b = 1 | y)} = \frac{4 h y}{N_0}.

Gray-mapped QPSK is two such signals in quadrature: at the same :math:`E_b / N_0` its bits fare as those of BPSK, in
half as many symbols (Proakis, Digital Communications, chapter 4). Only what a symbol has as a whole, such as its gain,
is shared by its two bits.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flipproof.bits import BitArray
from flipproof.channel.base import Observation

__all__ = ["BITS_PER_SYMBOL", "MOST_DB", "detect"]

BITS_PER_SYMBOL = {"bpsk": 1, "qpsk": 2}
"""The modulations."""

MOST_DB = 100
"""Signal-to-noise ratios are within this many dB of 0."""


def detect(bits: BitArray, gains: float | NDArray[np.float64], snr: float, rng: np.random.Generator) -> Observation:
    """Sends bits (n,) over noise, which is drawn relative to the sign of x: the same noise flips the same bits.

    Arguments:
        bits: The bits.
        gains: The gain h of all, or of each with shape (n,); the receiver knows it.
        snr: Eb/N0 in dB for a gain of 1.
        rng: Source of the noise.
    """
    density = 10 ** (-snr / 10)
    y = (1 - 2.0 * bits) * (gains + np.sqrt(density / 2) * rng.standard_normal(bits.size))
    return Observation((y < 0).astype(np.uint8), (4 / density * gains * y).astype(np.float32))
