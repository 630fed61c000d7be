r"""Low-rank adaptations (LoRA, Hu et al., 2022, https://arxiv.org/abs/2106.09685), merged into the weights they adapt.

A layer with the weight :math:`W` and the adaptation :math:`A, B` of rank r computes

.. math:: W x + \frac{\alpha}{r} B A x,

so that :math:`W + \frac{\alpha}{r} B A` does the same in one step. For a convolution :math:`B` is one of 1x1, and the
product runs over the r channels between. The authors leave :math:`\alpha` at 8, the default of the peft library.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from flipproof.errors import WeightsError

__all__ = ["ALPHA", "adapted_layers", "merge"]

ALPHA = 8.0

_UNET = r"(?:.*\.)?(?:to_k|to_q|to_v|to_out\.0|conv|conv1|conv2|conv_shortcut|conv_out|proj_in|proj_out|ff\.net\.2"
_UNET += r"|ff\.net\.0\.proj)"
_ENCODER = r"encoder\..*(?:conv1|conv2|conv_in|conv_shortcut|conv|conv_out|to_k|to_q|to_v|to_out\.0)"

Array: TypeAlias = NDArray[Any]


def adapted_layers(module: nn.Module, part: str) -> list[str]:
    """Returns the names of the layers that StableCodec adapts.

    Arguments:
        module: The UNet or the autoencoder.
        part: ``unet``, or ``vae``, of which only the encoder is adapted.
    """
    pattern = re.compile({"unet": _UNET, "vae": _ENCODER}[part])
    layers = (name for name, layer in module.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear))
    return [name for name in layers if pattern.fullmatch(name)]


def merge(module: nn.Module, part: str, tensors: Mapping[str, Array], adapter: str) -> None:
    """Adds the adaptations to the weights, in place.

    Arguments:
        module: The UNet or the autoencoder, in float32.
        part: Which of the two, ``unet`` or ``vae``.
        tensors: ``LAYER.lora_A.ADAPTER.weight`` (r, inputs, ...) and ``LAYER.lora_B.ADAPTER.weight`` (outputs, r, ...)
            of every adapted layer, and no others.
        adapter: What the adaptation is called in these names.

    Raises:
        WeightsError: A tensor is missing or left over, or its shape does not fit.
    """
    layers = adapted_layers(module, part)
    expected = {f"{layer}.lora_{side}.{adapter}.weight" for layer in layers for side in "AB"}
    for name in sorted(expected ^ tensors.keys()):
        raise WeightsError(f"{part}: {'expected' if name in expected else 'did not expect'} a tensor {name}")
    for layer in layers:
        down, up = (tensors[f"{layer}.lora_{side}.{adapter}.weight"] for side in "AB")
        weight = module.get_parameter(f"{layer}.weight")
        rank, outputs, shape = len(down), len(weight), tuple(weight.shape)
        if down.shape[1:] != shape[1:] or up.shape[:2] != (outputs, rank) or up.size != outputs * rank:
            raise WeightsError(f"{part}: expected a LoRA of {layer} {shape}, got {up.shape} by {down.shape}")
        product = _flat(up) @ _flat(down)
        with torch.no_grad():
            weight.add_((ALPHA / rank * product).reshape(shape))


def _flat(array: Array) -> torch.Tensor:
    return torch.from_numpy(np.array(array, np.float32)).flatten(1)
