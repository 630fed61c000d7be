"""Searching for the rate that gives a wanted quality."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from flipproof.codec.base import Codec
from flipproof.errors import RateError, SpecError
from flipproof.image import ImageLike, to_rgb
from flipproof.metric.psnr import psnr

if TYPE_CHECKING:
    from flipproof.codec.target import Priority

__all__ = ["Found", "encode_at_psnr"]

TOLERANCE = 0.1
"""Decibels above the wanted PSNR that are close enough."""
MOST_TRIALS = 12
FIRST_RATE, LEAST_RATE, MOST_RATE = 0.25, 1e-3, 24.0
FIRST_SLOPE = 3.0
"""Decibels per doubling of the rate, before two rates are known."""
MOST_DOUBLINGS = 2.5


@dataclass(frozen=True)
class Found:
    """A file of the wanted quality.

    Attributes:
        data: The file.
        bpp: The rate that was asked of the codec.
        psnr: What it decodes to, in dB.
        trials: Rates tried, each at the cost of one encoding and little more.
    """

    data: bytes
    bpp: float
    psnr: float
    trials: int


def encode_at_psnr(codec: Codec, image: ImageLike, target: float, priority: Priority | None = None) -> Found:
    """Encodes at the lowest rate found whose decoded picture has at least a wanted PSNR.

    PSNR is close to a straight line over the logarithm of the rate, so the search is a secant between the closest rates
    below and above. It ends within 0.1 dB above the target, usually after three or four rates.

    Arguments:
        codec: Which codec; it needs a parameter ``bpp``.
        image: What to encode.
        target: Wanted PSNR in dB, above 0.
        priority: Weights of the pixels, see :meth:`flipproof.codec.base.Codec.encode`.

    Raises:
        SpecError: The codec has no rate, or the target is no positive number.
        RateError: No rate of the codec reaches the target.
        ImageError: The picture cannot be coded.
    """
    if not 0 < target < math.inf:
        raise SpecError(f"expected a PSNR above 0 dB, got {target}")
    rgb = to_rgb(image)
    codec = _remembering(codec)
    below: Found | None = None
    above: Found | None = None
    rate = FIRST_RATE
    for trials in range(1, MOST_TRIALS + 1):
        try:
            data = codec.with_rate(rate).encode(rgb, priority)
        except RateError:
            if above is not None and rate <= LEAST_RATE:
                return above
            below = Found(b"", rate, -math.inf, trials)
        else:
            found = Found(data, rate, psnr(codec.decode(data).picture, rgb), trials)
            above, below = (found, below) if found.psnr >= target else (above, found)
        if above and (above.psnr <= target + TOLERANCE or (below and above.bpp < 1.002 * below.bpp)):
            return Found(above.data, above.bpp, above.psnr, trials)
        if rate >= MOST_RATE:
            break
        rate = _next(below, above, target)
    if above is None:
        got = "nothing" if below is None else f"{below.psnr:.2f} dB at {below.bpp:.3g} bpp"
        raise RateError(f"expected a codec that reaches {target:g} dB on this picture, got {got}")
    return above


def _remembering(codec: Codec) -> Codec:
    """Returns a codec whose decoder need not ask the denoiser again what its encoder has asked."""
    from flipproof.codec.rcc import ChainCodec
    from flipproof.prior.remembering import RememberingPrior

    return replace(codec, prior=RememberingPrior(codec.denoiser)) if isinstance(codec, ChainCodec) else codec


def _next(below: Found | None, above: Found | None, target: float) -> float:
    """Returns the rate to try: by interpolation, by extrapolation, or halfway to what failed."""
    if below and above:
        low, high = math.log2(below.bpp), math.log2(above.bpp)
        share = 0.5 if math.isinf(below.psnr) else (target + TOLERANCE / 2 - below.psnr) / (above.psnr - below.psnr)
        return float(2 ** (low + min(max(share, 0.02), 0.98) * (high - low)))
    known = below or above
    if known is None or math.isinf(known.psnr):
        return min(MOST_RATE, 4 * (known.bpp if known else FIRST_RATE))
    doublings = (target + TOLERANCE / 2 - known.psnr) / FIRST_SLOPE
    doublings += math.copysign(0.05, doublings)
    return min(MOST_RATE, max(LEAST_RATE, known.bpp * 2 ** min(max(doublings, -MOST_DOUBLINGS), MOST_DOUBLINGS)))
