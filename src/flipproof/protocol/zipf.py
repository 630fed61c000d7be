r"""Chunk seeds behind one range coder: the published file of DiffC.

Candidates are numbered in the order of their arrival, so small seeds are likelier. They are coded as
:math:`P(i) \propto (i + 1)^{-s}` (Zipf), truncated to the :math:`2^b` candidates of a chunk. The Poisson functional
representation has :math:`\mathbb{E} \log_2 (i + 1) \le \mathrm{KL} + \log_2(e) / e + 1` (Li and El Gamal, 2018), and

.. math:: s = 1 + \frac{1}{\mathrm{KL} + \log_2(e) / e + 1}

is the exponent they derive from it, with the KL of a chunk in bits. (The published code of DiffC has
:math:`\ln(e + 1) / e` in place of :math:`\log_2(e) / e + 1`; where chunks carry 6 bits or more the two differ by about
0.02 bits a seed.) The bound knows nothing of the end of the list, and a flatter law fits better near it: measured at
14 bits of KL and 16-bit seeds, s = 1.064 costs 13.8 bits a seed, and the best s, 0.84, costs 13.4.

**Tables.** Coder and decoder must agree on every probability to the last digit. An exponent is rounded to a multiple of
1/256 in [0, 2], and :math:`(i + 1)^s` is then a product of repeated square roots. IEEE 754 rounds products, quotients
and square roots correctly, so the integer weights :math:`\operatorname{round}(2^{32} / (i + 1)^s)` are the same on
every machine; a power function would not promise that. Their sums stay below :math:`2^{53}` and thus exact in any
order, and constriction makes 24-bit probabilities of them by one quotient and products.

**Bytes.** The 32-bit words of constriction's range coder in big-endian order, ended after the byte at which every
continuation decodes to the same seeds. A prefix of the bytes decodes to a prefix of the seeds. One wrong bit changes
what follows it, without end.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import e, inf, isfinite, log2
from typing import TypeAlias

import constriction
import numpy as np
from numpy.typing import NDArray

from flipproof.errors import SpecError
from flipproof.selection.diffc import MOST_SEED_BITS

__all__ = ["compress", "expand", "exponent", "weights"]

Categorical: TypeAlias = constriction.stream.model.Categorical
RangeEncoder: TypeAlias = constriction.stream.queue.RangeEncoder
RangeDecoder: TypeAlias = constriction.stream.queue.RangeDecoder

_FRACTION = 8  # bits of an exponent after the binary point
_HIGHEST = 2.0  # exponent
_SCALE = 2.0**32  # weight of seed 0


def exponent(kl: float) -> float:
    """Returns the Zipf exponent for chunks of so many bits of KL.

    Decoders must come to the same KL: derive it from header integers by plain arithmetic.

    Arguments:
        kl: KL of one chunk in bits, at least 0.

    Raises:
        SpecError: If the KL is negative or not finite.

    Example:
        >>> round(exponent(14), 4)
        1.0644
    """
    if not 0 <= kl < inf:
        raise SpecError(f"zipf: expected a finite KL of at least 0 bits, got {kl}")
    return 1 + 1 / (kl + log2(e) / e + 1)


def weights(exponent: float, seed_bits: int) -> NDArray[np.float64]:
    """Returns the integer weights of all seeds (2**seed_bits,), in proportion to their probabilities.

    Arguments:
        exponent: Zipf's s; rounded to 1/256, and held in [0, 2].
        seed_bits: Bits of a seed, 1 to 16.

    Raises:
        SpecError: If the exponent is not finite, or the seed bits are out of range.

    Example:
        >>> (weights(1.0, 2) / 2**32).round(4).tolist()
        [1.0, 0.5, 0.3333, 0.25]
    """
    step = _Step.of(exponent, seed_bits, 0)
    root = np.arange(1, (1 << seed_bits) + 1, dtype=np.float64)
    power = np.ones_like(root)
    for _ in range(step.level >> _FRACTION):
        power = power * root
    for bit in reversed(range(_FRACTION)):
        root = np.sqrt(root)
        if step.level >> bit & 1:
            power = power * root
    return np.maximum(np.rint(_SCALE / power), 1)


def compress(seeds: list[NDArray[np.int64]], exponents: list[float], seed_bits: list[int]) -> bytes:
    """Codes the seeds of all steps.

    Arguments:
        seeds: The seeds of each step, shape (parts,).
        exponents: Zipf's exponent of each step.
        seed_bits: Bits of a seed of each step, 1 to 16.

    Raises:
        SpecError: If the lists are of different lengths, an exponent is not finite, or seed bits or a seed are out of
            range.

    Example:
        >>> data = compress([np.array([0, 5]), np.array([1])], [1.1, 1.2], [8, 4])
        >>> expand(data, [1.1, 1.2], [8, 4], [2, 1])
        ([array([0, 5]), array([1])], 3)
    """
    steps = _steps(exponents, seed_bits, [len(numbers) for numbers in seeds])
    coder = RangeEncoder()
    for numbers, step in zip(seeds, steps, strict=True):
        wrong = numbers[(numbers < 0) | (numbers >> step.seed_bits > 0)]
        if len(wrong):
            raise SpecError(f"zipf: expected seeds of {step.seed_bits} bits, got {wrong[0]}")
        coder.encode(numbers.astype(np.int32), _model(step.level, step.seed_bits))
    return _shorten(coder.get_compressed().astype(">u4").tobytes(), steps)


def expand(
    data: bytes, exponents: list[float], seed_bits: list[int], counts: list[int]
) -> tuple[list[NDArray[np.int64]], int]:
    """Decodes the seeds of all steps from any bytes whatever.

    Missing bytes count as zeros. Bytes that no encoder writes may bring the range coder to a halt; seeds from there on
    are 0. Time and memory follow the number of seeds.

    Arguments:
        data: What arrived, from the first byte on.
        exponents: Zipf's exponent of each step.
        seed_bits: Bits of a seed of each step, 1 to 16.
        counts: Seeds of each step.

    Returns:
        The seeds of each step (counts,), and how many of them all, in order, follow from ``data`` alone, whatever came
        after it. If ``data`` is the start of what :func:`compress` returned, so many are right.

    Raises:
        SpecError: If the lists are of different lengths, an exponent is not finite, or seed bits or a count are out of
            range.
    """
    seeds, complete = _decode(data, _steps(exponents, seed_bits, counts))
    return np.split(seeds, np.cumsum(counts)[:-1]) if counts else [], complete


@dataclass(frozen=True)
class _Step:
    level: int  # the exponent, in units of 2**-_FRACTION
    seed_bits: int
    count: int

    @classmethod
    def of(cls, exponent: float, seed_bits: int, count: int) -> _Step:
        if not isfinite(exponent):
            raise SpecError(f"zipf: expected a finite exponent, got {exponent}")
        if not 1 <= seed_bits <= MOST_SEED_BITS:
            raise SpecError(f"zipf: expected seed bits in [1, {MOST_SEED_BITS}], got {seed_bits}")
        if count < 0:
            raise SpecError(f"zipf: expected at least 0 seeds, got {count}")
        return cls(round(min(max(exponent, 0.0), _HIGHEST) * (1 << _FRACTION)), seed_bits, count)


def _steps(exponents: list[float], seed_bits: list[int], counts: list[int]) -> list[_Step]:
    if not len(counts) == len(exponents) == len(seed_bits):
        lengths = f"{len(exponents)} and {len(seed_bits)}"
        raise SpecError(f"zipf: expected {len(counts)} exponents and seed bits, got {lengths}")
    return [_Step.of(*step) for step in zip(exponents, seed_bits, counts, strict=True)]


@lru_cache(maxsize=64)
def _model(level: int, seed_bits: int) -> Categorical:
    return Categorical(weights(level / (1 << _FRACTION), seed_bits), perfect=False)


def _decode(data: bytes, steps: list[_Step]) -> tuple[NDArray[np.int64], int]:
    """Decodes data followed by zeros, and tells how many seeds stay the same whatever follows it.

    A range decoder takes the data for a binary fraction, and seeds grow with it. So continuations between the lowest
    and the highest agree where those two do.
    """
    lowest, decoded = _continue(data, b"\x00", steps)
    highest, limit = _continue(data, b"\xff", steps)
    differ = np.flatnonzero(lowest != highest)
    return lowest, min([decoded, limit, *differ[:1].tolist()])


def _continue(data: bytes, byte: bytes, steps: list[_Step]) -> tuple[NDArray[np.int64], int]:
    """Decodes data followed by one byte over and over; returns the seeds and how many could be decoded."""
    total = sum(step.count for step in steps)
    size = 4 * (total + 2)  # a seed takes at most one word of 32 bits, and the decoder is two words ahead
    decoder = RangeDecoder(np.frombuffer(data[:size].ljust(size, byte), ">u4").astype(np.uint32))
    seeds, place = np.zeros(total, np.int64), 0
    for step in steps:
        model = _model(step.level, step.seed_bits)
        for _ in range(step.count):
            try:
                seeds[place] = decoder.decode(model)
            except AssertionError:  # how constriction says that no encoder writes this
                return seeds, place
            place += 1
    return seeds, total


def _shorten(sealed: bytes, steps: list[_Step]) -> bytes:
    """Returns the shortest bytes from whose every continuation the same seeds follow.

    The coder ends at a whole word. The bytes to try are the prefixes of its output, rounded down and up.
    """
    seeds, total = _decode(sealed, steps)
    for size in range(max(0, len(sealed) - 8), len(sealed)):
        floor = int.from_bytes(sealed[:size], "big")
        for number in (floor, floor + 1):
            if number >> 8 * size:
                continue
            candidate = number.to_bytes(size, "big")
            found, complete = _decode(candidate, steps)
            if complete == total and (found == seeds).all():
                return candidate
    return sealed
