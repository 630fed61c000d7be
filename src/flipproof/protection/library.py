"""The optional libraries of error-correcting codes, imported on first use."""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any

import torch

from flipproof.errors import MissingExtraError

__all__ = ["load_library"]


@cache
def load_library(module: str) -> Any:  # noqa: ANN401 (a module without types)
    """Imports a module and leaves PyTorch's global random state alone, which sionna would draw anew.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        with torch.random.fork_rng():
            return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError((error.name or module).partition(".")[0], "fec") from error
