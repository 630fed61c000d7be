r"""Unequal protection: which code each part of a payload should have.

Flips with probability :math:`p` in part :math:`i` of a payload add :math:`w_i p` to the squared error, in units of that
without flips; the :math:`w_i` are measured (`benchmarks/damage_by_step.py`). A code :math:`c` leaves a share
:math:`q_c(p)` of flipped bits, since blocks beyond repair keep what came, and stretches its part by :math:`1 / r_c`.
The plan minimises, in decibels,

.. math::

    S \log_2 \frac{1}{n} \sum_i \frac{1}{r_{c_i}}
    + \sum_p v_p\, 10 \log_{10} \Big( 1 + \sum_i w_i\, q_{c_i}(p) \Big),

what the parity costs a file of given size whose quality grows by :math:`S` decibels with each doubling of its rate, and
what flips cost, weighted over bit error rates.

Where a share of all bits is lost, and it is known which, as in lost packets, a block is whole or useless, and chains
end before the first useless one. If a share :math:`s` of the payload comes before it, that costs
:math:`S \log_2 (1 / s)` decibels, weighted over shares that are lost.

Damage falls along a payload, so codes never get stronger, and a plan is known by where each of them ends. From the best
single code on, one end after the other is moved while that helps.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import pairwise

import numpy as np

from flipproof import registry
from flipproof.errors import SpecError
from flipproof.protection.ladder import BLOCKS, LONG, BlockRung
from flipproof.protection.plan import MOST_TIERS, PARTS, UNPROTECTED, Plan, Span, Tier

__all__ = ["check_protection", "design", "make_plan", "price"]

DECIBELS_PER_DOUBLING = 2.2
"""What a doubling of the rate gains around 0.1 bits per pixel."""
RANGE = {0.01: 0.2, 0.1: 0.4, 1.0: 0.6, 3.0: 0.06, 5.0: 0.02}
"""Weights of multiples of the design bit error rate."""
LOSSES = {0.5: 0.4, 1.0: 0.6, 1.5: 0.2, 2.0: 0.06, 3.0: 0.02}
"""Weights of multiples of the design loss: of a few dozen packets, now and then twice as many are lost as usual."""
LIMITS = {"ber": (1e-6, 0.1, "bit error rate"), "loss": (0.01, 0.5, "loss")}
"""What a plan can be designed for: from, to, and its name."""
MOVES = (1, 2, 4, 8)
"""Thirty-seconds by which an end moves at once."""
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
        341.85, 48.24, 14.46, 8.43, 6.98, 4.37, 3.44, 2.57, 2.4, 1.93, 1.9, 1.7, 1.59, 1.31, 1.2, 1.07, 1.04,
        1.04, 0.97, 0.76, 0.75, 0.59, 0.59, 0.54, 0.52, 0.51, 0.46, 0.43, 0.43, 0.42, 0.42, 0.42,
    ),
}
# fmt: on
"""The :math:`w_i` of the thirty-seconds of a payload, made to fall; codecs without a line are taken for tracks.

Means over photographs; geometric ones for trellis, of which easy photographs lose many times what others do.
"""


def check_protection(protect: str) -> None:
    """Checks the spelling of a protection.

    Raises:
        SpecError: It is none of ``none``, ``uniform[t=...]``, ``uep[ber=...]``, ``uep[loss=...]`` and
            ``uep[ber=...,loss=...]``, or a value is out of range.
    """
    make_plan(protect, "tracks", 1)


@cache
def make_plan(protect: str, codec: str, size: int) -> Plan:
    """Returns the plan that a spelling stands for.

    Arguments:
        protect: ``none``; ``uniform[t=20]`` with t of one of the codes of the ladder; ``uep[ber=0.01]``;
            ``uep[loss=0.1]``; ``uep[ber=0.001,loss=0.1]``.
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
    if name == "uep" and set(texts) <= set(LIMITS):
        return design(codec, size, **{key: _share(key, text) for key, text in (texts or {"ber": "0.01"}).items()})
    raise SpecError(f"expected protection none, uniform[t=...] or uep[ber=...,loss=...], got {protect!r}")


def design(codec: str, size: int, ber: float = 0.0, loss: float = 0.0) -> Plan:
    """Returns the plan for a channel.

    No move of one end makes it cheaper, and no single code for everything is. Prices are those of plans as they come
    out in blocks: small payloads have short ones.

    Arguments:
        codec: Name of the codec, whose damage counts.
        size: Bytes of the payload with its parity.
        ber: Bit error rate, up to which and some way beyond files should do well.
        loss: Share of the bits that are lost, likewise.
    """
    damage = DAMAGE.get(codec, DAMAGE["tracks"])
    rates = {min(0.5, ber * factor): weight for factor, weight in RANGE.items() if ber}
    losses = {min(0.95, loss * factor): weight for factor, weight in LOSSES.items() if loss}

    @cache
    def cost(ends: tuple[int, ...]) -> float:
        return price(_plan(ends), damage, rates, losses, size)

    codes = len(LONG.rungs)
    best = min((tuple([0] * weaker + [PARTS] * (codes - weaker)) for weaker in range(codes + 1)), key=cost)
    while cost(closer := min(_neighbours(best), key=cost)) < cost(best):
        best = closer
    return _plan(best)


def price(
    plan: Plan, damage: tuple[float, ...], rates: Mapping[float, float], losses: Mapping[float, float], size: int
) -> float:
    """Returns what a plan costs in decibels: parity, flips and lost bits.

    Arguments:
        plan: The plan.
        damage: :math:`w_i` of each thirty-second of the payload.
        rates: Weights of bit error rates.
        losses: Weights of shares of the bits that are lost.
        size: Bytes of the payload with its parity.
    """
    payload = bisect_right(range(size + 1), size, key=plan.coded_size) - 1
    if payload < 1:
        return math.inf
    spans = list(plan.spans(payload))
    bounds, sums = np.linspace(0, payload, len(damage) + 1), np.concatenate([[0.0], np.cumsum(damage)])
    added = np.zeros(len(rates))
    for span in spans:
        edges = np.interp([span.start, span.start + span.size], bounds, sums)
        added += (edges[1] - edges[0]) * np.array([span.residual(rate) for rate in rates])
    flips = list(rates.values()) @ (10 * np.log10(1 + added))
    halvings = sum(weight * _halvings(spans, payload, loss) for loss, weight in losses.items())
    return float(DECIBELS_PER_DOUBLING * (math.log2(size / payload) + halvings) + flips)


def _halvings(spans: Sequence[Span], payload: int, loss: float) -> float:
    """Returns how often the rate is halved, on average, by what is lost with the first block that is not found."""
    reached, halvings = 1.0, 0.0
    for span in spans:
        lost, start = span.lost(loss), span.start
        for size in span.sizes:
            halvings += reached * lost * math.log2(payload / max(1, start))
            reached, start = reached * (1 - lost), start + size
    return halvings


def _plan(ends: tuple[int, ...]) -> Plan:
    """Returns the plan with these ends of the codes of the ladder, the strongest first."""
    codes = reversed(range(len(LONG.rungs)))
    tiers = (Tier(code, end) for code, (start, end) in zip(codes, pairwise((0, *ends)), strict=True) if start < end)
    return Plan(tuple(tiers), interleaved=True, ladder=LONG)


def _neighbours(ends: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Yields the ends with one moved, some way or to another; those in its way go along."""
    for index, end in enumerate(ends):
        goals = {0, PARTS, *ends, *(end + way * move for move in MOVES for way in (-1, 1))} - {end}
        for goal in goals & set(range(PARTS + 1)):
            before, after = (min(e, goal) for e in ends[:index]), (max(e, goal) for e in ends[index + 1 :])
            moved = (*before, goal, *after)
            if len({*moved} - {0}) <= MOST_TIERS:
                yield moved


def _rung(text: str) -> int:
    strengths = [str(rung.code.t) for rung in BLOCKS.rungs if isinstance(rung, BlockRung)]
    if text not in strengths:
        raise SpecError(f"expected t to be one of {', '.join(strengths)}, got {text}")
    return strengths.index(text)


def _share(key: str, text: str) -> float:
    least, most, name = LIMITS[key]
    try:
        share = float(text)
    except ValueError:
        share = math.nan
    if not least <= share <= most:
        raise SpecError(f"expected a {name} from {least:g} to {most:g} for the protection, got {text}")
    return share
