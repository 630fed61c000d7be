"""Dead leaves: discs of many sizes and colours that hide each other, as things in photographs do.

Edges and spectrum are close to those of photographs (Lee, Mumford and Huang, 2001,
https://doi.org/10.1023/A:1011109015675), and colours go to the ends of their range.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from flipproof.seeds import generator

__all__ = ["leaves"]

COUNT = 400
SMALLEST, LARGEST = 0.01, 0.5
"""Radii, in sides of the picture; every octave of them has the same area in all."""


def leaves(size: int) -> Tensor:
    """Returns a square picture (1, 3, size, size) in [-1, 1]; always the same one."""
    rng = generator(purpose="dead leaves")
    y, x = (np.mgrid[0:size, 0:size] + 0.5) / size
    picture = np.zeros((3, size, size), np.float32)
    radii = np.sort((SMALLEST**-2 + rng.random(COUNT) * (LARGEST**-2 - SMALLEST**-2)) ** -0.5)[::-1]
    for radius, (row, column), colour in zip(radii, rng.random((COUNT, 2)), rng.random((COUNT, 3)), strict=True):
        picture[:, (y - row) ** 2 + (x - column) ** 2 < radius**2] = 2 * np.round(4 * colour)[:, None] / 4 - 1
    return torch.from_numpy(picture)[None]
