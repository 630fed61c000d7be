r"""Unequal protection: which code each part of a payload should have.

Flips with probability :math:`p` in part :math:`i` of a payload add :math:`w_i p` to the squared error, in units of that
without flips; the :math:`w_i` are measured (`benchmarks/damage_by_step.py`). A code :math:`c` leaves a share
:math:`q_c(p)` of flipped bits, since blocks beyond repair keep what came, and stretches its part by :math:`1 / r_c`.
The plan minimises, in decibels,

.. math::

    S \log_2 \frac{1}{n} \sum_i \frac{1}{r_{c_i}}
    + \sum_p v_p\, 10 \log_{10} \Big( 1 + \sum_i w_i\, q_{c_i}(p) \Big),

what the parity costs a file of given size whose quality grows by :math:`S` decibels with each doubling of its rate, and
what flips cost, weighted over bit error rates. Both are concave in sums over the parts, so tangents bound them from
above, and under those every part chooses its code alone; no round makes the plan worse (majorisation-minimisation).
"""

from __future__ import annotations

import math
from bisect import bisect_right
from functools import cache
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from flipproof import registry
from flipproof.errors import SpecError
from flipproof.protection.plan import LADDER, PARTS, UNPROTECTED, Plan, Tier

__all__ = ["check_protection", "design", "make_plan", "price", "residual"]

DECIBELS_PER_DOUBLING = 2.2
"""What a doubling of the rate gains around 0.1 bits per pixel."""
RANGE = {0.01: 0.1, 0.1: 0.3, 1.0: 0.6, 3.0: 0.1, 5.0: 0.02}
"""Weights of multiples of the design bit error rate."""
ROUNDS = 50
# fmt: off
DAMAGE: dict[str, tuple[float, ...]] = {
    "robust-turbo-ddcm": (
        15.69, 15.69, 14.21, 14.21, 12.57, 12.57, 11.87, 11.87, 8.16, 8.16, 4.71, 4.71, 4.15, 4.15, 3.22, 3.22,
        2.56, 2.56, 2.22, 2.22, 1.94, 1.94, 1.47, 1.47, 1.4, 1.4, 1.23, 1.23, 0.86, 0.86, 0.82, 0.82,
    ),
    "tracks": (
        220.53, 23.39, 13.06, 6.38, 4.96, 4.19, 2.91, 2.2, 1.2, 1.15, 1.15, 1.15, 1.15, 1.15, 0.96, 0.91,
        0.91, 0.81, 0.7, 0.7, 0.61, 0.61, 0.61, 0.61, 0.47, 0.41, 0.41, 0.41, 0.36, 0.35, 0.35, 0.34,
    ),
    "trellis": (
        483.27, 50.88, 18.02, 14.09, 7.51, 4.64, 3.55, 3.54, 3.08, 2.71, 2.27, 1.85, 1.85, 1.65, 1.25, 1.11,
        1.11, 1.1, 0.97, 0.97, 0.92, 0.76, 0.76, 0.68, 0.67, 0.67, 0.57, 0.54, 0.53, 0.5, 0.49, 0.49,
    ),
}
# fmt: on
"""The :math:`w_i` of the thirty-seconds of a payload, made to fall; codecs without a line are taken for tracks.

Means over photographs; geometric ones for trellis, of which easy photographs lose many times what others do.
"""


def check_protection(protect: str) -> None:
    """Checks the spelling of a protection.

    Raises:
        SpecError: It is none of ``none``, ``uniform[t=...]`` and ``uep[ber=...]``, or a value is out of range.
    """
    make_plan(protect, "tracks", 1)


@cache
def make_plan(protect: str, codec: str, size: int) -> Plan:
    """Returns the plan that a spelling stands for.

    Arguments:
        protect: ``none``; ``uniform[t=20]`` with t of one of the codes of the ladder; ``uep[ber=0.01]``.
        codec: Name of the codec, whose damage the plan is designed for.
        size: Bytes of the payload with its parity, about; small ones get fewer tiers.

    Raises:
        SpecError: As for :func:`check_protection`.
    """
    name, texts = registry.parse(protect)
    if name == "none" and not texts:
        return UNPROTECTED
    if name == "uniform" and set(texts) <= {"t"}:
        return Plan((Tier(_rung(texts.get("t", "20")), PARTS),), interleaved=True)
    if name == "uep" and set(texts) <= {"ber"}:
        return design(codec, _rate(texts.get("ber", "0.01")), size)
    raise SpecError(f"expected protection none, uniform[t=...] or uep[ber=...], got {protect!r}")


def design(codec: str, ber: float, size: int) -> Plan:
    """Returns the best plan for a codec, a range of bit error rates up to ``ber``, and so many bytes with parity.

    Plans with parts of every size are compared as they come out in blocks, and with those of one code for everything,
    since the blocks of small payloads are short.
    """
    damage = np.array(DAMAGE.get(codec, DAMAGE["tracks"]))
    rates = tuple(min(0.5, ber * factor) for factor in RANGE)
    plans = [Plan(interleaved=True), *(Plan((Tier(rung, PARTS),), True) for rung in range(len(LADDER)))]
    plans += [_tiers(damage.reshape(parts, -1).sum(axis=1), rates) for parts in (1, 2, 4, 8, 16, 32)]
    return min(plans, key=lambda plan: price(plan, tuple(damage), rates, size))


def price(plan: Plan, damage: tuple[float, ...], rates: tuple[float, ...], size: int) -> float:
    """Returns what a plan costs in decibels, parity and flips together.

    Arguments:
        plan: The plan.
        damage: :math:`w_i` of each thirty-second of the payload.
        rates: Bit error rates with the weights of ``RANGE``.
        size: Bytes of the payload with its parity.
    """
    payload = bisect_right(range(size + 1), size, key=plan.coded_size) - 1
    if payload < 1:
        return math.inf
    bounds, sums = np.linspace(0, payload, len(damage) + 1), np.concatenate([[0.0], np.cumsum(damage)])
    added = np.zeros(len(rates))
    for span in plan.spans(payload):
        edges = np.interp([span.start, span.start + span.size], bounds, sums)
        bits = 8 * max(span.sizes) + (span.code.parity_bits if span.code else 0)
        left = [residual(span.code.t if span.code else 0, bits, rate) for rate in rates]
        added += (edges[1] - edges[0]) * np.array(left)
    flips = list(RANGE.values()) @ (10 * np.log10(1 + added))
    return float(DECIBELS_PER_DOUBLING * math.log2(size / payload) + flips)


def _tiers(damage: NDArray[np.float64], rates: tuple[float, ...]) -> Plan:
    """Returns the plan whose parts of equal size have the best codes, in full blocks."""
    blocks = [8 * rung.data + rung.code.parity_bits for rung in LADDER]
    left = np.array(
        [rates] + [[residual(r.code.t, n, rate) for rate in rates] for r, n in zip(LADDER, blocks, strict=True)]
    )
    stretch = np.array([1.0] + [rung.stretch for rung in LADDER])
    chosen = _choose(damage, left, stretch, np.array(list(RANGE.values())))
    ends = np.cumsum([len(list(members)) for _, members in groupby(chosen)]) * (PARTS // len(damage))
    codes = [int(code) for code, _ in groupby(chosen)]
    tiers = (Tier(code - 1, int(end)) for code, end in zip(codes, ends, strict=True) if code)
    return Plan(tuple(tiers), interleaved=True)


def _choose(
    damage: NDArray[np.float64], left: NDArray[np.float64], stretch: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Returns the number of the code of every part: 0 for none."""
    chosen = np.full(len(damage), len(stretch) - 1)
    for _ in range(ROUNDS):
        slope = weights * (10 / math.log(10)) / (1 + damage @ left[chosen])
        byte = DECIBELS_PER_DOUBLING / math.log(2) / stretch[chosen].sum()
        better = (byte * stretch + np.outer(damage, left @ slope)).argmin(axis=1)
        if (better == chosen).all():
            break
        chosen = better
    return chosen


@cache
def residual(flips: int, bits: int, ber: float) -> float:
    r"""Returns the share of bits that are wrong after a code on a binary symmetric channel.

    A block of n bits with at most t flips is repaired, any other is left as it is: with
    :math:`P_e = \binom{n}{e} p^e (1-p)^{n-e}` that is :math:`\sum_{e>t} P_e\, e / n`.

    Arguments:
        flips: t; 0 for no code.
        bits: n.
        ber: p.
    """
    if not flips or ber <= 0:
        return max(0.0, ber)
    many = np.arange(flips + 1, bits + 1)
    choices = [math.lgamma(bits + 1) - math.lgamma(e + 1) - math.lgamma(bits - e + 1) for e in many]
    return float((many / bits) @ np.exp(choices + many * math.log(ber) + (bits - many) * math.log1p(-ber)))


def _rung(text: str) -> int:
    strengths = [str(rung.code.t) for rung in LADDER]
    if text not in strengths:
        raise SpecError(f"expected t to be one of {', '.join(strengths)}, got {text}")
    return strengths.index(text)


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not 1e-6 <= rate <= 0.1:
        raise SpecError(f"expected a bit error rate from 1e-6 to 0.1 for the protection, got {text}")
    return rate
