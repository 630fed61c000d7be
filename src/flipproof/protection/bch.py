r"""Binary BCH codes: t flips repaired in a block of up to :math:`2^m - 1` bits, and far more erased or doubtful bits.

Hard decisions go through the algebraic decoder of :mod:`bchlib`. Where a receiver knows more, the blocks it leaves
are tried again:

- with few erased bits, filled once with zeros and once with ones, of which one has at most half of them wrong;
- with many, by solving the parity checks for them: r checks find up to about r erased bits, if no other bit is wrong
  (maximum likelihood for erasures);
- with log-likelihood ratios, by treating the least reliable bits as erased, fewer and more of them (generalised minimum
  distance, Forney 1966, and for the most of them ordered statistics of order 0, Fossorier and Lin 1995).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import bchlib
import numpy as np
from numpy.typing import NDArray

from flipproof.bits import BitArray
from flipproof.errors import SpecError
from flipproof.protection.code import Code, Decoded
from flipproof.protection.linear import solve_erased

__all__ = ["BCH"]

SPARE_CHECKS = 24
"""Parity checks left over to verify a solution for erased bits: one in 2^24 wrong ones passes."""
MOST_FLIPS = 64
"""What the library is built for."""


@dataclass(frozen=True)
class BCH(Code):
    """A BCH code, narrow sense, shortened to whole bytes of data.

    Attributes:
        t: Flips that are repaired for certain, 1 to 64, and less than (2^m - 1) / m.
        m: Degree of the field, 5 to 13; a full block has up to 2^m - 1 bits.

    Raises:
        SpecError: A parameter is out of range, or the code has no room for a byte of data.
    """

    name: ClassVar[str] = "bch"
    t: int = 20
    m: int = 10

    def __post_init__(self) -> None:
        if not 5 <= self.m <= 13:
            raise SpecError(f"bch: expected m from 5 to 13, got {self.m}")
        most = min(MOST_FLIPS, ((1 << self.m) - 2) // self.m)
        if not 1 <= self.t <= most:
            raise SpecError(f"bch: expected t from 1 to {most} with m={self.m}, got {self.t}")
        if self.data_bits < 8:
            raise SpecError(f"bch: expected room for a byte of data, got t={self.t} with m={self.m}")

    @cached_property
    def checks(self) -> int:
        """Parity bits r of the code; up to seven zeros fill their last byte."""
        return int(_library(self).ecc_bits)

    @property
    def data_bits(self) -> int:
        """Data bits of a full block."""
        return ((1 << self.m) - 1 - self.checks) // 8 * 8

    @property
    def parity_bits(self) -> int:
        """Parity bits of a block, filled up to whole bytes."""
        return -(-self.checks // 8) * 8

    def encode(self, data: BitArray) -> BitArray:  # noqa: D102 (inherited)
        library, size = _library(self), self.parity_bits // 8
        parity = [
            np.frombuffer(library.encode(block.tobytes())[:size], np.uint8) for block in np.packbits(data, axis=1)
        ]
        return np.concatenate(
            [data, np.unpackbits(np.array(parity, np.uint8).reshape(len(data), size), axis=1)], axis=1
        )

    def decode(self, received: BitArray, llr: NDArray[np.float32] | None = None) -> Decoded:  # noqa: D102 (inherited)
        length = received.shape[1] - self.parity_bits
        data, flips = received[:, :length].copy(), np.zeros(len(received), np.int64)
        failed = np.zeros(len(received), bool)
        for index, block in enumerate(received):
            found = self._repair(block[: length + self.checks], None if llr is None else llr[index])
            failed[index] = found is None
            if found is not None:
                data[index] = found[:length]
                flips[index] = np.count_nonzero(found != block[: len(found)])
        return Decoded(data, flips, failed)

    def _repair(self, block: BitArray, llr: NDArray[np.float32] | None) -> BitArray | None:
        """Returns the codeword that a block stands for, or None."""
        if llr is None:
            return self._correct(block)
        reliability = np.abs(llr[: len(block)])
        if reliability.all() and (found := self._correct(block)) is not None:
            return found
        best, least = None, np.inf
        for word in self._guesses(block, reliability):
            doubt = float(reliability[word != block].sum())
            if best is None or doubt < least:
                best, least = word, doubt
            if not least:  # nothing but erased bits differs
                break
        return best

    def _guesses(self, block: BitArray, reliability: NDArray[np.float32]) -> Iterator[BitArray]:
        """Yields codewords that agree with a block but for unreliable bits and t flips at most."""
        order = np.argsort(reliability, kind="stable")
        erased = int(np.count_nonzero(reliability == 0))
        doubtful = int(np.count_nonzero(np.isfinite(reliability)))
        for count in sorted({min(doubtful, max(erased, share * self.t // 2)) for share in range(1, 5)}):
            yield from self._fill(block, order[:count])
        most = min(doubtful, max(erased, self.checks - SPARE_CHECKS))
        solved = solve_erased(self._checks_of(len(block)), block, order[:most], min(SPARE_CHECKS, self.checks - most))
        if solved is not None:
            yield solved

    def _fill(self, block: BitArray, erased: NDArray[np.int64]) -> Iterator[BitArray]:
        """Yields codewords found with the erased bits all zero and all one."""
        if len(erased) > 2 * self.t:
            return
        for value in (0, 1):
            filled = block.copy()
            filled[erased] = value
            if (found := self._correct(filled)) is not None:
                yield found

    def _correct(self, block: BitArray) -> BitArray | None:
        """Returns the codeword within t flips, or None."""
        library, length = _library(self), len(block) - self.checks
        data = bytearray(np.packbits(block[:length]).tobytes())
        parity = bytearray(np.packbits(block[length:]).tobytes().ljust(library.ecc_bytes, b"\0"))
        if library.decode(data=data, recv_ecc=parity) < 0:
            return None
        library.correct(data=data, ecc=parity)
        return np.unpackbits(np.frombuffer(bytes(data + parity), np.uint8))[: len(block)]

    def _checks_of(self, length: int) -> BitArray:
        """Returns the parity checks (r, length) of a block shortened to so many bits."""
        return _check_matrix(self)[:, -length:]


def _check_matrix(code: BCH) -> BitArray:
    """Returns the parity checks (r, k + r) of full blocks: the parity of every data bit, and the identity."""
    if code not in _MATRICES:
        unit = np.eye(code.data_bits, dtype=np.uint8)
        parity = code.encode(unit)[:, code.data_bits : code.data_bits + code.checks]
        _MATRICES[code] = np.concatenate([parity.T, np.eye(code.checks, dtype=np.uint8)], axis=1)
    return _MATRICES[code]


_MATRICES: dict[BCH, BitArray] = {}


class _Local(threading.local):
    """Libraries of its own for every thread: they keep error positions between two calls."""

    def __init__(self) -> None:
        self.codes: dict[BCH, bchlib.BCH] = {}


_LOCAL = _Local()


def _library(code: BCH) -> bchlib.BCH:
    if code not in _LOCAL.codes:
        _LOCAL.codes[code] = bchlib.BCH(code.t, m=code.m)
    return _LOCAL.codes[code]
