r"""One fixed permutation for every length, so that a burst of errors becomes scattered ones.

For a length :math:`n` let :math:`w_0 \dots w_{n-1}` be the first :math:`n` words (64 bits, unsigned) of the stream of
Philox4x64-10 under the key ``derive(purpose="interleaver", seed=0, size=n)`` of :mod:`flipproof.seeds`. The permutation
:math:`p` is the stable argsort of these words: :math:`w_{p_0} \le w_{p_1} \le \dots`, equal words in the order of their
positions. Element :math:`i` of the interleaved sequence is element :math:`p_i` of the original.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from flipproof.errors import SpecError
from flipproof.seeds import derive

__all__ = ["LONGEST", "deinterleave", "interleave", "permutation"]

LONGEST = 2**27
"""Most positions that can be permuted."""

_KEPT = 2**20
_CHUNK = 2**20
_AT_ONCE = 2**22

Scalar = TypeVar("Scalar", bound=np.generic)


def interleave(values: NDArray[Scalar]) -> NDArray[Scalar]:
    """Permutes the last axis of (..., n), n at most 2^27: element i of the output is element p[i] of the input.

    Raises:
        SpecError: The axis is too long.

    Example:
        >>> interleave(np.arange(8)).tolist()
        [3, 4, 5, 6, 2, 0, 7, 1]
        >>> deinterleave(interleave(np.arange(8))).tolist()
        [0, 1, 2, 3, 4, 5, 6, 7]
    """
    return np.take(values, permutation(values.shape[-1]), axis=-1)


def deinterleave(values: NDArray[Scalar]) -> NDArray[Scalar]:
    """Undoes :func:`interleave`: element p[i] of the output is element i of the input.

    Raises:
        SpecError: The axis is too long.
    """
    restored = np.empty_like(values)
    restored[..., permutation(values.shape[-1])] = values
    return restored


def permutation(size: int) -> NDArray[np.int32]:
    """Returns the permutation p of a length from 0 to 2^27, read-only, with shape (size,).

    Raises:
        SpecError: The length is out of range.
    """
    if not 0 <= size <= LONGEST:
        raise SpecError(f"expected 0 to {LONGEST} positions to interleave, got {size}")
    return _kept(size) if size <= _KEPT else _permutation(size)


def _permutation(size: int) -> NDArray[np.int32]:
    """Sorts one range of words after another, so that scratch memory stays below 150 MB at any length."""
    key, ranges = derive(purpose="interleaver", seed=0, size=size), 1
    while size > ranges * _AT_ONCE:
        ranges *= 2
    order = np.empty(size, dtype=np.int32)
    filled = 0
    for part in range(ranges):
        words, positions = _words(key, size, part, ranges)
        sorted_positions = positions[np.argsort(words, kind="stable")]
        order[filled : filled + len(positions)] = sorted_positions
        filled += len(positions)
    order.flags.writeable = False
    return order


_kept = lru_cache(maxsize=32)(_permutation)


def _words(key: int, size: int, part: int, ranges: int) -> tuple[NDArray[np.uint64], NDArray[np.int32]]:
    """Returns the words of a stream that fall into one of ``ranges`` equal ranges, a power of two, and their places."""
    stream = np.random.Philox(key=key)
    if ranges == 1:
        return stream.random_raw(size), np.arange(size, dtype=np.int32)
    shift = np.uint64(64 - (ranges.bit_length() - 1))
    words, places = [], []
    for start in range(0, size, _CHUNK):
        chunk = stream.random_raw(min(_CHUNK, size - start))
        inside = np.flatnonzero(chunk >> shift == part)
        words.append(chunk[inside])
        places.append((start + inside).astype(np.int32))
    return np.concatenate(words), np.concatenate(places)
