"""The optional library behind BPG: PyAV, whose wheels carry libavcodec and x265."""

from __future__ import annotations

import importlib
from functools import cache
from types import ModuleType

from flipproof.errors import MissingExtraError

__all__ = ["load_av"]


@cache
def load_av() -> ModuleType:
    """Imports PyAV.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        return importlib.import_module("av")
    except ImportError as error:
        raise MissingExtraError("av", "bpg") from error
