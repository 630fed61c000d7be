"""Files that Pillow writes and reads: strictly, or as far as they go."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType

import numpy as np
from PIL import AvifImagePlugin, Image, ImageFile, UnidentifiedImageError

from flipproof.codec.salvage import SALVAGE
from flipproof.errors import DecodeError, ImageError
from flipproof.image import PILLOW_ERRORS, RgbImage, check_size

__all__ = ["conceal_picture", "load_picture", "read_picture", "setting", "write_picture"]

GRAY = 128


def write_picture(rgb: RgbImage, form: str, **options: object) -> bytes:
    """Writes a file.

    Arguments:
        rgb: The picture.
        form: Pillow's name of the format.
        options: Pillow's options of that format.

    Raises:
        ImageError: Pillow cannot, or was built without the format.
    """
    buffer = io.BytesIO()
    try:
        Image.fromarray(rgb).save(buffer, form, **options)
    except (KeyError, ValueError, OSError) as error:
        raise ImageError(f"Pillow cannot write this picture as {form}: {error}") from error
    return buffer.getvalue()


def read_picture(data: bytes, form: str) -> RgbImage:
    """Reads a whole file in this process.

    Raises:
        DecodeError: Pillow reports an error, the data end early, or the picture is too large.
    """
    return load_picture(lambda: Image.open(io.BytesIO(data), formats=[form]), form)


def conceal_picture(data: bytes, form: str) -> RgbImage:
    """Reads what there is of a file, in this process.

    What is cut off is read as zeros. Where that is no picture, leading parts are tried: scans of JPEG, packets of JPEG
    2000. What Pillow leaves open is mid-gray.

    Raises:
        DecodeError: Pillow finds no picture at all, or one that is too large.
    """
    reasons = []
    for part in SALVAGE[form](data):
        try:
            return _conceal(part, form)
        except DecodeError as error:
            reasons.append(error)
    raise reasons[0]


def _conceal(data: bytes, form: str) -> RgbImage:
    def opened() -> Image.Image:
        image = Image.open(io.BytesIO(data), formats=[form])
        check_size(image.height, image.width)
        if form in ("JPEG", "JPEG2000") and image.mode == "RGB":
            image.im = Image.new(image.mode, image.size, (GRAY, GRAY, GRAY)).im
        return image

    with setting(ImageFile, "LOAD_TRUNCATED_IMAGES", True):
        pixels = load_picture(opened, form)
    if (pixels == GRAY).all():
        raise DecodeError("nothing of the picture could be read")
    return pixels


def load_picture(opened: Callable[[], Image.Image], form: str) -> RgbImage:
    """Returns the pixels of a file that a function opens.

    Raises:
        DecodeError: Opening or reading fails, or the picture is too large.
    """
    try:
        with warnings.catch_warnings(), setting(AvifImagePlugin, "DEFAULT_MAX_THREADS", 1):
            warnings.simplefilter("ignore")
            image = opened()
            check_size(image.height, image.width)
            return np.asarray(image.convert("RGB"))
    except UnidentifiedImageError:
        raise DecodeError(f"no {form} header found") from None
    except (ImageError, RuntimeError, *PILLOW_ERRORS) as error:
        raise DecodeError(str(error).partition("\n")[0] or type(error).__name__) from error


@contextmanager
def setting(module: ModuleType, name: str, value: object) -> Iterator[None]:
    """Gives a setting that a library has for the whole process another value for a while."""
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)
