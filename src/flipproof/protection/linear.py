"""Linear algebra over GF(2): erased bits from the parity checks they take part in."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flipproof.bits import BitArray

__all__ = ["solve", "solve_erased"]


def solve_erased(checks: BitArray, block: BitArray, erased: NDArray[np.int64], spare: int) -> BitArray | None:
    """Returns a block with its erased bits such that every parity check holds.

    Arguments:
        checks: Parity checks with shape (r, n).
        block: Received bits with shape (n,).
        erased: Positions whose bits are not known.
        spare: Checks that must be left over to confirm the other bits.

    Returns:
        The block (n,), or None where the checks do not determine the erased bits, or contradict the others.
    """
    if len(erased) + spare > len(checks):
        return None
    rest = block.copy()
    rest[erased] = 0
    syndrome = (checks.astype(np.float32) @ rest.astype(np.float32)).astype(np.int64) & 1
    found = solve(checks[:, erased], syndrome.astype(np.uint8))
    if found is None:
        return None
    rest[erased] = found
    return rest


def solve(columns: BitArray, sums: BitArray) -> BitArray | None:
    """Returns the only bits (n,) whose columns (r, n) have given sums modulo 2 (r,).

    By Gaussian elimination on rows packed into words.

    Returns:
        The bits, or None if there are none, or several.
    """
    size, rows = columns.shape[1], _words(np.column_stack([columns, sums]))
    for column in range(size):
        hit = np.flatnonzero(rows[:, column >> 6] >> np.uint64(column & 63) & np.uint64(1))
        first = int(np.searchsorted(hit, column))
        if first == len(hit):
            return None
        pivot = rows[hit[first]].copy()
        rows[hit] ^= pivot
        rows[hit[first]] = rows[column]
        rows[column] = pivot
    solution = rows[:, size >> 6] >> np.uint64(size & 63) & np.uint64(1)
    return None if solution[size:].any() else solution[:size].astype(np.uint8)


def _words(bits: BitArray) -> NDArray[np.uint64]:
    """Packs rows of bits (r, n) into words (r, ceil(n / 64)), bit i at place i mod 64 of word i / 64."""
    padded = np.pad(bits, ((0, 0), (0, -bits.shape[1] % 64)))
    packed = np.ascontiguousarray(np.packbits(padded, axis=1, bitorder="little"))
    return packed.view("<u8").astype(np.uint64)
