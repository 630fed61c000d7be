"""Priors by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from flipproof.errors import SpecError, UnknownNameError
from flipproof.prior.shipped import SHIPPED
from flipproof.weights.digest import folder_digest

if TYPE_CHECKING:
    from flipproof.prior.base import Prior

__all__ = [
    "AUTO",
    "BYTES",
    "PRECISIONS",
    "check_bytes",
    "check_device",
    "concrete_precision",
    "load_prior",
    "native_bfloat16",
    "native_bytes",
    "precision_type",
    "prior_digest",
    "require_prior",
]

BYTES = "int8"
PRECISIONS = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16, BYTES: torch.float32}
"""Types of PyTorch by name; with int8, of what is not convolved in bytes."""
AUTO = "auto"
"""In place of a precision: the one of :func:`concrete_precision`."""
NATIVE = ("avx512_bf16", "amx_bf16", "bf16")
"""PyTorch's names for instructions that multiply in bfloat16: of x86, of x86 for tiles, of ARM."""


def load_prior(spec: str, device: str = "cpu", precision: str = "float32") -> Prior:
    """Returns a prior, loaded once per device and precision.

    Arguments:
        spec: ``small``, older weights of the package such as ``small-1``, or ``diffusers:`` and a directory or hub id,
            as in ``diffusers:owner/model@revision``; plain ``diffusers`` is the default model.
        device: Where to compute, such as cpu or cuda.
        precision: Type the network computes in: float32, float16, bfloat16, int8 for shipped weights on a CPU, or auto,
            see :func:`concrete_precision`.

    Raises:
        UnknownNameError: There is no such kind of prior.
        SpecError: There is no such precision.
        WeightsError: The weights are missing or unreadable.
        MissingExtraError: The diffusers library is not installed.
    """
    kind, location = _kind(spec)
    precision = concrete_precision(precision, spec, device)
    if kind in SHIPPED:
        from flipproof.prior.small import SmallPrior

        return SmallPrior.load(device, precision, kind)
    from flipproof.prior.diffusers import DiffusersPrior

    return DiffusersPrior.load(location, device, precision)


def require_prior(spec: str, precision: str = "float32") -> None:
    """Checks that a prior is on this machine, without reading it or asking the network.

    Arguments:
        spec: As for :func:`load_prior`.
        precision: As for :func:`load_prior`.

    Raises:
        UnknownNameError: There is no such kind of prior.
        WeightsError: The weights are not here; says how to get them.
        MissingExtraError: The diffusers library is not installed.
    """
    kind, location = _kind(spec)
    if kind == "diffusers":
        _model_files(location, concrete_precision(precision, spec))


def prior_digest(spec: str, precision: str = "float32") -> str:
    """Returns the SHA-256 of a prior's weights file, or of all files of a model of diffusers together.

    Arguments and errors are those of :func:`require_prior`.
    """
    kind, location = _kind(spec)
    if kind in SHIPPED:
        return SHIPPED[kind].sha256
    return folder_digest(*_model_files(location, concrete_precision(precision, spec)))


def concrete_precision(precision: str, spec: str, device: str = "cpu") -> str:
    """Returns the precision to compute in: for ``auto``, bfloat16 where the shipped priors are much faster in it.

    All else stays at float32: what bfloat16 does to a diffusion model is not measured, and on a GPU the choice is the
    user's. So is int8: files that only one end makes or shows in it lose too much.

    Arguments:
        precision: One of :data:`PRECISIONS`, which is returned as it is, or ``auto``.
        spec: The prior, as for :func:`load_prior`.
        device: Where to compute.
    """
    if precision != AUTO:
        return precision
    quick = spec in SHIPPED and torch.device(device).type == "cpu" and native_bfloat16()
    return "bfloat16" if quick else "float32"


def native_bfloat16() -> bool:
    """Returns whether PyTorch convolves on this processor with instructions for bfloat16.

    A PyTorch that cannot tell counts as one that does not.
    """
    # what torch.ops.mkldnn._is_mkldnn_bf16_supported says is no answer: it is true with any AVX-512, where bfloat16
    # without instructions of its own (AVX512_BF16, AMX_BF16) is slower than float32
    capabilities: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    there: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return there and any(capabilities.get(name, False) for name in NATIVE)


def native_bytes() -> bool:
    """Returns whether PyTorch convolves bytes on this processor, exactly and with instructions for it."""
    from flipproof.prior.quantised import exact_bytes

    return exact_bytes()


def check_bytes(device: str) -> None:
    """Checks that a device computes in int8.

    Raises:
        SpecError: It is no CPU, or one without instructions for it (VNNI, AMX), or PyTorch was built without oneDNN.
    """
    if torch.device(device).type != "cpu" or not native_bytes():
        raise SpecError(f"expected a CPU with VNNI or AMX, and PyTorch with oneDNN, for int8; got {device} without")


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


def _kind(spec: str) -> tuple[str, str]:
    """Returns a name of shipped weights or ``diffusers``, and what stands behind the colon."""
    kind, _, location = spec.partition(":")
    if kind == "diffusers" or spec in SHIPPED:
        return kind, location
    raise UnknownNameError("prior", spec, [*SHIPPED, "diffusers:DIRECTORY", "diffusers:OWNER/MODEL[@REVISION]"])


def _model_files(location: str, precision: str) -> tuple[Path, list[str]]:
    from flipproof.prior.checkpoint import local_files
    from flipproof.prior.diffusers import located

    return local_files(located(location), precision)
