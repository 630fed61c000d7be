"""Linear algebra over GF(2): erased bits from the parity checks they take part in."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heapify, heappop, heappush

import numpy as np
from numpy.typing import NDArray

from flipproof.bits import BitArray

__all__ = ["solve", "solve_erased", "solve_sparse"]

MOST_ASIDE = 2048
"""Most bits that are set aside in a sparse system; the time to find them grows with their cube."""


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
    return _eliminate(_words(np.column_stack([columns, sums])), columns.shape[1])


def solve_sparse(members: Sequence[Sequence[int]], sums: BitArray, size: int) -> BitArray | None:
    r"""Returns the only bits (n,) that have given sums modulo 2, each of a few of them.

    By inactivation decoding (as of Raptor codes, RFC 5053): a sum with one bit left gives that bit. Where there is
    none, a bit of a sum with the fewest left is set aside; what follows is known but for it. Those set aside are found
    by Gaussian elimination.

    Arguments:
        members: The bits in each of r sums, numbers below n.
        sums: The sums, with shape (r,).
        size: Number of bits n.

    Returns:
        The bits, or None if there are none, or several, or more than :data:`MOST_ASIDE` have to be set aside.
    """
    places: list[list[int]] = [[] for _ in range(size)]
    for row, bits in enumerate(members):
        for bit in bits:
            places[bit].append(row)
    # A whole number stands for an expression: bit 0 for a constant, bit k for the k-th bit set aside.
    found, rest, aside = [-1] * size, sums.tolist(), 0
    left = [len(bits) for bits in members]
    queue = [(count, row) for row, count in enumerate(left) if count]
    heapify(queue)
    while queue:
        count, row = heappop(queue)
        if count != left[row]:
            continue  # fewer are left by now
        missing = [bit for bit in members[row] if found[bit] < 0]
        bit = max(missing, key=lambda bit: len(places[bit]))
        if count > 1 and (aside := aside + 1) > MOST_ASIDE:
            return None
        found[bit] = rest[row] if count == 1 else 1 << aside
        for other in places[bit]:
            rest[other] ^= found[bit]
            left[other] -= 1
            if left[other]:
                heappush(queue, (left[other], other))
    if -1 in found:
        return None
    solution = _eliminate(_packed([value for value in rest if value], aside), aside)
    if solution is None:
        return None
    truth = 1 | int.from_bytes(np.packbits(solution, bitorder="little").tobytes(), "little") << 1
    return np.array([(value & truth).bit_count() & 1 for value in found], np.uint8)


def _eliminate(rows: NDArray[np.uint64], size: int) -> BitArray | None:
    """Returns the bits (n,) of which rows of packed words say that sums of them, in column n, are modulo 2."""
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


def _packed(expressions: Sequence[int], size: int) -> NDArray[np.uint64]:
    """Returns rows of words that say that expressions of ``size`` bits set aside are 0, the constants last."""
    width = 8 * (1 + size // 64)
    parts = [(value >> 1 | (value & 1) << size).to_bytes(width, "little") for value in expressions]
    return np.frombuffer(b"".join(parts), "<u8").reshape(-1, width // 8).astype(np.uint64)


def _words(bits: BitArray) -> NDArray[np.uint64]:
    """Packs rows of bits (r, n) into words (r, ceil(n / 64)), bit i at place i mod 64 of word i / 64."""
    padded = np.pad(bits, ((0, 0), (0, -bits.shape[1] % 64)))
    packed = np.ascontiguousarray(np.packbits(padded, axis=1, bitorder="little"))
    return packed.view("<u8").astype(np.uint64)
