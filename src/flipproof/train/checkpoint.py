"""Training checkpoints: every tensor that a run needs to go on, in one safetensors file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from flipproof.errors import WeightsError

__all__ = ["prefixed", "read_tensors", "under", "write_tensors"]


def write_tensors(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, str] | None = None) -> None:
    """Writes tensors by name in one atomic move.

    Arguments:
        path: Where to.
        tensors: Copied to the CPU where they are elsewhere.
        header: Texts by name.
    """
    partial = path.with_suffix(".part")
    save_file({name: t.detach().clone().contiguous().cpu() for name, t in tensors.items()}, partial, dict(header or {}))
    partial.replace(path)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Returns the tensors and the header that :func:`write_tensors` wrote.

    Raises:
        WeightsError: The file is missing or no safetensors.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header: dict[str, str] = file.metadata() or {}
        return load_file(path), header
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"expected tensors in {path}: {str(error).splitlines()[0]}") from error


def under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Returns the tensors whose names begin with ``prefix`` and a dot, without them.

    Example:
        >>> from torch import zeros
        >>> list(under({"net.bias": zeros(1), "average.bias": zeros(1)}, "net"))
        ['bias']
    """
    return {name.removeprefix(f"{prefix}."): t for name, t in tensors.items() if name.startswith(f"{prefix}.")}


def prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns tensors with ``prefix`` and a dot before their names: the inverse of :func:`under`."""
    return {f"{prefix}.{name}": t for name, t in tensors.items()}
