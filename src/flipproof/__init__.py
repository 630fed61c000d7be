"""flipproof keeps pictures alive on channels that flip bits.

    import flipproof

    data = flipproof.encode("photo.png", bpp=0.25)
    picture = flipproof.decode(data).image

Nothing heavy is imported before it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from flipproof._version import __version__

if TYPE_CHECKING:
    from flipproof.api import decode, encode
    from flipproof.errors import DamagedError, DecodeError, FlipproofError, ImageError, RateError, SpecError
    from flipproof.result import Damage, DecodeResult, Status

__all__ = [
    "Damage",
    "DamagedError",
    "DecodeError",
    "DecodeResult",
    "FlipproofError",
    "ImageError",
    "RateError",
    "SpecError",
    "Status",
    "__version__",
    "decode",
    "encode",
]

_HOMES = {
    "Damage": "result",
    "DamagedError": "errors",
    "DecodeError": "errors",
    "DecodeResult": "result",
    "FlipproofError": "errors",
    "ImageError": "errors",
    "RateError": "errors",
    "SpecError": "errors",
    "Status": "result",
    "decode": "api",
    "encode": "api",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'flipproof' has no attribute {name!r}")
    return getattr(import_module(f"flipproof.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
