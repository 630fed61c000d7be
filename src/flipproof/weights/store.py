"""The cache folder of fetched weights: safetensors files, each checked against the digest of its tensors."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors import numpy as safetensors

from flipproof.errors import WeightsError
from flipproof.weights.convert import Tensors

__all__ = ["Derived", "Stored", "cache_folder", "tensor_digest"]


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
            tensors = self.verify(self.path.read_bytes())
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
        self.write(tensors)

    def write(self, tensors: Tensors, metadata: dict[str, str] | None = None) -> None:
        """Writes the file in one go, without a check."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        rows = {name: np.ascontiguousarray(values) for name, values in tensors.items()}
        with tempfile.TemporaryDirectory(dir=self.path.parent, prefix=".new-") as folder:
            new = Path(folder) / self.path.name
            new.write_bytes(safetensors.save(rows, metadata))
            new.replace(self.path)

    def verify(self, data: bytes) -> Tensors:
        """Returns the tensors of a file, or raises what :meth:`load` reports as damage."""
        tensors = safetensors.load(data)
        self.check(tensors)
        return tensors

    def check(self, tensors: Tensors) -> None:
        """Raises WeightsError unless these are the right tensors."""
        got = tensor_digest(tensors)
        if got != self.digest:
            raise WeightsError(f"expected tensors of {self.name} with SHA-256 {self.digest}, got {got}")


@dataclass(frozen=True)
class Derived(Stored):
    """Tensors made of a file whose own SHA-256 is what is known beforehand: ``digest``.

    The file in the cache says, in its metadata, what it was made of and what :func:`tensor_digest` its tensors had; it
    is checked against both.
    """

    def save(self, tensors: Tensors) -> None:
        """Writes the file in one go; whoever calls has checked what the tensors were made of."""
        self.write(tensors, {"origin": self.digest, "tensors": tensor_digest(tensors)})

    def verify(self, data: bytes) -> Tensors:  # noqa: D102 (inherited)
        tensors = safetensors.load(data)
        stated = _metadata(data)
        if stated != {"origin": self.digest, "tensors": tensor_digest(tensors)}:
            raise WeightsError(f"expected tensors of {self.name} made of a file with SHA-256 {self.digest}, got others")
        return tensors


def _metadata(data: bytes) -> dict[str, str]:
    """Reads what a well-formed safetensors file says about itself: JSON after eight bytes with its length."""
    size = int.from_bytes(data[:8], "little")
    stated: dict[str, str] = json.loads(data[8 : 8 + size]).get("__metadata__", {})
    return stated
