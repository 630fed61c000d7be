"""The cache folder of fetched weights: safetensors files, each checked against the digest of its tensors."""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors import numpy as safetensors

from flipproof.errors import WeightsError
from flipproof.weights.convert import Tensors

__all__ = ["Stored", "cache_folder", "tensor_digest"]


def cache_folder() -> Path:
    """Returns the folder for everything fetched: ``FLIPPROOF_CACHE``, or else ``~/.cache/flipproof``."""
    return Path(os.environ.get("FLIPPROOF_CACHE") or Path.home() / ".cache" / "flipproof")


def tensor_digest(tensors: Tensors) -> str:
    """Returns the SHA-256 of named tensors: of name, shape and little-endian values, in the order of the names.

    Of the tensors and not of the file, because the layout of a file may change with the library that writes it.

    Example:
        >>> tensor_digest({"a": np.zeros(2, np.float32)})[:8]
        'b68b839f'
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        values = np.ascontiguousarray(tensors[name])
        digest.update(f"{name} {values.dtype.name} {values.shape}\n".encode())
        digest.update(values.astype(values.dtype.newbyteorder("<")).data)
    return digest.hexdigest()


@dataclass(frozen=True)
class Stored:
    """Where named tensors are kept, and what they must be.

    Attributes:
        name: Name of the weights, and of the file.
        digest: What :func:`tensor_digest` must give.
        source: What ``flipproof weights fetch`` calls the archive they come in.
    """

    name: str
    digest: str
    source: str

    @property
    def path(self) -> Path:
        """The file; it need not exist."""
        return cache_folder() / "weights" / f"{self.name}.safetensors"

    @property
    def ready(self) -> bool:
        """Whether the file is there and holds the right tensors."""
        try:
            self.load()
        except WeightsError:
            return False
        return True

    def load(self) -> Tensors:
        """Reads the tensors.

        Raises:
            WeightsError: They were not fetched yet, or are altered or unreadable.
        """
        cure = f"run: flipproof weights fetch {self.source}"
        try:
            tensors = safetensors.load(self.path.read_bytes())
            self.check(tensors)
        except OSError as error:
            raise WeightsError(f"the weights {self.name} are not here (expected {self.path}); {cure}") from error
        except (SafetensorError, KeyError, WeightsError) as error:
            raise WeightsError(f"{self.path} is damaged ({error}); {cure}") from error
        return tensors

    def save(self, tensors: Tensors) -> None:
        """Writes the file in one go: whoever reads meanwhile finds the old one or the new one.

        Raises:
            WeightsError: The tensors are not the right ones; nothing is written.
        """
        self.check(tensors)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.path.parent, prefix=".new-") as folder:
            new = Path(folder) / self.path.name
            new.write_bytes(safetensors.save({name: np.ascontiguousarray(values) for name, values in tensors.items()}))
            new.replace(self.path)

    def check(self, tensors: Tensors) -> None:
        """Raises WeightsError unless these are the right tensors."""
        got = tensor_digest(tensors)
        if got != self.digest:
            raise WeightsError(f"expected tensors of {self.name} with SHA-256 {self.digest}, got {got}")
