"""Pseudorandom words and signs."""

from __future__ import annotations

import hashlib
from functools import lru_cache

import numpy as np


def key(**names: int | str) -> int:
    text = "\n".join(f"{name}={value!r}" for name, value in sorted(names.items()))
    return int.from_bytes(hashlib.sha256(text.encode("ascii")).digest()[:16], "big")


def words(count: int, **names: int | str) -> np.ndarray:
    return np.random.Philox(key=key(**names)).random_raw(count)


@lru_cache(maxsize=64)
def signs(count: int, **names: int | str) -> np.ndarray:
    stream = words(-(-count // 64), **names)
    place = np.arange(count)
    negative = stream[place // 64] >> (place % 64).astype(np.uint64) & np.uint64(1)
    return 1 - 2 * negative.astype(np.float64)
