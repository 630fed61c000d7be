"""Pictures in: anything Pillow reads, arrays, paths; one form inside: 8-bit RGB arrays (H, W, 3)."""

from __future__ import annotations

import io
import os
import struct
import warnings
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from flipproof.errors import ImageError

__all__ = ["MAX_PIXELS", "MAX_SIDE", "PILLOW_ERRORS", "ImageLike", "RgbImage", "check_size", "to_png", "to_rgb"]

RgbImage: TypeAlias = NDArray[np.uint8]
ImageLike: TypeAlias = "RgbImage | Image.Image | str | os.PathLike[str]"

MAX_SIDE = 2**14 - 1
MAX_PIXELS = 2**24

PILLOW_ERRORS = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    TypeError,
    LookupError,
    OverflowError,
    struct.error,
    Image.DecompressionBombError,
)
"""What Pillow's decoders are known to raise for damaged files."""


def to_rgb(image: ImageLike) -> RgbImage:
    """Converts a picture to 8-bit RGB.

    Arrays must be (H, W, 3) of uint8 already. Files and Pillow images are turned upright by their EXIF orientation
    and converted: gray and palette pictures to RGB, 16-bit gray to its high byte, CMYK by Pillow's plain formula,
    transparency laid over white, animations reduced to their first frame.

    Arguments:
        image: Array, Pillow image or path.

    Returns:
        Array with shape (H, W, 3), uint8.

    Raises:
        ImageError: Unreadable, empty, of another shape or type, or larger than 2^14 - 1 a side or 2^24 pixels.
    """
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ImageError(f"expected a uint8 array (H, W, 3), got {image.dtype} {image.shape}")
        array = image
    elif isinstance(image, Image.Image):
        try:
            array = _from_pillow(image)
        except PILLOW_ERRORS as error:
            raise ImageError(f"cannot read the picture: {error}") from error
    elif isinstance(image, str | os.PathLike):
        array = _from_path(image)
    else:
        raise ImageError(f"expected an array, a Pillow image or a path, got {type(image).__name__}")
    check_size(*array.shape[:2])
    return np.ascontiguousarray(array)


def check_size(height: int, width: int) -> None:
    """Raises ImageError unless the size is between 1x1 and the limits."""
    if not (1 <= height <= MAX_SIDE and 1 <= width <= MAX_SIDE and height * width <= MAX_PIXELS):
        limits = f"sides from 1 to {MAX_SIDE} and at most {MAX_PIXELS} pixels"
        raise ImageError(f"expected {limits}, got {width}x{height}")


def _from_path(path: str | os.PathLike[str]) -> RgbImage:
    try:
        with open(path, "rb") as file:  # noqa: PTH123 (os.PathLike has no open)
            data = file.read()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data))
            check_size(image.height, image.width)
            return _from_pillow(image)
    except UnidentifiedImageError as error:
        raise ImageError(f"{os.fspath(path)} is no picture that Pillow can read") from error
    except PILLOW_ERRORS as error:
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"cannot read {os.fspath(path)}: {reason}") from error


def _from_pillow(image: Image.Image) -> RgbImage:
    check_size(image.height, image.width)
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":
        return _from_high_depth(np.asarray(image))
    if "A" in image.getbands() or "transparency" in image.info:
        overlay = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), overlay)
    return np.asarray(image.convert("RGB"))


def _from_high_depth(gray: NDArray[np.generic]) -> RgbImage:
    """Scales 16-bit gray (the depth of Pillow's ``I`` modes) to 8 bits; ``F`` pictures count as 0 to 255."""
    scale = 1.0 if gray.dtype.kind == "f" else 1 / 256
    levels = np.clip(np.floor(gray.astype(np.float64) * scale), 0, 255).astype(np.uint8)
    return np.repeat(levels[:, :, None], 3, axis=2)


def to_png(image: RgbImage) -> bytes:
    """Writes a picture (H, W, 3) of uint8 as the bytes of a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()
