"""The published weights of StableCodec: where they lie, and their tensors, read without unpickling.

The authors publish a file per rate, ``stablecodec_ftN.pkl``, with three dictionaries of tensors (``state_dict_vae``,
``state_dict_unet``, ``state_dict_codec``), and ``elic_official.pth`` for the auxiliary encoder. Both kinds are zip
archives as PyTorch writes them since version 1.6. Next to each, a ``.safetensors`` of the same name is taken instead
(:func:`convert` makes one); there the name of a tensor starts with its dictionary's, as in
``state_dict_codec/h_s.increase.0.bias``.
"""

from __future__ import annotations

import io
import math
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors import numpy as safetensors

from flipproof.errors import WeightsError
from flipproof.weights.inert import Call, Name, Persistent, read_pickle
from flipproof.weights.store import cache_folder

__all__ = ["RATE_WEIGHTS", "Tensors", "auxiliary_file", "available", "checkpoint_file", "convert", "read_tensors"]

RATE_WEIGHTS = (2, 3, 4, 6, 8, 12, 16, 24, 32)
"""What the rate weighed in the training of each published file, from the largest pictures' files to the smallest."""

SOURCE = "https://drive.google.com/drive/folders/1itiVVAPSTATGPcHLp_bLI9r9Qi3YcM12"
"""Where the authors publish the weights, as their repository LuizScarlet/StableCodec says."""

Array: TypeAlias = NDArray[Any]
Tensors: TypeAlias = dict[str, Array]

_AUXILIARY = ("elic_official", "elic")
_REBUILD = (Name("torch._utils _rebuild_tensor_v2"), Name("torch._utils _rebuild_parameter"))
_TYPES = {
    Name(f"torch {name}Storage"): np.dtype(kind)
    for name, kind in {"Double": "<f8", "Float": "<f4", "Half": "<f2", "Long": "<i8", "Int": "<i4"}.items()
}
_MOST_BYTES = 2**32
_RATE = re.compile(r"_ft(\d+)$")

_UNREADABLE = (
    EOFError,
    OSError,
    ValueError,
    KeyError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
    SafetensorError,
)


def checkpoint_file(weights: str | None, rate_weight: int) -> Path:
    """Returns the file of a rate.

    Arguments:
        weights: A directory, the file itself, or empty: the directory ``weights/stablecodec`` of the cache.
        rate_weight: One of :data:`RATE_WEIGHTS`.

    Raises:
        WeightsError: It is not there, or the file is that of another rate, going by its name.
    """
    place = _place(weights)
    if place.is_file():
        named = _RATE.search(place.stem)
        if named and int(named[1]) != rate_weight:
            raise WeightsError(f"StableCodec: expected the weights of rate_weight {rate_weight}, got {place}")
        return place
    return _one_of(place, [f"stablecodec_ft{rate_weight}"], ".pkl")


def available(weights: str | None) -> list[int]:
    """Returns which of :data:`RATE_WEIGHTS` have a file here, ascending."""
    found = []
    for rate_weight in RATE_WEIGHTS:
        with suppress(WeightsError):
            checkpoint_file(weights, rate_weight)
            found.append(rate_weight)
    return found


def auxiliary_file(weights: str | None) -> Path:
    """Returns the file of the auxiliary encoder, which lies beside the others.

    Raises:
        WeightsError: It is not there.
    """
    place = _place(weights)
    return _one_of(place.parent if place.is_file() else place, list(_AUXILIARY), ".pth")


def read_tensors(file: Path, part: str) -> Tensors:
    """Returns tensors of a file by name.

    Arguments:
        file: A file of PyTorch, or ``.safetensors``.
        part: How the names start that are wanted, such as ``state_dict_vae/``; it is taken off.

    Raises:
        WeightsError: The file is unreadable, or has no such tensors.
    """
    try:
        read = _read_safetensors if file.suffix == ".safetensors" else _read_pickled
        tensors = dict(read(file, part))
    except _UNREADABLE as error:
        raise WeightsError(f"{file}: unreadable ({error})") from error
    if not tensors:
        raise WeightsError(f"{file}: expected tensors {part}..., found none")
    return tensors


def convert(source: Path, target: Path) -> None:
    """Makes a ``.safetensors`` of a file of PyTorch; empty tensors are left out.

    Raises:
        WeightsError: The source is unreadable.
    """
    tensors = {name: np.ascontiguousarray(values) for name, values in read_tensors(source, "").items()}
    target.write_bytes(safetensors.save(tensors))


def _place(weights: str | None) -> Path:
    return Path(weights).expanduser() if weights else cache_folder() / "weights" / "stablecodec"


def _one_of(folder: Path, stems: list[str], suffix: str) -> Path:
    for stem in stems:
        for name in (f"{stem}.safetensors", f"{stem}{suffix}"):
            if (folder / name).is_file():
                return folder / name
    raise WeightsError(
        f"StableCodec: expected {folder / (stems[0] + suffix)}, found no such file; download it from {SOURCE} and give "
        "the directory as the parameter weights"
    )


def _read_safetensors(file: Path, part: str) -> Iterator[tuple[str, Array]]:
    with safe_open(file, framework="np") as opened:
        for name in opened.keys():  # noqa: SIM118 (not a dictionary)
            if name.startswith(part):
                yield name.removeprefix(part), opened.get_tensor(name)


def _read_pickled(file: Path, part: str) -> Iterator[tuple[str, Array]]:
    with zipfile.ZipFile(file) as archive:
        index = next((name for name in archive.namelist() if name.endswith("/data.pkl")), "")
        for name, call in _flat("", read_pickle(io.BytesIO(_member(archive, index)))):
            if name.startswith(part) and (tensor := _tensor(archive, index.removesuffix(".pkl"), name, call)).size:
                yield name.removeprefix(part), tensor


def _flat(prefix: str, tree: object) -> Iterator[tuple[str, object]]:
    """Yields what a tree of dictionaries holds; the names of a path are joined by slashes."""
    if not isinstance(tree, dict):
        raise WeightsError(f"expected dictionaries of tensors, got a {type(tree).__name__}")
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(f"{prefix}{name}/", value)
        else:
            yield prefix + name, value


def _tensor(archive: zipfile.ZipFile, root: str, name: str, call: object) -> Array:
    match call:
        case Call(function, (Call() as inner, *_)) if function in _REBUILD:
            return _tensor(archive, root, name, inner)
        case Call(
            function,
            (Persistent(("storage", Name() as kind, str(key), *_)), int(start), tuple(shape), tuple(strides), *_),
        ) if function in _REBUILD and kind in _TYPES and start >= 0 and _is_plain(shape, strides):
            values = np.frombuffer(_member(archive, f"{root}/{key}"), _TYPES[kind])[start : start + math.prod(shape)]
            if values.size == math.prod(shape):
                return values.reshape(shape)
    raise WeightsError(f"expected a tensor {name} of plain values in C order, got something else")


def _is_plain(shape: tuple[Any, ...], strides: tuple[Any, ...]) -> bool:
    """Whether sides are ones an array can have, and strides those of C order."""
    if len(strides) != len(shape) or not all(type(side) is int and 0 <= side <= _MOST_BYTES for side in shape):
        return False
    expected = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    pairs = zip(shape, strides, expected, strict=True)
    return 0 in shape or all(side == 1 or stride == wanted for side, stride, wanted in pairs)


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    size = archive.getinfo(name).file_size
    if size > _MOST_BYTES:
        raise WeightsError(f"expected {name} of at most {_MOST_BYTES} bytes, got {size}")
    return archive.read(name)
