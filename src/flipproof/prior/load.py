"""Priors by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from flipproof.errors import SpecError, UnknownNameError

if TYPE_CHECKING:
    from flipproof.prior.base import Prior

__all__ = ["PRECISIONS", "check_device", "load_prior", "precision_type"]

PRECISIONS = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def load_prior(spec: str, device: str = "cpu", precision: str = "float32") -> Prior:
    """Returns a prior, loaded once per device and precision.

    Arguments:
        spec: ``small``, or ``diffusers:`` and a directory or hub id, as in ``diffusers:owner/model@revision``; plain
            ``diffusers`` is the default model.
        device: Where to compute, such as cpu or cuda.
        precision: Type the network computes in: float32, float16 or bfloat16.

    Raises:
        UnknownNameError: There is no such kind of prior.
        SpecError: There is no such precision.
        WeightsError: The weights are missing or unreadable.
        MissingExtraError: The diffusers library is not installed.
    """
    kind, _, location = spec.partition(":")
    if kind == "small" and not location:
        from flipproof.prior.small import SmallPrior

        return SmallPrior.load(device, precision)
    if kind == "diffusers":
        from flipproof.prior.diffusers import DiffusersPrior

        return DiffusersPrior.load(location, device, precision)
    raise UnknownNameError("prior", spec, ["small", "diffusers:DIRECTORY", "diffusers:OWNER/MODEL[@REVISION]"])


def precision_type(precision: str) -> torch.dtype:
    """Returns the PyTorch type of a precision.

    Raises:
        SpecError: There is none.
    """
    if precision not in PRECISIONS:
        raise SpecError(f"expected precision {', '.join(PRECISIONS)}, got {precision!r}")
    return PRECISIONS[precision]


def check_device(device: str) -> None:
    """Checks that PyTorch knows a device and that it is there.

    Raises:
        SpecError: It does not, or it is not.
    """
    try:
        there = not torch.empty(0, device=device).is_meta
    except (RuntimeError, AssertionError):
        there = False
    if not there:
        raise SpecError(f"expected a device that is there, such as cpu or cuda, got {device!r}")
