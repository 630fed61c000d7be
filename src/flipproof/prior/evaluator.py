"""The network of the small prior, evaluated at one noise level for all pictures of a batch.

What depends on the noise level alone is computed once. Layers of fewer weights than samples have their factors of it
multiplied into their weights, and on a CPU what follows them happens on the way to memory, by the convolutions that
PyTorch's own compiler fuses with it. Everything else happens in place. The results are those of
:meth:`flipproof.prior.unet.UNet.forward` up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import accumulate

import torch
from torch import Tensor, nn
from torch.nn import functional

from flipproof.prior.fused import add_conv, conv_relu
from flipproof.prior.unet import ResidualBlock, UNet

__all__ = ["Evaluator"]


class Evaluator:
    """Evaluates a network without gradients.

    Arguments:
        net: The network; it must not change any more.
    """

    def __init__(self, net: UNet) -> None:
        self.net = net
        blocks = [module for module in net.modules() if isinstance(module, ResidualBlock)]
        ends = accumulate(len(block.film.bias) for block in blocks)
        self._places = {block: slice(end - len(block.film.bias), end) for block, end in zip(blocks, ends, strict=True)}
        self._weight = torch.cat([block.film.weight.float() for block in blocks])
        self._bias = torch.cat([block.film.bias.float() for block in blocks])
        self._ups = [_by_place(up) for up in net.up]  # type: ignore[arg-type]

    @property
    def precision(self) -> str:
        """What it computes in, one of :data:`flipproof.prior.load.PRECISIONS`."""
        return str(self.net.stem.weight.dtype).removeprefix("torch.")

    def __call__(self, x: Tensor, c: float, u: float) -> Tensor:
        """Returns F(x, c, u).

        Arguments:
            x: Scaled pictures (B, 3, H, W), float32; sides are multiples of ``net.multiple``.
            c: Log noise level of all of them.
            u: Whether their finest detail is missing, 0 or 1.

        Returns:
            Pictures (B, 3, H, W) in the type of the network.
        """
        return self.net.traverse(x, self._at(self._films(x, c, u), c, u), self._climb)

    def _films(self, x: Tensor, c: float, u: float) -> Tensor:
        """Returns the factors and terms of all blocks, one after the other."""
        kind = self.net.stem.weight.dtype
        e = self.net.embedding(x.new_tensor([c]).to(kind), x.new_tensor([u]).to(kind)).float()
        return functional.linear(e, self._weight, self._bias)[0]

    def _at(self, films: Tensor, c: float, u: float) -> Callable[[ResidualBlock, Tensor], Tensor]:
        """Returns what blocks do at a noise level, which ``films`` are of."""
        return partial(self._block, films)

    def _block(self, films: Tensor, block: ResidualBlock, x: Tensor) -> Tensor:
        """Returns what ``block.forward`` does, in place of ``x``."""
        a, b = films[self._places[block]].chunk(2)
        a, conv = 1 + a, block.conv1
        if conv.weight.numel() < x[0].numel():
            weight, bias = conv.weight * a[:, None, None, None], conv.bias * a + b  # type: ignore[operator]
            hidden = conv_relu(x, weight.to(x.dtype), bias.to(x.dtype))
            return add_conv(x, hidden, block.conv2.weight, block.conv2.bias)  # type: ignore[arg-type]
        scale, shift = a.to(x.dtype)[:, None, None], b.to(x.dtype)[:, None, None]
        return x.add_(block.conv2(conv(x).mul_(scale).add_(shift).relu_()))

    def _climb(self, scale: int, coarse: Tensor, skip: Tensor) -> Tensor:
        """Returns the sum of a scale's two inputs, in place of ``skip``, without shuffling samples in between."""
        up, (batch, channels, height, width) = functional.conv2d(coarse, *self._ups[scale]), skip.shape
        parts = up.permute(0, 2, 3, 1).reshape(batch, height // 2, width // 2, 2, 2, channels).transpose(2, 3)
        total = skip.permute(0, 2, 3, 1).contiguous()
        total.view(batch, height // 2, 2, width // 2, 2, channels).add_(parts)
        return total.permute(0, 3, 1, 2)


def _by_place(up: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """Returns weight and bias of a layer, its outputs ordered by their place in 2x2 blocks before their channel."""
    order = torch.arange(up.out_channels).view(-1, 4).T.flatten()
    return up.weight[order].contiguous(memory_format=torch.channels_last), up.bias[order]  # type: ignore[index]
