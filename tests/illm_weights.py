"""Weights of MS-ILLM by a formula, so that no test has to store or download any; needs NumPy only."""

from __future__ import annotations

import hashlib
import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["ENCODER", "HYPER", "LATENTS", "made", "picture"]

ENCODER = (4, 6, 8, 10, 12)
"""Widths of a model for tests; the generator has them in reverse."""
LATENTS, HYPER, BLOCKS = 10, 8, 2

_GAINS = {
    "encoder.blocks.5.weight": 2.0,
    "hyper_analysis.4.weight": 4.0,
    "hyper_synthesis_mean.4.weight": 0.3,
    "hyper_synthesis_scale.4.weight": 0.3,
    "decoder.blocks.4.weight": 0.3,
}


def made(name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Returns the values of a tensor: uniform ones, keyed by its name, on a scale that keeps a network lively."""
    centre, spread = _range(name, shape)
    return (centre + spread * (2 * _uniform(name, shape) - 1)).astype(np.float32)


def picture(height: int, width: int) -> NDArray[np.uint8]:
    """A picture with slopes, edges and noise, (H, W, 3)."""
    y, x = np.mgrid[:height, :width]
    slopes = np.stack([x / width, y / height, ((x // 9 + y // 7) % 2) * 0.6], axis=-1)
    return (255 * (0.8 * slopes + 0.2 * _uniform("picture", slopes.shape))).astype(np.uint8)


def _range(name: str, shape: tuple[int, ...]) -> tuple[float | NDArray[np.float64], float]:
    """Returns the middle and the half width of a tensor's values."""
    last = name.rpartition(".")[2]
    if last == "quantiles":
        return np.array([-9.0, 0.0, 9.0]), 1.0
    if last.startswith("_matrix"):
        return math.log(math.expm1(10**-0.2 / shape[1])), 0.3
    if last.startswith(("_bias", "_factor")):
        return 0.0, 0.5
    if last in ("gamma", "beta"):
        return float(last == "gamma"), 0.3
    if last == "bias":
        return {"hyper_synthesis_scale.4.bias": 3.0, "decoder.blocks.4.bias": 0.5}.get(name, 0.0), 0.3
    gain = _GAINS.get(name, 1.0)
    return 0.0, gain * math.sqrt(6 / math.prod(shape[1:]))


def _uniform(name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Returns numbers from 0 to 1; raw words of a counter-based generator are the same everywhere."""
    key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "big")
    words = np.random.Philox(key=key).random_raw(math.prod(shape))
    return ((words >> np.uint64(11)) * 2.0**-53).reshape(shape)
