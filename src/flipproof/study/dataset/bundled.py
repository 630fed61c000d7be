"""Four photographs that come with scikit-image, and the pictures of a folder, as arrays."""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path

from flipproof.errors import DatasetError, ImageError, MissingExtraError, UnknownNameError
from flipproof.image import RgbImage, to_rgb
from flipproof.study.dataset.folder import names_of, picture_files
from flipproof.study.dataset.frame import Centre

__all__ = ["centre_crop", "load", "load_folder", "names", "path_of"]

_SHA256 = {
    "astronaut.png": "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
    "chelsea.png": "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
    "coffee.png": "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
    "rocket.jpg": "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c",
}
_FILES = {Path(file).stem: file for file in _SHA256}


def names() -> list[str]:
    """Returns the names of the bundled photographs, sorted."""
    return sorted(_FILES)


def path_of(name: str) -> Path:
    """Returns the file of a bundled photograph, whose SHA-256 was checked; nothing is downloaded.

    Raises:
        UnknownNameError: There is no such photograph.
        MissingExtraError: scikit-image is not installed.
        ImageError: The file is missing, or is not the one this study is defined on.
    """
    if name not in _FILES:
        raise UnknownNameError("photograph", name, names())
    path = _folder() / _FILES[name]
    if not path.is_file():
        raise ImageError(f"photograph {name}: expected {path}, which this scikit-image does not have")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != _SHA256[path.name]:
        raise ImageError(f"photograph {name}: expected SHA-256 {_SHA256[path.name]}, got {digest} in {path}")
    return path


def load(name: str) -> RgbImage:
    """Reads a bundled photograph.

    Arguments:
        name: One of :func:`names`.

    Returns:
        Array with shape (H, W, 3), uint8.

    Raises:
        UnknownNameError: There is no such photograph.
        MissingExtraError: scikit-image is not installed.
        ImageError: The file is missing, or is not the one this study is defined on.
    """
    return to_rgb(path_of(name))


def load_folder(folder: Path) -> dict[str, RgbImage]:
    """Reads every picture directly inside a folder, sorted by file name.

    Returns:
        Pictures (H, W, 3), uint8, by file name, without its suffix where that is unique.

    Raises:
        ImageError: Not a folder, no picture in it, or one that cannot be read.
    """
    try:
        paths = picture_files(folder)
    except DatasetError as error:
        raise ImageError(str(error)) from error
    return dict(zip(names_of(paths), map(to_rgb, paths), strict=True))


def centre_crop(image: RgbImage, side: int) -> RgbImage:
    """Cuts the central square out of a picture; a picture smaller than it along an axis stays whole along it.

    Arguments:
        image: Array with shape (H, W, 3).
        side: Side of the square, in pixels.

    Returns:
        Array with shape (min(H, side), min(W, side), 3).
    """
    return Centre(side, side).apply(image)


def _folder() -> Path:
    spec = find_spec("skimage")
    if spec is None or spec.origin is None:
        raise MissingExtraError("scikit-image", "study")
    return Path(spec.origin).parent / "data"
