"""Wall time that waits for the device, and the name of the device."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flipproof.codec.base import Codec

__all__ = ["device_name", "synchronised"]


def synchronised(device: str = "cuda") -> float:
    """Returns :func:`time.perf_counter` after all that was asked of a CUDA device is done.

    A GPU works on while Python goes on; two such times have all its work between them. Where PyTorch is not imported or
    has not used CUDA there is nothing to wait for; this changes neither.

    Arguments:
        device: Which device, in PyTorch's words; others than CUDA's have nothing to wait for.

    Example:
        >>> synchronised() <= synchronised("cpu")
        True
    """
    torch = sys.modules.get("torch")
    if torch is not None and device.startswith("cuda") and torch.cuda.is_initialized():
        torch.cuda.synchronize(device)
    return time.perf_counter()


def device_name(codec: Codec) -> str:
    """Returns where a codec computes: ``cpu``, the model of the GPU, or PyTorch's word for any other device.

    Asks CUDA only about codecs that use it.

    Example:
        >>> from flipproof.codec.jpeg import JpegCodec
        >>> device_name(JpegCodec())
        'cpu'
    """
    device = str(getattr(codec, "device", "cpu"))
    if not device.startswith("cuda"):
        return device
    import torch

    return torch.cuda.get_device_name(device)
