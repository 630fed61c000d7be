"""Training photographs: pictures in tar files, grouped by what they show."""

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
