"""Libraries that are optional, imported on first use."""

from __future__ import annotations

import importlib
from typing import Any

from flipproof.errors import MissingExtraError

__all__ = ["load_optional"]


def load_optional(module: str, extra: str, package: str = "") -> Any:  # noqa: ANN401 (a module without types)
    """Imports a module.

    Arguments:
        module: Its name.
        extra: What of flipproof's extras brings it.
        package: The name of its package, if it is another than that of the module.

    Raises:
        MissingExtraError: It is not installed.

    Example:
        >>> load_optional("nosuch", "classical")
        Traceback (most recent call last):
        flipproof.errors.MissingExtraError: nosuch is not installed; run: pip install 'flipproof[classical]'
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(package or module, extra) from error
