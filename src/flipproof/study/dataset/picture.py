"""One picture of a study: where it is, and the digest of what is coded of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from flipproof.errors import DatasetError, ImageError
from flipproof.image import RgbImage, to_rgb
from flipproof.study.dataset.frame import Frame, Full

if TYPE_CHECKING:
    from flipproof.study.record import PictureEntry

__all__ = ["MOST_BYTES", "Picture", "digest", "read"]

MOST_BYTES = 2**28
"""Largest file that is read; no picture within the limits of :mod:`flipproof.image` needs more."""


def digest(image: RgbImage) -> str:
    """Returns the SHA-256 of the shape and the samples of a picture.

    Example:
        >>> digest(np.zeros((1, 2, 3), np.uint8))[:8]
        '4b2f0376'
    """
    return hashlib.sha256(repr(image.shape).encode() + np.ascontiguousarray(image).tobytes()).hexdigest()


def read(path: Path) -> RgbImage:
    """Reads a picture file, whatever is in it.

    Returns:
        Array with shape (H, W, 3), uint8.

    Raises:
        ImageError: Not a plain file, too large, or no picture; see :func:`flipproof.image.to_rgb`.
    """
    try:
        size = path.stat().st_size if path.is_file() else None
    except OSError as error:
        raise ImageError(f"cannot read {path}: {error.strerror or error}") from error
    if size is None:
        raise ImageError(f"cannot read {path}: {'not a plain file' if path.exists() else 'no such file'}")
    if size > MOST_BYTES:
        raise ImageError(f"expected a file of at most {MOST_BYTES} bytes, got {size} in {path}")
    return to_rgb(path)


@dataclass(frozen=True)
class Picture:
    """A picture of a study, without its samples unless it exists in memory only.

    Attributes:
        dataset: Where it comes from.
        name: Unique in the study.
        path: Its file; None for a picture in memory.
        frame: What part of it is coded.
        sha256: :func:`digest` of that part.
        height: Of that part, in pixels.
        width: The same.
        samples: Of a picture in memory, in the order of the array; else empty.
    """

    dataset: str
    name: str
    path: Path | None
    frame: Frame
    sha256: str
    height: int
    width: int
    samples: bytes = field(default=b"", repr=False)

    @classmethod
    def of(cls, name: str, image: RgbImage, dataset: str = "memory") -> Picture:
        """Makes a picture of an array (H, W, 3) of uint8, which is coded whole.

        Raises:
            ImageError: The array is none of a picture.
        """
        rgb = to_rgb(image)
        height, width, _ = rgb.shape
        return cls(dataset, name, None, Full(), digest(rgb), height, width, rgb.tobytes())

    @classmethod
    def framed(cls, dataset: str, name: str, path: Path, frame: Frame, image: RgbImage) -> Picture:
        """Makes a picture of a file whose samples (H, W, 3) were read already."""
        part = frame.apply(image)
        return cls(dataset, name, path, frame, digest(part), *part.shape[:2])

    @property
    def entry(self) -> PictureEntry:
        """What the record of a study keeps of it."""
        from flipproof.study.record import PictureEntry

        return PictureEntry(
            dataset=self.dataset, name=self.name, sha256=self.sha256, height=self.height, width=self.width
        )

    def load(self) -> RgbImage:
        """Returns the part that is coded.

        Returns:
            Array with shape (height, width, 3), uint8.

        Raises:
            DatasetError: The file cannot be read any more, or has other samples than when the study began.
        """
        if self.path is None:
            return np.frombuffer(self.samples, np.uint8).reshape(self.height, self.width, 3).copy()
        try:
            part = self.frame.apply(read(self.path))
        except ImageError as error:
            raise DatasetError(f"picture {self.name}: {error}") from error
        got = digest(part)
        if got != self.sha256:
            wanted = f"expected samples with SHA-256 {self.sha256}, got {got}"
            raise DatasetError(f"picture {self.name} has changed since the study began: {wanted} in {self.path}")
        return part
