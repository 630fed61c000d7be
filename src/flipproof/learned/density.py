r"""Tables of learned one-dimensional densities, as hyper-latents have them.

The distribution function of a channel is a small network that can only ascend (Ballé et al., 2018, appendix 6.1): with
:math:`l_0 = x` and :math:`l_{k+1} = u + \tanh(f_k) \tanh(u)`, :math:`u = \operatorname{softplus}(M_k) l_k + b_k` (the
last layer has no f), it is :math:`\operatorname{sigmoid}(l_5)`. Quantiles that were learned along tell where a channel
has its median and where its tails begin.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flipproof.errors import WeightsError
from flipproof.learned.entropy import ESCAPE, Tables

__all__ = ["density_tables"]

Floats = NDArray[np.float64]

MOST_VALUES = 2**14
"""Values of one row; bounds what damaged weights can ask for."""


def density_tables(parameters: Mapping[str, NDArray[Any]], layers: int) -> Tables:
    """Returns a row for each channel: the probabilities of the integers around its median.

    Computed in float64, so that processors that differ in the last digit come to the same 24-bit frequencies.

    Arguments:
        parameters: ``quantiles`` (channels, 1, 3) and, for each layer, ``_matrixI`` (channels, outputs, inputs),
            ``_biasI`` (channels, outputs, 1) and, but for the last one, ``_factorI`` of the same shape.
        layers: How many layers there are.

    Raises:
        WeightsError: The quantiles are too far apart, or something is not finite.
    """
    names = ["quantiles", *(f"_{kind}{layer}" for layer in range(layers) for kind in ("matrix", "bias", "factor"))]
    doubles = {name: np.asarray(parameters[name], np.float64) for name in names if name in parameters}
    if not all(np.isfinite(values).all() for values in doubles.values()):
        raise WeightsError("density: expected finite parameters, got others")
    quantiles = doubles["quantiles"][:, 0]
    spans = np.ceil(quantiles[:, 1:] - quantiles[:, :-1])
    if spans.max() >= MOST_VALUES / 2:
        raise WeightsError(f"quantiles: expected ones less than {MOST_VALUES // 2} apart, got {spans.max():g}")
    below, above = np.maximum(spans, 0).astype(np.int64).T
    rows = []
    for channel, (low, high) in enumerate(zip(below.tolist(), above.tolist(), strict=True)):
        edges = quantiles[channel, 1] + np.arange(-low, high + 2) - 0.5
        rows.append(_masses({name: values[channel] for name, values in doubles.items()}, edges, layers))
    return Tables.from_masses(rows, (-below).tolist())


def _masses(parameters: Mapping[str, Floats], edges: Floats, layers: int) -> Floats:
    """Returns the probabilities between edges, and that of all beyond them."""
    logits = edges[None]
    for layer in range(layers):
        logits = np.logaddexp(0, parameters[f"_matrix{layer}"]) @ logits + parameters[f"_bias{layer}"]
        if layer < layers - 1:
            logits = logits + np.tanh(parameters[f"_factor{layer}"]) * np.tanh(logits)
    # Mirrored where it is above one half, so that small differences keep their digits.
    lower, upper = logits[0, :-1], logits[0, 1:]
    sign = np.where(lower + upper > 0, -1.0, 1.0)
    masses = np.abs(_sigmoid(sign * upper) - _sigmoid(sign * lower))
    return np.append(masses, max(ESCAPE, float(_sigmoid(logits[0, 0]) + _sigmoid(-logits[0, -1]))))


def _sigmoid(x: Floats | np.float64) -> Floats:
    return np.asarray(np.exp(-np.logaddexp(0, -x)))
