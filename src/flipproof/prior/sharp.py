r"""The sharp prior: shows the end of a chain as a photograph would look.

A mean over all pictures that a file allows is blurred wherever they differ. From the same state, and told of the same
noise, the network of ``small`` with weights of its own for the way up answers with one picture instead that looks like
a photograph, which was what these weights were trained for. It takes no bits, no random numbers, and no more time.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from safetensors.torch import load
from torch import Tensor

from flipproof.prior.load import precision_type
from flipproof.prior.shipped import SHIPPED, ShippedWeights
from flipproof.prior.small import SmallPrior
from flipproof.prior.unet import UNet

__all__ = ["BASE", "SHARP", "load_sharp", "sharp_network"]

SHARP = ShippedWeights("sharp-2.safetensors", "2f634e75bd52574fbe0f2e0affd1e23ea5acb422d2eb4f7dd7dd948acba0463f")
"""The weights of the way up in the package."""
BASE = SHIPPED["small-3"]
"""Those of everything before it."""


def load_sharp(device: str = "cpu", precision: str = "float32") -> SmallPrior:
    """Returns the sharp prior, its weights checked against their SHA-256; loaded once per device and precision.

    Arguments:
        device: Where to compute.
        precision: Type the network computes in; for int8, it is float32.

    Raises:
        WeightsError: The weights are missing or altered.
        SpecError: There is no such precision.
    """
    return _shipped(SHARP, device, precision)


def sharp_network(weights: Mapping[str, Tensor]) -> UNet:
    """Returns the network of :data:`BASE`, in float32, with some of its weights replaced.

    Arguments:
        weights: Tensors by name.

    Raises:
        WeightsError: The network has none of such a name and shape.
    """
    return UNet.from_state(load(BASE.read()) | dict(weights))


@cache
def _shipped(weights: ShippedWeights, device: str, precision: str) -> SmallPrior:
    net = sharp_network(load(weights.read()))
    return SmallPrior(net.to(device, precision_type(precision)), weights.fingerprint)
