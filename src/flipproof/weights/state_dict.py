"""PyTorch's files of named tensors, read without unpickling: nothing in the bytes is imported or called.

Since version 1.6 such a file is a zip archive: ``ROOT/data.pkl`` names the tensors and ``ROOT/data/KEY`` holds the
values of storage KEY. Before, it was five pickles (magic number, version, machine, tensors, keys of the storages) and
then, for each key in that order, a count (64 bits, little-endian) and so many values.
"""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from flipproof.errors import WeightsError
from flipproof.weights.inert import Call, Name, Persistent, read_pickle

__all__ = ["read_state_dict"]

Array: TypeAlias = NDArray[Any]

MAX_VALUES = 2**30
"""No storage is larger; bounds the memory that hostile bytes can ask for."""

_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_REBUILD = Name("torch._utils _rebuild_tensor_v2")
_TYPES = {
    Name(f"torch {name}Storage"): np.dtype(kind)
    for name, kind in {"Double": "<f8", "Float": "<f4", "Half": "<f2", "Long": "<i8", "Int": "<i4"}.items()
}


def read_state_dict(data: bytes) -> dict[str, Array]:
    """Reads what ``torch.save`` made of a dictionary of tensors.

    Arguments:
        data: The bytes of the file, of either layout.

    Returns:
        The tensors, by name.

    Raises:
        WeightsError: Not such a file, or one with tensors that are no plain arrays in C order.
    """
    tree, storages = _zipped(data) if data[:4] == b"PK\x03\x04" else _legacy(data)
    if not isinstance(tree, dict):
        raise WeightsError(f"expected a dictionary of tensors, got {type(tree).__name__}")
    return {name: _tensor(name, call, storages) for name, call in tree.items()}


def _zipped(data: bytes) -> tuple[object, dict[str, Array]]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            index = next((name for name in archive.namelist() if name.endswith("/data.pkl")), "")
            tree = read_pickle(io.BytesIO(_member(archive, index)))
            root = index.removesuffix(".pkl")
            return tree, {
                key: np.frombuffer(_member(archive, f"{root}/{key}"), kind) for key, kind in _storages(tree).items()
            }
    # the zip module raises NotImplementedError for kinds of compression that it has not
    except (EOFError, KeyError, ValueError, NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise WeightsError(f"expected a PyTorch file, got one that is damaged: {error}") from error


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    size = archive.getinfo(name).file_size
    if size > 8 * MAX_VALUES:
        raise WeightsError(f"expected storages of at most {MAX_VALUES} values, got {size} bytes")
    return archive.read(name)


def _legacy(data: bytes) -> tuple[object, dict[str, Array]]:
    stream = io.BytesIO(data)
    magic, version, _, tree, keys = (read_pickle(stream) for _ in range(5))
    if type(magic) is not int or type(version) is not int or (magic, version) != (_MAGIC, _PROTOCOL):
        raise WeightsError(f"expected a PyTorch file of version {_PROTOCOL}, got something else")
    kinds = _storages(tree)
    if not isinstance(keys, list) or not all(isinstance(key, str) and key in kinds for key in keys):
        raise WeightsError("expected a list of the storages, got something else")
    return tree, {key: _values(stream, kinds[key]) for key in keys}


def _values(stream: io.BytesIO, kind: np.dtype[Any]) -> Array:
    count = int.from_bytes(stream.read(8), "little")
    data = stream.read(kind.itemsize * min(count, MAX_VALUES))
    if len(data) != kind.itemsize * count:
        raise WeightsError(f"expected a storage of {count} values, got {len(data)} bytes")
    return np.frombuffer(data, kind)


def _storages(tree: object) -> dict[str, np.dtype[Any]]:
    """Returns the type of every storage that a tensor of the dictionary refers to, by key."""
    return dict(_references(tree)) if isinstance(tree, dict) else {}


def _references(tree: Mapping[str, object]) -> Iterator[tuple[str, np.dtype[Any]]]:
    for call in tree.values():
        match call:
            case Call(_, (Persistent(("storage", Name() as kind, str(key), *_)), *_)) if kind in _TYPES:
                yield key, _TYPES[kind]


def _tensor(name: str, call: object, storages: Mapping[str, Array]) -> Array:
    match call:
        case Call(
            function,
            (Persistent(("storage", Name(), str(key), *_)), int(start), tuple(shape), tuple(strides), *_),
        ) if function == _REBUILD and key in storages and _is_plain(shape, strides):
            values = storages[key][start : start + math.prod(shape)] if start >= 0 else storages[key][:0]
            if values.size == math.prod(shape):
                return values.reshape(shape)
    raise WeightsError(f"expected a tensor {name} of plain values, got something else")


def _is_plain(shape: tuple[Any, ...], strides: tuple[Any, ...]) -> bool:
    """Whether sides are ones an array can have, and strides those of C order."""
    if not all(type(side) is int and 0 <= side <= MAX_VALUES for side in shape) or math.prod(shape) > MAX_VALUES:
        return False
    expected = tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
    return len(strides) == len(shape) and all(
        side == 1 or stride == wanted for side, stride, wanted in zip(shape, strides, expected, strict=True)
    )
