"""The layout of a body: first block and rest."""

from __future__ import annotations

import numpy as np

from reference.bits import Bits
from reference.stream import words


def places_of_first(body: int, first: int, interleaved: bool) -> np.ndarray:
    """Where the bits of the first block are in a body of so many bits."""
    return np.array([i * body // first for i in range(first)]) if interleaved else np.arange(first)


def rest(body: Bits, places: np.ndarray, interleaved: bool) -> Bits:
    """The bits of all other places, in the order in which they were before they were interleaved."""
    others = body.at(np.setdiff1d(np.arange(len(body)), places))
    if not interleaved:
        return others
    order = np.argsort(words(len(others), purpose="interleaver", seed=0, size=len(others)), kind="stable")
    return others.at(np.argsort(order))
