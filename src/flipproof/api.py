"""Encode and decode in one call each."""

from __future__ import annotations

import os
from pathlib import Path

from flipproof import registry
from flipproof.bits import BitReader
from flipproof.codec.base import Codec
from flipproof.container import unpack
from flipproof.errors import DecodeError
from flipproof.image import ImageLike
from flipproof.result import DecodeResult

__all__ = ["codec_of", "decode", "encode"]


def encode(image: ImageLike, codec: str | Codec = "tracks", bpp: float | None = None) -> bytes:
    """Encodes a picture.

    Arguments:
        image: Array (H, W, 3) of uint8, Pillow image or path.
        codec: Codec or its spelling, such as ``tracks[bpp=0.1]``.
        bpp: Rate of the whole file in bits per pixel; wins over the spelling.

    Returns:
        The file. Its rate is within 1 % of ``bpp`` where the codec and the picture allow it, else below.

    Raises:
        SpecError: The codec is unknown, or a parameter is unknown or out of range.
        ImageError: The picture cannot be coded.
        RateError: The asked rate is too low for this picture.

    Example:
        >>> import numpy as np
        >>> gray = np.full((64, 64, 3), 128, np.uint8)
        >>> len(encode(gray, codec="jpeg[quality=30]")) < 500
        True
    """
    if isinstance(codec, str):
        return registry.codec(codec, bpp=bpp).encode(image)
    return (codec if bpp is None else codec.with_rate(bpp)).encode(image)


def decode(
    data: bytes | str | os.PathLike[str], codec: str | Codec | None = None, strict: bool = False
) -> DecodeResult:
    """Decodes a file, however damaged.

    Arguments:
        data: The bytes of a file, or its path.
        codec: Who made it; found out from the header of a ``.flip`` file if None.
        strict: Whether any noticed damage is an error.

    Returns:
        The picture, its status and what was damaged.

    Raises:
        DecodeError: The bytes hold no picture.
        DamagedError: ``strict`` and the status is not ``ok``; the error carries the result.
        OSError: The path cannot be read.
    """
    if not isinstance(data, bytes | bytearray | memoryview):
        data = Path(data).read_bytes()
    data = bytes(data)
    if codec is None:
        codec = codec_of(data)
    decoder = registry.codec(codec) if isinstance(codec, str) else codec
    result = decoder.decode(data)
    return result.require_ok() if strict else result


def codec_of(data: bytes) -> str:
    """Returns the name of the codec that made a ``.flip`` file.

    Raises:
        DecodeError: The bytes are no ``.flip`` file, or its header is beyond repair.
    """
    from flipproof.codec.rcc import WIRE_NAMES

    number = BitReader(unpack(data).fields).read("codec", 8)
    if number not in WIRE_NAMES:
        raise DecodeError(f"expected codec 1 to {len(WIRE_NAMES)}, got {number}")
    return WIRE_NAMES[number]
