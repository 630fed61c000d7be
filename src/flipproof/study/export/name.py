"""Names of files."""

from __future__ import annotations

import re
from collections.abc import Container

__all__ = ["file_name"]


def file_name(parts: tuple[str, ...], ending: str, taken: Container[str] = ()) -> str:
    """Makes a file name that says what is in a file and that no other file has.

    Arguments:
        parts: Such as data set, codec and channel.
        ending: With its dot.
        taken: Names that are given already.

    Example:
        >>> file_name(("kodak24", "jpeg[restart=8]", "bsc[ber=0.001]"), ".json")
        'kodak24_jpeg-restart=8_bsc-ber=0.001.json'
    """
    words = (re.sub(r"[^A-Za-z0-9.=+-]+", "-", part).strip("-.") for part in parts)
    stem = "_".join(word for word in words if word)[:180]
    names = (f"{stem}{'' if count == 1 else f'_{count}'}{ending}" for count in range(1, 10**6))
    return next(name for name in names if name not in taken)
