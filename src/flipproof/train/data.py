"""Training patches: photographs in tar files, cropped, halved and turned by a seeded generator."""

from __future__ import annotations

import csv
import io
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from flipproof.errors import ImageError

__all__ = ["PhotoSet"]

SCALES = (1, 2, 4)


@dataclass(frozen=True)
class PhotoSet:
    """Photographs held in memory, grouped by the picture they come from.

    Attributes:
        groups: For each photograph, its files (whole, or crops at several scales) as arrays (H, W, 3) of uint8.
    """

    groups: tuple[tuple[NDArray[np.uint8], ...], ...]

    @classmethod
    def load(cls, folder: Path) -> PhotoSet:
        """Reads every ``*.tar`` of a folder that has an ``index.tsv`` (columns ``file`` and ``origin``).

        Raises:
            ImageError: The folder has no index or no photographs.
        """
        try:
            with (folder / "index.tsv").open(newline="") as file:
                origin = {row["file"]: row["origin"] for row in csv.DictReader(file, delimiter="\t")}
        except OSError as error:
            raise ImageError(f"expected index.tsv in {folder}: {error.strerror}") from error
        groups: dict[str, list[NDArray[np.uint8]]] = {}
        for path in sorted(folder.glob("*.tar")):
            with tarfile.open(path) as tar:
                for member in tar:
                    data = tar.extractfile(member)
                    if data is not None and member.name in origin:
                        photo = np.asarray(Image.open(io.BytesIO(data.read())).convert("RGB"))
                        groups.setdefault(origin[member.name], []).append(photo)
        if not groups:
            raise ImageError(f"expected photographs in the tar files of {folder}, got none")
        return cls(tuple(tuple(group) for group in groups.values()))

    def patches(self, count: int, size: int, rng: np.random.Generator) -> NDArray[np.float32]:
        """Draws patches: a photograph, one of its files, a scale, a place, a flip and a turn, all uniform.

        Arguments:
            count: How many.
            size: Side in pixels; photographs too small for a scale are taken at a finer one.
            rng: Source of every choice.

        Returns:
            Patches with shape (count, 3, size, size) in [-1, 1].

        Raises:
            ImageError: No photograph is large enough.
        """
        groups = [[photo for photo in group if min(photo.shape[:2]) >= size] for group in self.groups]
        fitting = [group for group in groups if group]
        if not fitting:
            raise ImageError(f"expected photographs of at least {size} pixels a side, got smaller ones only")
        return np.stack([_patch(fitting, size, rng) for _ in range(count)])


def _patch(groups: list[list[NDArray[np.uint8]]], size: int, rng: np.random.Generator) -> NDArray[np.float32]:
    group = groups[rng.integers(len(groups))]
    photo = group[rng.integers(len(group))]
    k = int(rng.choice([k for k in SCALES if min(photo.shape[:2]) >= k * size]))
    top, left = (rng.integers(side - k * size + 1) for side in photo.shape[:2])
    crop = photo[top : top + k * size, left : left + k * size].astype(np.float32)
    crop = crop.reshape(size, k, size, k, 3).mean(axis=(1, 3)) / 127.5 - 1
    flipped: NDArray[np.float32] = crop[:, :: int(rng.choice((-1, 1)))]
    turned = np.rot90(flipped, int(rng.integers(4)))
    return np.ascontiguousarray(turned.transpose(2, 0, 1))
