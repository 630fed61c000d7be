r"""The network of the small prior with residual blocks that convolve in 8-bit integers.

Processors with instructions for products of bytes (VNNI, AMX) convolve them three times as fast as float32. Samples are
:math:`x \approx s_c (q - z)` with bytes q: of channel c of a block's input :math:`s_c = R_c / 127` and :math:`z = 128`,
behind its ReLU :math:`s = R / 255` for all channels and :math:`z = 0`. Weights, times the steps of their input, have a
scale for each output channel. Sums are whole numbers of 32 bits, so exact, and what a block adds to its input is
float32.

The ranges R come from the largest absolute values that the float32 network has there for a drawn picture, at the
nearest of a few noise levels. So results depend on nothing but the question, and the parts of a large picture fit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache, partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from flipproof.prior.evaluator import Evaluator
from flipproof.prior.fused import GEOMETRY
from flipproof.prior.unet import ResidualBlock, UNet

__all__ = ["QuantisedEvaluator", "exact_bytes"]

MARGIN = 1.1
"""Ranges over the values of the drawn picture."""
KNOTS = 2
"""Noise levels with weights of their own, per natural logarithm."""
KEPT = 12
"""Noise levels whose weights are kept, a byte for each of the network's."""
UNEVEN = 4
"""Most that the range of an input's channel is over that of another: a picture may have what the drawn one lacks."""


class QuantisedEvaluator(Evaluator):
    """Evaluates a network without gradients, on a CPU.

    Arguments:
        net: The network, in float32; it must not change any more.
        example: Maps a log noise level and whether the finest detail is missing, 0 or 1, to an input of the network
            whose samples spread as far as those of pictures do.
    """

    def __init__(self, net: UNet, example: Callable[[float, float], Tensor]) -> None:
        super().__init__(net)
        self._example, self._layers = example, lru_cache(KEPT)(self._quantised)

    @property
    def precision(self) -> str:  # noqa: D102 (inherited)
        return "int8"

    def _at(self, films: Tensor, c: float, u: float) -> Callable[[ResidualBlock, Tensor], Tensor]:
        return partial(self._block_of_bytes, films, self._layers(round(KNOTS * c) / KNOTS, u))

    def _block_of_bytes(
        self, films: Tensor, layers: Mapping[ResidualBlock, tuple[_Layer, _Layer]], block: ResidualBlock, x: Tensor
    ) -> Tensor:
        """Returns what ``block.forward`` does, in place of ``x``."""
        a, b = films[self._places[block]].chunk(2)
        first, second = layers[block]
        return second.add_to(x, first.relu(_bytes(x, first.steps), 1 + a, b, second.steps))

    def _quantised(self, c: float, u: float) -> dict[ResidualBlock, tuple[_Layer, _Layer]]:
        """Returns the convolutions of all blocks at a noise level."""
        return {
            block: (
                _Layer.of(block.conv1, _range(x, UNEVEN) / 127, 128),
                _Layer.of(block.conv2, _range(hidden, 1) / 255, 0),
            )
            for block, (x, hidden) in self._peaks(c, u).items()
        }

    @torch.inference_mode()
    def _peaks(self, c: float, u: float) -> dict[ResidualBlock, tuple[Tensor, Tensor]]:
        """Returns the largest absolute values in each channel of each block's input, and behind its ReLU."""
        peaks = {}

        def apply(films: Tensor, block: ResidualBlock, x: Tensor) -> Tensor:
            a, b = films[self._places[block]][:, None, None].chunk(2)
            hidden = functional.relu(block.conv1(x) * (1 + a) + b)
            peaks[block] = _peak(x), _peak(hidden)
            return x + block.conv2(hidden)  # type: ignore[no-any-return]

        x = self._example(c, u)
        self.net.traverse(x, partial(apply, self._films(x, c, u)), self._climb)
        return peaks


@dataclass(frozen=True)
class _Layer:
    """A 3x3 convolution of bytes.

    Attributes:
        weight: Times ``steps`` over ``scale``, as bytes in the order that oneDNN wants.
        scale: Of the weights of each output channel.
        bias: As it was.
        steps: What a step of the bytes stands for, in each input channel.
        zero: The byte that stands for 0.
    """

    weight: Tensor
    scale: Tensor
    bias: Tensor
    steps: Tensor
    zero: int

    @classmethod
    def of(cls, conv: nn.Conv2d, steps: Tensor, zero: int) -> _Layer:
        weight, bias = conv.weight.detach() * _column(steps), conv.bias.detach()  # type: ignore[union-attr]
        scale = (weight.abs().amax((1, 2, 3)) / 127).clamp(min=1e-20)
        whole = (weight / scale[:, None, None, None]).round().to(torch.int8)
        packed = torch.ops.onednn.qconv_prepack(whole, scale, 1.0, zero, *GEOMETRY, None)
        return cls(packed, scale, bias, steps, zero)

    def relu(self, x: Tensor, factor: Tensor, term: Tensor, steps: Tensor) -> Tensor:
        """Returns max(0, factor (W * x + b) + term) in bytes of given steps, of which 0 stands for 0."""
        scale, bias = self.scale * factor / steps, (self.bias * factor + term) / steps
        given = (x, 1.0, self.zero, self.weight, scale, torch.zeros_like(scale, dtype=torch.int32), bias, *GEOMETRY)
        out: Tensor = torch.ops.onednn.qconv2d_pointwise(*given, 1.0, 0, torch.uint8, "relu", [], "")
        return out

    def add_to(self, total: Tensor, x: Tensor) -> Tensor:
        """Returns a total in float32 and W * x + b; overwrites the total where its channels are innermost."""
        total, zeros = (
            total.contiguous(memory_format=torch.channels_last),
            torch.zeros_like(self.scale, dtype=torch.int32),
        )
        given = (x, 1.0, self.zero, self.weight, self.scale, zeros, total, self.bias, *GEOMETRY)
        added = torch.ops.onednn.qconv2d_pointwise.binary
        out: Tensor = added(*given, 1.0, 0, torch.float32, 1.0, 0, "sum", 1.0, "none", [], "")
        return out


def _bytes(x: Tensor, steps: Tensor) -> Tensor:
    """Returns the bytes nearest to x / steps + 128, with a step for each channel."""
    return torch.addcmul(x.new_tensor(128.5), x, _column(1 / steps)).clamp_(0, 255).to(torch.uint8)


def _column(channels: Tensor) -> Tensor:
    return channels[:, None, None]


def _peak(x: Tensor) -> Tensor:
    return x.abs().amax((0, 2, 3))


def _range(peak: Tensor, uneven: float) -> Tensor:
    return MARGIN * peak.clamp(min=max(float(peak.max()) / uneven, 1e-6))


@cache
def exact_bytes() -> bool:
    """Returns whether PyTorch convolves bytes here, and exactly.

    It takes oneDNN, and a processor with instructions for it: others add pairs of products in 16 bits, which are too
    few. The convolutions are not of PyTorch's public API; those of another meaning count as none.
    """
    conv, x = nn.Conv2d(16, 16, 3, padding=1), torch.linspace(-1, 1, 4096).view(1, 16, 16, 16)
    ones, full = torch.ones(16), torch.full((1, 16, 16, 16), 255, dtype=torch.uint8)
    with torch.inference_mode():
        conv.weight.fill_(127)
        conv.bias.zero_()  # type: ignore[union-attr]
        data = _bytes(x, ones / 127)
        try:
            total = _Layer.of(conv, ones, 0).add_to(torch.zeros(x.shape), full)
            hidden = _Layer.of(conv, ones, 128).relu(data, ones, ones, 4096 * ones)
        except (AttributeError, RuntimeError, TypeError):
            return False
        sums = conv(data.float() - 128).add(1).relu().div(4096).round().clamp(max=255)
        return torch.equal(total, conv(full.float())) and bool((hidden - sums).abs().max() <= 1)
