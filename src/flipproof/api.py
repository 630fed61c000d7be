"""Encode and decode in one call each."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from flipproof import registry
from flipproof.bits import BitReader
from flipproof.codec.base import Codec
from flipproof.container import unpack
from flipproof.errors import DecodeError, NotFlipError, SpecError
from flipproof.image import ImageLike
from flipproof.result import DecodeResult

if TYPE_CHECKING:
    from flipproof.codec.target import Priority

__all__ = ["codec_of", "decode", "encode"]


def encode(
    image: ImageLike,
    codec: str | Codec = "trellis",
    bpp: float | None = None,
    psnr: float | None = None,
    priority: Priority | None = None,
) -> bytes:
    """Encodes a picture.

    Arguments:
        image: Array (H, W, 3) of uint8, Pillow image or path.
        codec: Codec or its spelling, such as ``trellis[bpp=0.1]``.
        bpp: Rate of the whole file in bits per pixel; wins over the spelling.
        psnr: Instead of a rate: the least PSNR in dB that the decoded picture is to have, see
            :func:`flipproof.rate.encode_at_psnr`.
        priority: How much each pixel matters, an array (H, W) of numbers from 0; costs no bits and is not stored.

    Returns:
        The file. Its rate is within 1 % of ``bpp`` where the codec and the picture allow it, else below.

    Raises:
        SpecError: The codec is unknown, or a parameter is unknown or out of range, or both a rate and a PSNR are given.
        ImageError: The picture cannot be coded, or the priorities do not fit it.
        RateError: The asked rate is too low for this picture, or the asked PSNR is out of reach.

    Example:
        >>> import numpy as np
        >>> gray = np.full((64, 64, 3), 128, np.uint8)
        >>> len(encode(gray, codec="jpeg[quality=30]")) < 500
        True
    """
    if psnr is not None and bpp is not None:
        raise SpecError(f"expected bpp or psnr, got both: {bpp} and {psnr}")
    encoder = (
        registry.codec(codec, bpp=bpp) if isinstance(codec, str) else codec if bpp is None else codec.with_rate(bpp)
    )
    if psnr is None:
        return encoder.encode(image, priority)
    from flipproof.rate import encode_at_psnr

    return encode_at_psnr(encoder, image, psnr, priority).data


def decode(
    data: bytes | str | os.PathLike[str],
    codec: str | Codec | None = None,
    strict: bool = False,
    upto: float = 1.0,
    **parameters: object,
) -> DecodeResult:
    """Decodes a file, however damaged.

    Arguments:
        data: The bytes of a file, or its path.
        codec: Who made it; found out from the file if None.
        strict: Whether any noticed damage is an error.
        upto: Leading share of the file to use, from 0 to 1, for a picture from a prefix.
        parameters: Parameters of the decoder, such as ``prior``, ``reconstruction``, ``precision`` and ``device``.

    Returns:
        The picture, its status and what was damaged.

    Raises:
        DecodeError: The bytes hold no picture.
        WeightsError: The file was made with another prior, or the weights of this one are missing.
        MissingExtraError: The prior needs an optional dependency that is not installed.
        DamagedError: ``strict`` and the status is not ``ok``; the error carries the result.
        SpecError: The codec has no such parameter, or cannot show a part of a file.
        OSError: The path cannot be read.
    """
    if not isinstance(data, bytes | bytearray | memoryview):
        data = Path(data).read_bytes()
    data = bytes(data)
    if codec is None:
        codec = codec_of(data)
    decoder = registry.codec(codec, **parameters) if isinstance(codec, str) else codec.with_parameters(**parameters)
    result = decoder.decode(data, upto)
    return result.require_ok() if strict else result


def codec_of(data: bytes) -> str:
    r"""Returns the name of the codec that made a file, from the header of a ``.flip`` file or how others begin.

    Raises:
        DecodeError: The file is of no known kind, or its header is beyond repair.

    Example:
        >>> codec_of(b"\xff\xd8\xff and so on")
        'jpeg'
    """
    from flipproof.codec.script import WIRE_NAMES

    try:
        number = BitReader(unpack(data).fields).read("codec", 8)
    except NotFlipError:
        for name, made in registry.made("codecs"):
            if made.signature and made.signature.match(data):
                return name
        raise
    if number not in WIRE_NAMES:
        raise DecodeError(f"expected codec 1 to {len(WIRE_NAMES)}, got {number}")
    return WIRE_NAMES[number]
