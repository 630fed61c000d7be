r"""The hyper-decoder in whole numbers: encoder and decoder get the same entropy parameters on every machine.

An entropy decoder goes astray if a single parameter differs from the encoder's, and floating-point convolutions differ
in their last bits between processors, libraries and numbers of threads. So weights, biases and activations are
integers here (fractions of fixed width), and a convolution is a sum of integer products. It is computed in float64,
where all integers below 2^53 are exact, so that the order of summation does not matter: inputs are at most 2^14,
weights below 2^15, and a sum has fewer than 2^10 products. Results are rounded to the nearest integer, which also
absorbs the tiny errors of libraries that convolve by transforms. Fractions are cut by rounding shifts.

References:
    | Integer networks for data compression with latent-variable models (Balle, Johnston, Minnen, 2019),
      https://openreview.net/forum?id=S1zz2i0cY7
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from flipproof.errors import WeightsError
from flipproof.learned.hyperprior import ANCHORS, CEILING, HYPER, LATENTS, SCALES, Hyperprior

__all__ = ["MEAN_FRACTION", "Gaussians", "IntegerSynthesis", "integers_of"]

FRACTION = 10
"""Bits behind the point of activations and of the last layer's results."""
MEAN_FRACTION = 6
"""Bits behind the point of the means."""
MOST_WEIGHT_FRACTION = 14
LEVELS = 256
INDEX_GAIN = 8
"""Scale indices per unit of the last layer's results, as in :meth:`Hyperprior.parameters_from`."""


@dataclass(frozen=True, eq=False)
class Gaussians:
    """Distributions of the symbols, with shape (128, h, w).

    Attributes:
        means: In units of 2^-6, int32.
        indices: Of scales, 0 to 63, int32.
    """

    means: Tensor
    indices: Tensor


@dataclass(frozen=True, eq=False, repr=False)
class IntegerSynthesis:
    """Three convolutions of integers: two that double the resolution, and one that gives means and scale indices.

    Attributes:
        weights: Kernels (out, in, 3, 3) of whole numbers, as float64.
        biases: (out,) of whole numbers in the units of the layer's sums, as float64.
        fractions: Bits behind the point of each layer's weights.
        index_bias: (6, 128): offsets of the scale indices at the rates that have gains of their own, in units of 2^-10,
            int64.
    """

    weights: tuple[Tensor, Tensor, Tensor]
    biases: tuple[Tensor, Tensor, Tensor]
    fractions: tuple[int, int, int]
    index_bias: Tensor

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], device: str) -> IntegerSynthesis:
        """Reads what :func:`integers_of` returned.

        Raises:
            WeightsError: A tensor is missing or of another shape, or its values could overflow.
        """
        sides = ((4 * 64, HYPER), (4 * 96, 64), (2 * LATENTS, 96))
        weights, biases, fractions = [], [], []
        for layer, (outputs, inputs) in enumerate(sides):
            weight = _integers(tensors, f"integer.{layer}.weight", (outputs, inputs, 3, 3), 2**15)
            weights.append(weight.to(device).contiguous(memory_format=torch.channels_last))
            biases.append(_integers(tensors, f"integer.{layer}.bias", (outputs,), 2**31).to(device))
            fraction = int(_integers(tensors, f"integer.{layer}.fraction", (), MOST_WEIGHT_FRACTION + 1))
            if fraction < 0:
                raise WeightsError(f"expected a fraction of 0 to {MOST_WEIGHT_FRACTION} bits, got {fraction}")
            fractions.append(fraction)
        index_bias = _integers(tensors, "integer.index_bias", (ANCHORS, LATENTS), 2**31).long().to(device)
        return cls(tuple(weights), tuple(biases), tuple(fractions), index_bias)  # type: ignore[arg-type]

    @torch.inference_mode()
    def gaussians(self, z: Tensor, level: int) -> Gaussians:
        """Returns the distributions that hyper-latents tell of the symbols.

        Arguments:
            z: Whole numbers from -127 to 127, with shape (40, h, w).
            level: Rate, 0 to 255.

        Returns:
            Gaussians with shape (128, 4 h, 4 w).
        """
        x = z.to(torch.float64)[None].contiguous(memory_format=torch.channels_last)
        fraction = 0
        for layer in (0, 1):
            sums = self._sums(layer, x)
            x = shifted(sums, fraction + self.fractions[layer] - FRACTION).clamp(0, CEILING * 2**FRACTION)
            x, fraction = functional.pixel_shuffle(x, 2), FRACTION
        mean, index = self._sums(2, x)[0].chunk(2)
        bias = self.bias_at(level)[:, None, None]
        index = INDEX_GAIN * shifted(index, self.fractions[2]) + bias
        indices = shifted(index, FRACTION).clamp(0, SCALES - 1)
        means = shifted(mean, self.fractions[2] + FRACTION - MEAN_FRACTION).clamp(-(2**20), 2**20)
        return Gaussians(means.int().cpu(), indices.int().cpu())

    def bias_at(self, level: int) -> Tensor:
        """Returns the offsets of the scale indices (128,) at a rate, interpolated in whole numbers."""
        low, share = divmod(level * (ANCHORS - 1), LEVELS - 1)
        low, share = (low, share) if low < ANCHORS - 1 else (ANCHORS - 2, LEVELS - 1)
        mixed = self.index_bias[low] * (LEVELS - 1 - share) + self.index_bias[low + 1] * share
        return mixed.div(LEVELS - 1, rounding_mode="floor").double()

    def _sums(self, layer: int, x: Tensor) -> Tensor:
        return functional.conv2d(x, self.weights[layer], self.biases[layer], padding=1).round()


def shifted(x: Tensor, bits: int) -> Tensor:
    """Divides whole numbers by a power of two, rounding halves up; multiplies where ``bits`` is negative."""
    return torch.floor(x * 2.0**-bits + 0.5)


def integers_of(net: Hyperprior) -> dict[str, Tensor]:
    """Rounds the hyper-decoder of a trained network to integers.

    Raises:
        WeightsError: A weight or bias is too large.
    """
    tensors: dict[str, Tensor] = {}
    incoming = 0
    for layer, convolution in enumerate(m for m in net.hyper_synthesis.modules() if isinstance(m, nn.Conv2d)):
        weight, bias = convolution.weight.detach().double(), convolution.bias.detach().double()  # type: ignore[union-attr]
        fraction = min(MOST_WEIGHT_FRACTION, int(torch.floor(torch.log2((2**15 - 1) / weight.abs().max()))))
        bias = (bias * 2.0 ** (fraction + incoming)).round()
        if fraction < 0 or bias.abs().max() >= 2**31:
            raise WeightsError(f"layer {layer} of the hyper-decoder does not fit integers of 16 bits")
        tensors[f"integer.{layer}.weight"] = (weight * 2.0**fraction).round().to(torch.int16).contiguous()
        tensors[f"integer.{layer}.bias"] = bias.to(torch.int32)
        tensors[f"integer.{layer}.fraction"] = torch.tensor(fraction, dtype=torch.int32)
        incoming = FRACTION
    tensors["integer.index_bias"] = (net.index_bias.detach().double() * 2**FRACTION).round().to(torch.int32)
    return tensors


def _integers(tensors: Mapping[str, Tensor], name: str, shape: tuple[int, ...], limit: int) -> Tensor:
    tensor = tensors.get(name)
    if tensor is None or tensor.is_floating_point() or tuple(tensor.shape) != shape:
        got = None if tensor is None else f"{tensor.dtype} {tuple(tensor.shape)}"
        raise WeightsError(f"expected integers {shape} as {name}, got {got}")
    values = tensor.to(torch.float64)
    if values.abs().max() >= limit:
        raise WeightsError(f"expected values of {name} below {limit}, got {values.abs().max():g}")
    return values
