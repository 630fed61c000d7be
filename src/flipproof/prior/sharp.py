r"""The sharp prior: a network that answers to the end of a chain with one picture that looks like a photograph.

The mean over all pictures that a file allows, which denoisers answer with, is blurred wherever those differ. Other
weights for the way up of the network of ``small``, trained on ends of chains, make one of them. They are told of the
same noise, and take no bits, no random numbers, and no more time. No encoder asks them: they are no part of the
bitstream.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from safetensors.torch import load
from torch import Tensor

from flipproof.errors import WeightsError
from flipproof.prior.shipped import SHIPPED, ShippedWeights
from flipproof.prior.small import SmallPrior
from flipproof.prior.unet import UNet

__all__ = ["BASE", "SHARP", "load_sharp", "moved"]

SHARP = ShippedWeights("sharp-3.safetensors", "2603cf1b3eed9cd82fef5b11a18f5bfb0fc2240c24b958ff3b85c860d389abcd")
"""Weights of the way up."""
BASE = SHIPPED["small-3"]
"""Those of the network that learned them, whose way down it shares."""


@cache
def load_sharp(device: str = "cpu", precision: str = "float32", share: float = 1.0) -> SmallPrior:
    r"""Returns the sharp prior, its weights checked against their SHA-256; loaded once per device, precision and share.

    Arguments:
        device: Where to compute.
        precision: Type the network computes in.
        share: a in 0 to 1: answers to weights :math:`(1 - a)\,\theta_\text{base} + a\,\theta_\text{sharp}` lie between
            those of both (Wang et al., 2019, https://arxiv.org/abs/1811.10515).

    Raises:
        WeightsError: The weights are missing or altered.
        SpecError: There is no such precision, or not on this device.
    """
    net = moved(load(BASE.read()), load(SHARP.read()), share)
    return SmallPrior.of(net, SHARP.fingerprint, device, precision)


def moved(weights: Mapping[str, Tensor], towards: Mapping[str, Tensor], share: float = 1.0) -> UNet:
    """Returns a network, in float32, with some of its weights moved towards others.

    Arguments:
        weights: Its weights by name.
        towards: Those to move to.
        share: How far, 0 to 1.

    Raises:
        WeightsError: The network has none of such a name and shape.
    """
    result = {name: tensor.float() for name, tensor in weights.items()}
    for name, tensor in towards.items():
        if name not in result or result[name].shape != tensor.shape:
            got = tuple(result[name].shape) if name in result else "none"
            raise WeightsError(f"expected a network with {name} of shape {tuple(tensor.shape)}, got {got}")
        result[name] = result[name].lerp(tensor.float(), share)
    return UNet.from_state(result)
