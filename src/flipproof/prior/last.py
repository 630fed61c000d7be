r"""Last priors: networks that give the last answer of a chain, trained for it.

The network of ``small`` denoises white noise. What is left at the end of a chain has the marks of the chain, which its
weights know nothing of; and the mean over all pictures that a file allows, which they answer with, is blurred wherever
those differ. Other weights for the way up, trained on ends of chains, do better: the mean prior has less squared error,
and the sharp prior answers with one picture that looks like a photograph. Both are told of the same noise, and take no
bits, no random numbers, and no more time. No encoder asks them: they are no part of the bitstream.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from safetensors.torch import load
from torch import Tensor

from flipproof.prior.shipped import SHIPPED, ShippedWeights
from flipproof.prior.small import SmallPrior
from flipproof.prior.unet import UNet

__all__ = ["BASE", "MEAN", "SHARP", "last_network", "load_last"]

MEAN = ShippedWeights("mean-1.safetensors", "65dc7e44095651cb33be857c7ef4d38df22c6e6b9954773594a7b558aa3fb1cc")
"""Weights of the way up of the mean prior."""
SHARP = ShippedWeights("sharp-3.safetensors", "2603cf1b3eed9cd82fef5b11a18f5bfb0fc2240c24b958ff3b85c860d389abcd")
"""Those of the sharp prior."""
BASE = SHIPPED["small-3"]
"""Those of everything before it."""


@cache
def load_last(weights: ShippedWeights, device: str = "cpu", precision: str = "float32") -> SmallPrior:
    """Returns a last prior, its weights checked against their SHA-256; loaded once per device and precision.

    Arguments:
        weights: :data:`MEAN` or :data:`SHARP`.
        device: Where to compute.
        precision: Type the network computes in.

    Raises:
        WeightsError: The weights are missing or altered.
        SpecError: There is no such precision, or not on this device.
    """
    return SmallPrior.of(last_network(load(weights.read())), weights.fingerprint, device, precision)


def last_network(weights: Mapping[str, Tensor]) -> UNet:
    """Returns the network of :data:`BASE`, in float32, with some of its weights replaced.

    Arguments:
        weights: Tensors by name.

    Raises:
        WeightsError: The network has none of such a name and shape.
    """
    return UNet.from_state(load(BASE.read()) | dict(weights))
