"""The optional libraries of error-correcting codes, imported on first use."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch

from flipproof.optional import load_optional

__all__ = ["load_library"]


@cache
def load_library(module: str) -> Any:  # noqa: ANN401 (a module without types)
    """Imports a module and leaves PyTorch's global random state alone, which sionna would draw anew.

    Raises:
        MissingExtraError: It is not installed.
    """
    with torch.random.fork_rng():
        return load_optional(module, "fec", module.partition(".")[0])
