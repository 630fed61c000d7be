"""Haar details of pictures (3, h, w)."""

from __future__ import annotations

import numpy as np


def details(picture: np.ndarray) -> np.ndarray:
    """The bands v, h and q (3 bands, 3 colours, rows and columns of blocks)."""
    a, b = picture[:, ::2, ::2], picture[:, ::2, 1::2]
    c, d = picture[:, 1::2, ::2], picture[:, 1::2, 1::2]
    return np.stack([a + b - c - d, a - b + c - d, a - b - c + d]) / 2


def merge(average: np.ndarray, bands: np.ndarray) -> np.ndarray:
    v, h, q = bands / 2
    colours, rows, columns = average.shape
    merged = np.empty((colours, 2 * rows, 2 * columns))
    merged[:, ::2, ::2] = average + v + h + q
    merged[:, ::2, 1::2] = average + v - h - q
    merged[:, 1::2, ::2] = average - v + h - q
    merged[:, 1::2, 1::2] = average - v - h + q
    return merged
