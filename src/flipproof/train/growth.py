"""Larger networks that begin where smaller ones ended."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from flipproof.errors import WeightsError
from flipproof.prior.unet import ResidualBlock, UNet

__all__ = ["grow"]


def grow(net: UNet, tensors: Mapping[str, Tensor]) -> None:
    """Gives a network the weights of a smaller one; it then computes the same.

    Residual blocks that the smaller network lacks begin as identities: their last convolution is zero (Goyal et al.,
    2017, https://arxiv.org/abs/1706.02677). Channels that it lacks begin unheard: what reads them has zero weights for
    them (after Chen et al., 2016, https://arxiv.org/abs/1511.05641). Everything else that is new stays as it was drawn,
    so that it can learn.

    Arguments:
        net: The network, freshly drawn.
        tensors: All tensors of the smaller network, by name. It may have fewer residual blocks and narrower layers at
            any scale.

    Raises:
        WeightsError: They are of a network that ``net`` is no extension of.
    """
    blocks = {name: module for name, module in net.named_modules() if isinstance(module, ResidualBlock)}
    new = [name for name in blocks if not any(key.startswith(f"{name}.") for key in tensors)]
    own = net.state_dict()
    drawn = {key: tensor for key, tensor in own.items() if key.startswith(tuple(f"{name}." for name in new))}
    wider = {key: _widened(own[key], tensor, key) if key in own else tensor for key, tensor in tensors.items()}
    try:
        net.load_state_dict({**drawn, **wider})
    except RuntimeError as error:
        raise WeightsError(f"expected weights of a smaller network: {' '.join(str(error).split())}") from error
    for name in new:
        for p in blocks[name].conv2.parameters():
            nn.init.zeros_(p)


def _widened(drawn: Tensor, small: Tensor, key: str) -> Tensor:
    """Returns a drawn tensor with the small one in its corner, and zeros where old outputs read new inputs.

    The factors and terms of a block are two such tensors, one after the other.
    """
    if ".film." in key:
        halves = zip(drawn.chunk(2), small.chunk(2), strict=True)
        return torch.cat([_widened(d, s, "") for d, s in halves])
    if drawn.dim() != small.dim() or any(new < old for new, old in zip(drawn.shape, small.shape, strict=True)):
        return small
    result = drawn.clone()
    result[: len(small)] = 0
    result[tuple(slice(side) for side in small.shape)] = small
    return result
