"""Larger networks that begin where smaller ones ended."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from flipproof.errors import WeightsError
from flipproof.prior.unet import ResidualBlock, UNet

__all__ = ["grow"]


def grow(net: UNet, tensors: Mapping[str, Tensor]) -> None:
    """Gives a network the weights of a smaller one; it then computes the same.

    Residual blocks that the smaller network lacks begin as identities: their last convolution is zero, the rest stays
    as it was drawn, so that they can learn (Goyal et al., 2017, https://arxiv.org/abs/1706.02677).

    Arguments:
        net: The network, freshly drawn.
        tensors: All tensors of the smaller network, by name. It may have fewer residual blocks at any scale, but no
            other widths.

    Raises:
        WeightsError: They are of a network that ``net`` is no extension of.
    """
    blocks = {name: module for name, module in net.named_modules() if isinstance(module, ResidualBlock)}
    new = [name for name in blocks if not any(key.startswith(f"{name}.") for key in tensors)]
    drawn = {key: t for key, t in net.state_dict().items() if key.startswith(tuple(f"{name}." for name in new))}
    try:
        net.load_state_dict({**drawn, **tensors})
    except RuntimeError as error:
        raise WeightsError(f"expected weights of a smaller network: {' '.join(str(error).split())}") from error
    for name in new:
        for p in blocks[name].conv2.parameters():
            nn.init.zeros_(p)
