r"""Entropy coding for StableCodec: its tables, and one stream of bytes that is written and read in stages.

The side information z has a distribution learned per channel (the factorised prior of Ballé et al., 2018). With
:math:`H_k \in (0, \infty)^{d_{k+1} \times d_k}` the logit of the cumulative distribution is

.. math:: \ell = f_K \circ \dots \circ f_1, \quad
    f_k(x) = g_k(H_k x + b_k), \quad g_k(x) = x + \tanh(a_k) \odot \tanh(x), \quad g_K(x) = x,

and an integer s stands for the value median + s. The code y has 64 Gaussians, their scales spaced evenly in the
logarithm from 0.11 to 256; a scale takes the next larger one. Tables hold frequencies of 16 bits, as the authors' do.

**Bytes.** One range coder (constriction) for everything, as 32-bit words, big-endian, without the zero bytes at the
end, which the decoder adds. Of each stage come the integers under row 0 of its tables, then those under row 1, and so
on; then the values of those that were escaped, 13 bits each.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeAlias, cast

import constriction
import numpy as np
from numpy.typing import NDArray

from flipproof.errors import DecodeError, WeightsError
from flipproof.learned.entropy import Tables
from flipproof.learned.stablecodec_latent import LIMIT

__all__ = ["SCALES", "Reader", "Rows", "Writer", "factorised", "gaussians", "scale_rows"]

Array: TypeAlias = NDArray[Any]
Integers: TypeAlias = NDArray[np.int32]

SCALES = np.exp(np.linspace(math.log(0.11), math.log(256), 64))
"""Scales of the Gaussians that the code is coded under."""

TOTAL = 2**16
"""What the frequencies of a row add up to, but for rounding."""

_TAIL = 6.109410204869  # scales from which on a Gaussian has a mass of 1e-9, on both sides together
_UNIFORM = constriction.stream.model.Uniform(2 * LIMIT + 1)


def scale_rows(scales: Array) -> Array:
    """Returns the row of :data:`SCALES` for each scale: the first that is no smaller, else the last.

    Example:
        >>> scale_rows(np.array([-1.0, 0.11, 0.111, 1e9])).tolist()
        [0, 0, 1, 63]
    """
    return cast(Array, np.searchsorted(SCALES[:-1], scales, side="left"))


def factorised(tensors: Mapping[str, Array]) -> tuple[Tables, Array]:
    """Makes the tables of the side information from a checkpoint.

    Arguments:
        tensors: Of the entropy bottleneck as CompressAI names them, in its older (``_matrix0``) or its newer spelling
            (``matrices.0``), and ``quantiles`` (channels, 1, 3): the lower tail, the median and the upper tail.

    Returns:
        A row per channel, and the medians (channels,).

    Raises:
        WeightsError: A tensor is missing, or the tails are too far apart.
    """
    low, median, high = np.moveaxis(_find(tensors, "quantiles").astype(np.float64), 2, 0)[:, :, 0]
    below, above = np.ceil(median - low).clip(0), np.ceil(high - median).clip(0)
    if not (np.isfinite(median).all() and (below <= LIMIT).all() and (above <= LIMIT).all()):
        raise WeightsError(f"expected quantiles of the side information within {LIMIT}, got others")
    rows = []
    for channel in range(len(median)):
        edges = median[channel] + np.arange(-below[channel], above[channel] + 2) - 0.5
        logits = _logits(tensors, channel, edges)
        lower, upper = logits[:-1], logits[1:]
        # Where both are above 0, the difference of the complements is the more exact one.
        sign = np.where(lower + upper > 0, -1.0, 1.0)
        masses = np.abs(_sigmoid(sign * upper) - _sigmoid(sign * lower))
        rows.append(_frequencies(np.append(masses, _sigmoid(lower[:1]) + _sigmoid(-upper[-1:]))))
    return Tables(tuple(rows), tuple(int(-distance) for distance in below)), median


def gaussians() -> Tables:
    r"""Makes a row for each of :data:`SCALES`: zero-mean Gaussians over bins of width 1, up to 6.11 scales away."""
    rows, reaches = [], [math.ceil(_TAIL * scale) for scale in SCALES]
    for scale, reach in zip(SCALES.tolist(), reaches, strict=True):
        tails = [0.5 * math.erfc((k - 0.5) / (scale * math.sqrt(2))) for k in range(reach + 2)]
        half = -np.diff(tails)
        rows.append(_frequencies(np.concatenate([half[:0:-1], half, 2 * np.array(tails[-1:])])))
    return Tables(tuple(rows), tuple(-reach for reach in reaches))


def _frequencies(masses: Array) -> NDArray[np.int64]:
    """Rounds to the authors' 16 bits; no value is less likely than once in so many, which real pictures bear out."""
    frequencies: NDArray[np.int64] = np.maximum(np.rint(TOTAL * masses / masses.sum()), 1).astype(np.int64)
    return frequencies


def _logits(tensors: Mapping[str, Array], channel: int, values: Array) -> Array:
    logits, layer = values[None], 0
    while True:
        matrix = _find(tensors, f"_matrix{layer}", f"matrices.{layer}")[channel].astype(np.float64)
        bias = _find(tensors, f"_bias{layer}", f"biases.{layer}")[channel].astype(np.float64)
        logits = np.logaddexp(0, matrix) @ logits + bias
        if f"_factor{layer}" not in tensors and f"factors.{layer}" not in tensors:
            found: Array = logits[0]
            return found
        factor = _find(tensors, f"_factor{layer}", f"factors.{layer}")[channel].astype(np.float64)
        logits = logits + np.tanh(factor) * np.tanh(logits)
        layer += 1


def _sigmoid(x: Array) -> Array:
    return np.exp(-np.logaddexp(0, -x))


def _find(tensors: Mapping[str, Array], *names: str) -> Array:
    for name in names:
        if name in tensors:
            return tensors[name]
    raise WeightsError(f"expected a tensor entropy_bottleneck.{names[0]}, found none")


class Rows:
    """Tables and the models that constriction makes of them.

    Arguments:
        tables: Rows of frequencies.
    """

    def __init__(self, tables: Tables) -> None:
        categorical = constriction.stream.model.Categorical
        self.offsets = np.array(tables.offsets, np.int64)
        self.lengths = np.array([len(row) - 1 for row in tables.frequencies], np.int64)
        self.models = [categorical(row.astype(np.float64), perfect=False) for row in tables.frequencies]


class Writer:
    """Codes integers in stages."""

    def __init__(self) -> None:
        self._coder = constriction.stream.queue.RangeEncoder()

    def write(self, symbols: Integers, rows: Array, tables: Rows) -> None:
        """Codes the integers of a stage.

        Arguments:
            symbols: Integers from -4095 to 4095, shape (n,).
            rows: The row that each is coded under, shape (n,).
            tables: What the rows are of.
        """
        places = symbols - tables.offsets[rows]
        escaped = (places < 0) | (places >= tables.lengths[rows])
        places = np.where(escaped, tables.lengths[rows], places).astype(np.int32)
        for row in np.unique(rows).tolist():
            self._coder.encode(places[rows == row], tables.models[row])
        if escaped.any():
            self._coder.encode((symbols[escaped] + LIMIT).astype(np.int32), _UNIFORM)

    def close(self) -> bytes:
        """Returns the bytes of all stages."""
        return bytes(self._coder.get_compressed().astype(">u4").tobytes()).rstrip(b"\0")


class Reader:
    """Decodes integers in stages, from any bytes whatever; missing ones count as zeros, further ones are ignored.

    Arguments:
        data: What :meth:`Writer.close` returned, or whatever became of it.
    """

    def __init__(self, data: bytes) -> None:
        padded = data.ljust(-(-len(data) // 4) * 4, b"\0")
        self._coder = constriction.stream.queue.RangeDecoder(np.frombuffer(padded, ">u4").astype(np.uint32))

    def read(self, rows: Array, tables: Rows) -> Integers:
        """Decodes the integers of a stage.

        Arguments:
            rows: The row that each is coded under, shape (n,).
            tables: What the rows are of.

        Returns:
            The integers, from -4095 to 4095 or what the tables hold, shape (n,).

        Raises:
            DecodeError: No encoder writes this.
        """
        symbols = np.zeros(len(rows), np.int64)
        try:
            for row in np.unique(rows).tolist():
                held = np.flatnonzero(rows == row)
                symbols[held] = self._coder.decode(tables.models[row], len(held))
            escaped = np.flatnonzero(symbols == tables.lengths[rows])
            values = self._coder.decode(_UNIFORM, len(escaped)) if len(escaped) else []
        except AssertionError:  # how constriction says that no encoder writes this
            raise DecodeError("entropy-coded data that no encoder writes") from None
        symbols += tables.offsets[rows]
        symbols[escaped] = np.asarray(values, np.int64) - LIMIT
        return symbols.astype(np.int32)
