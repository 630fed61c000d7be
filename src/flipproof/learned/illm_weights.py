"""Checkpoints of MS-ILLM: which there are, where they lie, and reading them without running anything in them.

The authors publish one checkpoint for each rate, 726 MB each, under CC BY-NC 4.0, at addresses without a digest. Their
files are PyTorch's, which only say what they hold when they are unpickled; here they are read inertly (see
:mod:`flipproof.weights.state_dict`) and every name and shape is compared with what the network has. What was fetched is
kept as safetensors, with the SHA-256 of the published file in its metadata.
"""

from __future__ import annotations

import hashlib
import tempfile
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors import torch as safetensors
from torch import Tensor

from flipproof.errors import UnknownNameError, WeightsError
from flipproof.learned.illm import Illm, Widths
from flipproof.weights.state_dict import read_state_dict
from flipproof.weights.store import cache_folder

__all__ = ["QUALITIES", "Quality", "check_tensors", "fetch", "find", "here", "locate", "read_tensors"]

_ADDRESS = "https://dl.fbaipublicfiles.com/NeuralCompression/2023-muckley-msillm/"
_SECONDS = 30
_MOST_BYTES = 2**30

TABLES = tuple(
    f"{part}_bottleneck.{name}" for part in ("hyper", "latent") for name in ("_offset", "_quantized_cdf", "_cdf_length")
)
"""Tables of probabilities; a checkpoint may hold them or not."""
SCALE_TABLE = "latent_bottleneck.scale_table"

CONSTANTS = frozenset(
    (
        "hyper_bottleneck.target",
        "hyper_bottleneck.likelihood_lower_bound.bound",
        "latent_bottleneck.scale_bound",
        "latent_bottleneck.likelihood_lower_bound.bound",
        "latent_bottleneck.lower_bound_scale.bound",
    )
)
"""Constants of training that checkpoints carry along."""
_RENAMED = {"matrices": "_matrix", "biases": "_bias", "factors": "_factor"}
"""Names that newer versions of CompressAI give the parameters of densities."""


@dataclass(frozen=True)
class Quality:
    """One of the published models.

    Attributes:
        name: As in the authors' ``msillm_quality_NAME``.
        rate: The rate in bits per pixel that it was trained for.
    """

    name: str
    rate: float

    @property
    def stem(self) -> str:
        """Name of the published file without its ending."""
        return f"msillm_target_{self.rate:g}bpp"

    @property
    def address(self) -> str:
        """Where the authors publish it."""
        return f"{_ADDRESS}{self.stem}.ckpt"


QUALITIES = (
    Quality("vlo1", 0.00218),
    Quality("vlo2", 0.00438),
    Quality("1", 0.035),
    Quality("2", 0.07),
    Quality("3", 0.14),
    Quality("4", 0.3),
    Quality("5", 0.45),
    Quality("6", 0.9),
)
"""All published models, in the order of their rates."""


def find(name: str) -> Quality:
    """Returns the quality with a name.

    Raises:
        UnknownNameError: There is none.
    """
    for quality in QUALITIES:
        if quality.name == name:
            return quality
    raise UnknownNameError("MS-ILLM quality", name, [quality.name for quality in QUALITIES])


def folder() -> Path:
    """Returns the part of the cache folder that holds the checkpoints."""
    return cache_folder() / "weights" / "ms-illm"


def locate(quality: Quality, weights: str | None) -> Path:
    """Returns the file with the weights of a quality.

    Arguments:
        quality: Which.
        weights: A file (it is taken for that quality); a folder of files with the authors' names, ending in
            .safetensors or .ckpt; None for the cache folder.

    Raises:
        WeightsError: There is no such file.
    """
    place = folder() if weights is None else Path(weights).expanduser()
    if place.is_file():
        return place
    for ending in (".safetensors", ".ckpt"):
        if (place / f"{quality.stem}{ending}").is_file():
            return place / f"{quality.stem}{ending}"
    raise WeightsError(
        f"the weights of ms-illm, quality {quality.name}, are not here (expected {place / quality.stem}.ckpt); "
        f"run: flipproof weights fetch ms-illm-{quality.name} (726 MB, CC BY-NC 4.0), or download {quality.address} to "
        "that place, or give the file as weights=FILE"
    )


def here(quality: Quality, weights: str | None) -> list[Quality]:
    """Returns the qualities whose weights are there, in the order of their rates.

    Arguments:
        quality: What a single file is taken for.
        weights: As for :func:`locate`.

    Raises:
        WeightsError: There are none.
    """
    if weights is not None and Path(weights).expanduser().is_file():
        return [quality]
    found = [known for known in QUALITIES if _is_here(known, weights)]
    if not found:
        locate(quality, weights)
    return found


def _is_here(quality: Quality, weights: str | None) -> bool:
    try:
        locate(quality, weights)
    except WeightsError:
        return False
    return True


def fetch(quality: Quality, source: Path | None = None) -> str:
    """Puts the weights of a quality into the cache folder, as safetensors.

    Arguments:
        quality: Which.
        source: The published file, where it was downloaded already.

    Returns:
        The SHA-256 of the published file. The authors state none to compare it with.

    Raises:
        WeightsError: It cannot be downloaded or read, or it is no such checkpoint.
    """
    data = _download(quality.address) if source is None else _bytes_of(source)
    digest = hashlib.sha256(data).hexdigest()
    tensors = _from_checkpoint(data)
    check_tensors(tensors)
    folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder(), prefix=".new-") as scratch:
        new = Path(scratch) / "weights"
        safetensors.save_file(tensors, new, {"origin": digest, "address": quality.address})
        new.replace(folder() / f"{quality.stem}.safetensors")
    return digest


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Reads a checkpoint: safetensors, or a file of PyTorch's.

    Returns:
        The tensors under the names of the published checkpoints.

    Raises:
        WeightsError: It is neither.
    """
    if path.suffix != ".safetensors":
        return _from_checkpoint(_bytes_of(path))
    try:
        return _renamed(safetensors.load_file(path))
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path} is no safetensors file: {str(error).partition(chr(10))[0]}") from error


def check_tensors(tensors: Mapping[str, Tensor]) -> Widths:
    """Compares names and shapes with those of the network.

    Returns:
        How wide its layers are.

    Raises:
        WeightsError: A tensor is missing, of another shape, or unknown; names the first.
    """
    widths = Widths.of(tensors)
    with torch.device("meta"):
        expected = Illm(widths).state_dict()
    for name, wanted in expected.items():
        got = tensors[name].shape if name in tensors else None
        if got != wanted.shape:
            found = "none" if got is None else f"{tuple(got)}"
            raise WeightsError(f"expected a tensor {name} of shape {tuple(wanted.shape)}, got {found}")
        if tensors[name].dtype != torch.float32:
            raise WeightsError(f"expected {name} in float32, got {tensors[name].dtype}")
    unknown = sorted(tensors.keys() - expected.keys() - CONSTANTS - {*TABLES, SCALE_TABLE})
    if unknown:
        raise WeightsError(f"expected the tensors of MS-ILLM only, got {unknown[0]}")
    return widths


def arrays_of(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, NDArray[Any]]:
    """Returns the tensors below a name as arrays."""
    return {name.removeprefix(prefix): tensors[name].numpy() for name in tensors if name.startswith(prefix)}


def _from_checkpoint(data: bytes) -> dict[str, Tensor]:
    arrays = read_state_dict(data)
    return _renamed({name: torch.from_numpy(np.array(values)) for name, values in arrays.items()})


def _renamed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {_old_name(name): tensor for name, tensor in tensors.items()}


def _old_name(name: str) -> str:
    head, _, index = name.rpartition(".")
    part, _, kind = head.rpartition(".")
    return f"{part}.{_RENAMED[kind]}{index}" if part == "hyper_bottleneck" and kind in _RENAMED else name


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror or error}") from error


def _download(address: str) -> bytes:
    try:
        with urllib.request.urlopen(address, timeout=_SECONDS) as answer:
            return bytes(answer.read(_MOST_BYTES))
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise WeightsError(f"could not download {address} ({reason})") from error
