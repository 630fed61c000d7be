"""Libraries of picture formats that are optional, imported on first use."""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any

from flipproof.errors import MissingExtraError

__all__ = ["load_optional"]


@cache
def load_optional(module: str, package: str) -> Any:  # noqa: ANN401 (a module without types)
    """Imports a module.

    Arguments:
        module: Its name.
        package: The name of its package, for the error.

    Raises:
        MissingExtraError: It is not installed.

    Example:
        >>> load_optional("nosuch", "no-such")
        Traceback (most recent call last):
        flipproof.errors.MissingExtraError: no-such is not installed; run: pip install 'flipproof[classical]'
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(package, "classical") from error
