r"""Irregular repeat-accumulate codes (Jin, Khandekar and McEliece, 2000) by belief propagation.

Data bits are repeated, permuted and summed over parity checks; a parity bit is the sum modulo 2 of its check and of all
before it. With :math:`s_j` the sum of the data bits of check :math:`j`, :math:`p_j = p_{j-1} + s_j`. Encoding is a
running sum; decoding passes messages over a sparse graph, and comes the closer to the capacity of a channel the longer
the block. Where bits are erased and nothing else is wrong, they are solved for.

The first seven twentieths of the data bits take part in twelve checks each, all others in three. Copy :math:`c` of the
bits that have :math:`q` copies goes to the checks :math:`c, c + q, c + 2q, \dots`, so that no two copies of a bit meet.
Which of them is drawn: with :math:`w` the next words of Philox4x64-10 under the key
``derive(purpose="accumulate", data=k, parity=m)``, as many as there are such bits, the bit of the :math:`t`-th smallest
word (equal ones in order) goes to the :math:`(t \bmod n)`-th of these :math:`n` checks. The copies of the bits with
twelve are drawn first.

Two bits with the same three checks could not be told apart. Where such are left, each but the lowest of them changes
places in the last draw with the bit that follows there (that of the lowest word follows that of the highest), by
ascending words; this happens up to eight times.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from flipproof.bits import BitArray
from flipproof.errors import SpecError
from flipproof.protection.code import ByteCode, Decoded
from flipproof.protection.linear import solve_sparse
from flipproof.seeds import derive

__all__ = ["RepeatAccumulate"]

COPIES = (12, 3)
"""Checks that a data bit takes part in: the first bits, and the others."""
FAVOURED = (7, 20)
"""The share of the former, as a fraction."""
ROUNDS_OF_PARTING = 8
LEAST_PARITY, MOST_BYTES = 4, 8192
LEAST_RATE, MOST_RATE = 0.2, 0.98
RELIABLE = 16.0
"""Largest log-likelihood ratio that is believed of a received bit."""
PATIENCE = 16
"""Iterations in which the number of failing checks has to reach a new low."""
FAINTEST = 1e-6
"""Smallest message: its function is finite."""
LIKELY_RATES = 1e-4, 0.15
"""Bit error rates that decoders reckon with."""
SPARE_CHECKS = 24
"""Checks left over to verify a solution for erased bits: one in 2^24 wrong ones passes."""
ENOUGH_CHECKS = 16
"""Checks without erased bits from which a bit error rate is estimated."""
ASSUMED_RATE = 0.01
"""Bit error rate where there are fewer."""


@dataclass(frozen=True)
class RepeatAccumulate(ByteCode):
    """An irregular repeat-accumulate code.

    Decoders need not be told how good the channel is: where they have bits only, the share of parity checks that fail
    says how many are wrong.

    Attributes:
        data: Data bytes of a full block, 1 to 8192.
        parity: Parity bytes of every block, 4 to 8192, so that the rate data / (data + parity) is 0.2 to 0.98.
        iterations: Most iterations of the decoder, 1 to 1000.

    Raises:
        SpecError: A parameter is out of range.
    """

    name: ClassVar[str] = "ira"
    data: int = 1024
    parity: int = 160
    iterations: int = 50

    def __post_init__(self) -> None:
        if not 1 <= self.data <= MOST_BYTES:
            raise SpecError(f"ira: expected data from 1 to {MOST_BYTES} bytes, got {self.data}")
        if not LEAST_PARITY <= self.parity <= MOST_BYTES:
            raise SpecError(f"ira: expected parity from {LEAST_PARITY} to {MOST_BYTES} bytes, got {self.parity}")
        if not LEAST_RATE <= self.rate <= MOST_RATE:
            raise SpecError(f"ira: expected a rate from {LEAST_RATE} to {MOST_RATE}, got {self.rate:.3g}")
        if not 1 <= self.iterations <= 1000:
            raise SpecError(f"ira: expected iterations from 1 to 1000, got {self.iterations}")

    def encode(self, data: BitArray) -> BitArray:  # noqa: D102 (inherited)
        members = _members(data.shape[1], self.parity_bits)
        sums = np.empty((len(data), self.parity_bits), np.uint8)
        for block, row in zip(np.pad(data, ((0, 0), (0, 1))), sums, strict=True):  # the bit of unused places is 0
            np.bitwise_xor.reduce(block[members], axis=1, out=row)
        return np.concatenate([data, np.bitwise_xor.accumulate(sums, axis=1)], axis=1)

    def decode(self, received: BitArray, llr: NDArray[np.float32] | None = None) -> Decoded:  # noqa: D102 (inherited)
        length = received.shape[1] - self.parity_bits
        checks = _checks(length, self.parity_bits)
        data, flips = received[:, :length].copy(), np.zeros(len(received), np.int64)
        failed = np.zeros(len(received), bool)
        for index, block in enumerate(received):
            given = None if llr is None else llr[index]
            word = None if given is None else _fill(checks, block, np.flatnonzero(given == 0))
            if word is None:
                word = _believe(checks, _evidence(checks, block, given), self.iterations)
            failed[index] = word is None
            if word is not None:
                data[index], flips[index] = word[:length], np.count_nonzero(word != block)
        return Decoded(data, flips, failed)


def _evidence(checks: NDArray[np.int32], block: BitArray, llr: NDArray[np.float32] | None) -> NDArray[np.float32]:
    """Returns a log-likelihood ratio for each bit; what is certain is as reliable as the checks say that bits are."""
    given = np.where(block, -np.inf, np.inf).astype(np.float32) if llr is None else llr
    certain = np.isinf(given)
    if certain.any():
        rate = _error_rate(checks, block, given != 0)
        given = np.where(certain, np.copysign(math.log((1 - rate) / rate), given), given)
    return np.clip(given, -RELIABLE, RELIABLE).astype(np.float32)


def _error_rate(checks: NDArray[np.int32], block: BitArray, known: NDArray[np.bool_]) -> float:
    r"""Returns the bit error rate p at which as many checks of d bits fail, :math:`(1 - (1 - 2p)^d) / 2`."""
    whole = np.append(known, True)[checks].all(axis=1)
    if np.count_nonzero(whole) < ENOUGH_CHECKS:
        return ASSUMED_RATE
    share = float((np.bitwise_xor.reduce(np.append(block, 0)[checks[whole]], axis=1)).mean())
    degree = float((checks[whole] < len(block)).sum(axis=1).mean())
    return float(np.clip((1 - max(0.0, 1 - 2 * share) ** (1 / degree)) / 2, *LIKELY_RATES))


def _believe(checks: NDArray[np.int32], llr: NDArray[np.float32], iterations: int) -> BitArray | None:
    """Returns the codeword that log-likelihood ratios (n,) lead to by belief propagation (sum-product), or None."""
    size, flat = len(llr), checks.ravel()
    prior = np.append(llr, np.float32(2 * RELIABLE))  # unused places are zeros for certain
    messages = np.zeros(checks.shape, np.float32)
    fewest, patience = len(checks) + 1, PATIENCE
    for _ in range(iterations + 1):
        belief = prior + np.bincount(flat, messages.ravel(), size + 1).astype(np.float32)
        belief[size] = prior[size]
        word = (belief < 0).view(np.uint8)
        failing = int(np.count_nonzero(np.bitwise_xor.reduce(word[checks], axis=1)))
        if not failing and belief.all():  # a bit at 0 was not found out
            return word[:size]
        fewest, patience = (failing, PATIENCE) if failing < fewest else (fewest, patience - 1)
        if not patience:
            break
        to_checks = belief[checks] - messages
        weight, negative = _involution(np.abs(to_checks)), to_checks < 0
        messages = _involution(weight.sum(axis=1, keepdims=True) - weight)
        others_negative = np.bitwise_xor.reduce(negative, axis=1)[:, None] ^ negative
        np.negative(messages, out=messages, where=others_negative)
    return None


def _fill(checks: NDArray[np.int32], block: BitArray, erased: NDArray[np.int64]) -> BitArray | None:
    """Returns the codeword that a block is but for its erased bits, if it is one and these are determined."""
    if not 0 < len(erased) <= len(checks) - SPARE_CHECKS:
        return None
    word, number = np.append(block, 0), np.full(len(block) + 1, -1)
    word[erased], number[erased] = 0, np.arange(len(erased))
    members = [[bit for bit in bits if bit >= 0] for bits in number[checks].tolist()]
    found = solve_sparse(members, np.bitwise_xor.reduce(word[checks], axis=1), len(erased))
    if found is None:
        return None
    word[erased] = found
    return word[:-1]


def _involution(x: NDArray[np.float32]) -> NDArray[np.float32]:
    r"""Returns :math:`-\ln \tanh (x / 2)`, its own inverse, for 0 and more."""
    return -np.log(np.tanh(np.maximum(x, FAINTEST) / 2))


@lru_cache(maxsize=16)
def _members(length: int, checks: int) -> NDArray[np.int32]:
    """Returns the data bits of each check, (checks, d); places that are not used have ``length``."""
    words = np.random.Philox(key=derive(purpose="accumulate", data=length, parity=checks))
    favoured = FAVOURED[0] * length // FAVOURED[1]
    bits, places = [], []
    for start, end, copies in ((0, favoured, COPIES[0]), (favoured, length, COPIES[1])):
        turns = np.arange(end - start)
        lines = np.stack([copy + copies * (turns % len(range(copy, checks, copies))) for copy in range(copies)])
        orders = np.stack([np.argsort(words.random_raw(end - start), kind="stable") for _ in range(copies)])
        if copies == COPIES[1]:
            _part_twins(orders, lines)
        bits.append(start + orders.ravel())
        places.append(lines.ravel().astype(np.uint16))
    bit, place = np.concatenate(bits), np.concatenate(places)
    order = np.argsort(place, kind="stable")
    bit, place = bit[order], place[order]
    column = np.arange(len(place)) - np.searchsorted(place, place)
    members = np.full((checks, int(column.max()) + 1), length, np.int32)
    members[place, column] = bit
    members.flags.writeable = False
    return members


def _part_twins(orders: NDArray[np.int64], lines: NDArray[np.int64]) -> None:
    """Changes the last draw so that no two bits have all their checks in common.

    Arguments:
        orders: Bits in the order of each draw (copies, n).
        lines: Their checks, (copies, n).
    """
    count = orders.shape[1]
    for _ in range(ROUNDS_OF_PARTING):
        common = np.zeros(count, np.int64)
        for order, line in zip(orders, lines, strict=True):
            common[order] = common[order] * (8 * MOST_BYTES) + line
        _, first, twin = np.unique(common, return_index=True, return_inverse=True)
        twins = np.flatnonzero(first[twin][orders[-1]] != orders[-1])
        if not len(twins):
            break
        for turn in twins:
            orders[-1, [turn, (turn + 1) % count]] = orders[-1, [(turn + 1) % count, turn]]


@lru_cache(maxsize=16)
def _checks(length: int, parity: int) -> NDArray[np.int32]:
    """Returns the bits of each check, with those of parity, (parity, d + 2); unused places have length + parity."""
    members = _members(length, parity)
    own = length + np.arange(parity, dtype=np.int32)[:, None]
    before = np.where(own > length, own - 1, length + parity)
    checks = np.concatenate([np.where(members == length, length + parity, members), own, before], axis=1)
    checks = checks.astype(np.int32)
    checks.flags.writeable = False
    return checks
