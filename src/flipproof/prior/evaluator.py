"""The network of the small prior, evaluated at one noise level for all pictures of a batch.

What depends on the noise level alone is computed once, and narrow layers have their factors of it multiplied into their
weights. Everything else happens in place. The results are those of :meth:`flipproof.prior.unet.UNet.forward` up to
rounding.
"""

from __future__ import annotations

from functools import partial
from itertools import accumulate

import torch
from torch import Tensor
from torch.nn import functional

from flipproof.prior.unet import ResidualBlock, UNet

__all__ = ["Evaluator"]

NARROW = 64
"""Widest layer whose weights are fewer than the samples they are worth: the wider, the coarser its scale."""


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

    def __call__(self, x: Tensor, c: float, u: float) -> Tensor:
        """Returns F(x, c, u).

        Arguments:
            x: Scaled pictures (B, 3, H, W), float32; sides are multiples of ``net.multiple``.
            c: Log noise level of all of them.
            u: Whether their finest detail is missing, 0 or 1.

        Returns:
            Pictures (B, 3, H, W) in the type of the network.
        """
        kind = self.net.stem.weight.dtype
        e = self.net.embedding(x.new_tensor([c]).to(kind), x.new_tensor([u]).to(kind)).float()
        films = functional.linear(e, self._weight, self._bias)[0]
        return self.net.traverse(x, partial(self._block, films))

    def _block(self, films: Tensor, block: ResidualBlock, x: Tensor) -> Tensor:
        """Returns what ``block.forward`` does; ``films`` are the factors and terms of all blocks."""
        a, b = films[self._places[block]].chunk(2)
        a = 1 + a
        conv = block.conv1
        if conv.out_channels <= NARROW:
            weight = (conv.weight * a[:, None, None, None]).to(x.dtype)
            hidden = functional.conv2d(x, weight, (conv.bias * a + b).to(x.dtype), padding=1)  # type: ignore[operator]
        else:
            scale, shift = a.to(x.dtype)[:, None, None], b.to(x.dtype)[:, None, None]
            hidden = conv(x).mul_(scale).add_(shift)
        out: Tensor = block.conv2(hidden.relu_())
        return out.add_(x)
