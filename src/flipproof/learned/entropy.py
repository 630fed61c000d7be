r"""Integer symbols under tables of quantised probabilities, behind one entropy coder.

Learned codecs quantise what their networks compute to integers, and code each integer under the row of a table: a row
per channel, or per scale :math:`\sigma` of a Gaussian as in the hyperprior of Ballé, Minnen, Singh, Hwang and Johnston
(2018). A row holds integer frequencies of the values ``offset, offset + 1, ...`` and, last, that of an escape for all
other values. Integers make coder and decoder agree on every machine; the coder turns them into 24-bit probabilities by
one quotient and products, which IEEE 754 rounds in one way only.

The coder is constriction's, of the kind that the published learned codecs use: range asymmetric numeral systems (rANS;
Duda, 2013). It reads a symbol out of any state, so any bytes decode to as many symbols as are asked for. (Its range
coder comes to a halt on about one symbol in 10^4 of damaged data.)

**Order.** Symbols are decoded row by row, rows ascending, and within a row as they come. Escaped values follow at the
end: a distance d of at least 0 to the table's range, its side in the lowest bit, as the bit length of d + 1 (each
further bit costs one bit more) and the bits below the leading one. A row starts at its likeliest value and goes round,
so that missing data, which count as zeros, decode to likeliest values.

**Bytes.** The 32-bit words of the coder in the order in which the decoder reads them, big-endian. One wrong bit changes
what follows it, without end.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import constriction
import numpy as np
from numpy.typing import ArrayLike, NDArray

from flipproof.errors import SpecError

__all__ = ["Tables"]

Categorical: TypeAlias = constriction.stream.model.Categorical
Uniform: TypeAlias = constriction.stream.model.Uniform
AnsCoder: TypeAlias = constriction.stream.stack.AnsCoder

MOST_TOTAL = 2**24
"""Largest sum of the frequencies of a row: the coder's resolution."""

ESCAPE = 2.0**-16
"""Least probability of an escape: 16 bits for a value that nobody expected, 2e-5 bits for every other."""

_INT32 = np.iinfo(np.int32)
_TAIL_SCALES = 6.109410204869  # where a standard Gaussian leaves 1e-9 on both sides together
_SCALES = (1e-3, 2.0**16)
_TOLERANCE = 1e-3  # of a sum of probabilities
_MOST_BITS = 34  # of an escaped distance plus one: two int32 are at most 2^32 apart, and the side takes one bit
_LOW_BITS = 16


@dataclass(frozen=True, eq=False)
class Tables:
    """Rows of integer frequencies; immutable, and the same on every machine.

    Attributes:
        frequencies: One array per row: the frequencies of its values, then that of the escape; each at least 1, their
            sum at most 2^24.
        offsets: The smallest value of each row.

    Raises:
        SpecError: Rows and offsets differ in number, or a row is empty or out of range.

    Example:
        >>> tables = Tables.gaussian([0.5, 4.0])
        >>> symbols, rows = np.array([0, -7, 1, 10**6], np.int32), np.array([0, 1, 0, 1])
        >>> data = tables.encode(symbols, rows)
        >>> tables.decode(data, rows)
        array([      0,      -7,       1, 1000000], dtype=int32)
        >>> tables.decode(b"", rows)
        array([0, 0, 0, 0], dtype=int32)
    """

    frequencies: tuple[NDArray[np.int64], ...]
    offsets: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.frequencies) != len(self.offsets):
            raise SpecError(f"expected {len(self.frequencies)} offsets, one per row, got {len(self.offsets)}")
        for row, (frequencies, offset) in enumerate(zip(self.frequencies, self.offsets, strict=True)):
            _check_row(row, frequencies, offset)

    @classmethod
    def gaussian(cls, scales: ArrayLike) -> Tables:
        r"""Returns a row for each zero-mean Gaussian, integrated over bins of width 1 around the integers.

        The frequency of k is :math:`2^{24} (\Phi((k + 1/2) / \sigma) - \Phi((k - 1/2) / \sigma))`, rounded, at least 1,
        and the likeliest value makes the sum 2^24. Values with :math:`|k| > 6.11 \sigma + 1/2`, which have a
        probability below 1e-9, are escaped; the escape has the frequency 2^8.

        Arguments:
            scales: Standard deviations, shape (rows,), from 0.001 to 65536.

        Raises:
            SpecError: A scale is out of range.
        """
        values = np.asarray(scales, np.float64).ravel().tolist()
        for scale in values:
            if not _SCALES[0] <= scale <= _SCALES[1]:
                raise SpecError(f"expected scales from {_SCALES[0]:g} to {_SCALES[1]:g}, got {scale:g}")
        rows = [_gaussian(scale) for scale in values]
        return cls(tuple(rows), tuple(-(len(row) // 2 - 1) for row in rows))

    @classmethod
    def from_masses(cls, masses: Sequence[NDArray[np.float64]], offsets: Sequence[int]) -> Tables:
        """Returns the rows of probabilities: 2^24 times each, rounded, at least 1; the likeliest makes the sum 2^24.

        Arguments:
            masses: For each row the probabilities of its values, then that of the escape; they sum to 1.
            offsets: The smallest value of each row.

        Raises:
            SpecError: Rows and offsets differ in number, or a row is empty or no probabilities.

        Example:
            >>> Tables.from_masses([np.array([0.25, 0.75, 0.0])], [-1])
            Tables(frequencies=(array([ 4194304, 12582911,        1]),), offsets=(-1,))
        """
        return cls(tuple(_quantised(row) for row in masses), tuple(map(int, offsets)))

    @classmethod
    def from_cdfs(cls, cdfs: ArrayLike, lengths: Sequence[int], offsets: Sequence[int]) -> Tables:
        """Returns the rows of quantised distribution functions, as CompressAI keeps them in its checkpoints.

        Arguments:
            cdfs: Integers, shape (rows, columns): 0, then the sums of the frequencies, the escape's last.
            lengths: How many entries of each row count.
            offsets: The smallest value of each row.

        Raises:
            SpecError: Shapes do not agree, or a row does not ascend.

        Example:
            >>> Tables.from_cdfs([[0, 10, 65535, 65536]], [4], [-1])
            Tables(frequencies=(array([   10, 65525,     1]),), offsets=(-1,))
        """
        table = np.asarray(cdfs)
        if table.ndim != 2 or table.dtype.kind not in "iu" or not len(table) == len(lengths) == len(offsets):
            given = f"{table.dtype} {table.shape}, {len(lengths)} lengths and {len(offsets)} offsets"
            raise SpecError(f"expected integers (rows, columns), a length and an offset per row, got {given}")
        for row, length in enumerate(lengths):
            if not 3 <= length <= table.shape[1] or table[row, 0] != 0:
                raise SpecError(f"row {row}: expected 3 to {table.shape[1]} entries from 0 on, got {length}")
        rows = tuple(
            np.diff(row[:length].astype(np.int64)) for row, length in zip(table, map(int, lengths), strict=True)
        )
        return cls(rows, tuple(map(int, offsets)))

    def encode(self, symbols: NDArray[np.int32], rows: NDArray[np.integer]) -> bytes:
        """Codes symbols.

        Arguments:
            symbols: Any integers of 32 bits, shape (n,).
            rows: The row that each symbol is coded under, shape (n,).

        Raises:
            SpecError: The shapes differ, a symbol is not of 32 bits, or there is no such row.
        """
        if symbols.shape != rows.shape or symbols.dtype != np.int32:
            raise SpecError(f"expected int32 symbols {rows.shape}, got {symbols.dtype} {symbols.shape}")
        groups, distances = [], [np.zeros(0, np.int64)]
        for row, places in self._places(rows):
            found, known = symbols[places].astype(np.int64) - self.offsets[row], len(self.frequencies[row]) - 1
            beyond = found[(found < 0) | (found >= known)]
            distances.append(np.where(beyond < 0, -2 * beyond - 1, 2 * (beyond - known)))
            found[(found < 0) | (found >= known)] = known
            groups.append((row, (found - self._starts[row]) % (known + 1)))
        coder = AnsCoder()  # a stack: last in, first out
        _encode_distances(coder, np.concatenate(distances))
        for row, found in reversed(groups):
            coder.encode_reverse(found.astype(np.int32), self._models[row])
        return bytes(coder.get_compressed()[::-1].astype(">u4").tobytes())

    def decode(self, data: bytes, rows: NDArray[np.integer]) -> NDArray[np.int32]:
        """Decodes as many symbols as there are rows, from any bytes whatever.

        Missing bytes count as zeros, further ones are ignored; values beyond 32 bits are held at the limits. Time and
        memory follow the number of symbols and the length of the data.

        Arguments:
            data: What :meth:`encode` returned, or whatever became of it.
            rows: As given to :meth:`encode`, shape (n,).

        Returns:
            The symbols, shape (n,).

        Raises:
            SpecError: There is no such row.
        """
        coder, symbols, groups = _coder_of(data), np.zeros(len(rows), np.int64), list(self._places(rows))
        escaped = [np.zeros(0, np.int64)]
        for row, places in groups:
            size = len(self.frequencies[row])
            found = (np.asarray(coder.decode(self._models[row], len(places)), np.int64) + self._starts[row]) % size
            symbols[places] = found + self.offsets[row]
            escaped.append(places[found == size - 1])
        beyond = np.concatenate(escaped)
        distances = _decode_distances(coder, len(beyond))
        lowest = np.array(self.offsets, np.int64)[rows[beyond]]
        symbols[beyond] = np.where(distances & 1, lowest - 1 - (distances >> 1), symbols[beyond] + (distances >> 1))
        return symbols.clip(_INT32.min, _INT32.max).astype(np.int32)

    def _places(self, rows: NDArray[np.integer]) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """Yields the rows in use, ascending, and where their symbols are."""
        if len(rows) and not (rows.ndim == 1 and rows.min() >= 0 and rows.max() < len(self.offsets)):
            raise SpecError(f"expected rows from 0 to {len(self.offsets) - 1}, got {rows.min()} to {rows.max()}")
        order = np.argsort(rows, kind="stable")
        counts = np.bincount(rows, minlength=len(self.offsets)) if len(rows) else np.zeros(0, np.int64)
        ends = np.cumsum(counts)
        for row in np.flatnonzero(counts).tolist():
            yield row, order[ends[row] - counts[row] : ends[row]]

    @cached_property
    def _models(self) -> tuple[Categorical, ...]:
        rows = [np.roll(row, -start) for row, start in zip(self.frequencies, self._starts, strict=True)]
        return tuple(Categorical(row.astype(np.float64), lazy=False, perfect=False) for row in rows)

    @cached_property
    def _starts(self) -> tuple[int, ...]:
        """Places of the likeliest values."""
        return tuple(int(row.argmax()) for row in self.frequencies)


def _check_row(row: int, frequencies: NDArray[np.int64], offset: int) -> None:
    size = len(frequencies)
    if size < 2 or frequencies.min() < 1 or frequencies.sum() > MOST_TOTAL:
        total = f"{size} of sum {frequencies.sum()}, the smallest {frequencies.min() if size else None}"
        raise SpecError(f"row {row}: expected 2 or more frequencies from 1 on, sum up to {MOST_TOTAL}, got {total}")
    if not (_INT32.min <= offset and offset + size - 2 <= _INT32.max):
        raise SpecError(f"row {row}: expected values of 32 bits, got {offset} to {offset + size - 2}")


def _gaussian(scale: float) -> NDArray[np.int64]:
    """Returns the frequencies of -reach, ..., reach and the escape."""
    reach = math.ceil(_TAIL_SCALES * scale - 0.5)
    # Upper tails keep their relative precision, and math.erfc is the C library's: right to an ulp, rounded to 24 bits.
    tails = [0.5 * math.erfc((k - 0.5) / (scale * math.sqrt(2))) for k in range(reach + 2)]
    half = np.array([tails[k] - tails[k + 1] for k in range(1, reach + 1)])
    centre = 1 - 2 * tails[1]
    return _quantised(np.concatenate([half[::-1], [centre], half, [ESCAPE]]))


def _quantised(masses: NDArray[np.float64]) -> NDArray[np.int64]:
    total = float(masses.sum())
    if not (len(masses) >= 2 and masses.min() >= 0 and abs(total - 1) < _TOLERANCE):
        raise SpecError(f"expected 2 or more probabilities that sum to 1, got {len(masses)} of sum {total}")
    frequencies = np.maximum(np.rint(masses * MOST_TOTAL), 1).astype(np.int64)
    frequencies[frequencies.argmax()] += MOST_TOTAL - frequencies.sum()
    return frequencies


_LENGTHS = Categorical(0.5 ** np.arange(_MOST_BITS), lazy=False, perfect=False)


def _coder_of(data: bytes) -> AnsCoder:
    padded = data.ljust(-(-len(data) // 4) * 4, b"\0")
    words = np.frombuffer(padded, ">u4").astype(np.uint32)
    return AnsCoder(np.trim_zeros(words, "f")[::-1].copy())  # the coder takes no stack with a zero on top


def _encode_distances(coder: AnsCoder, distances: NDArray[np.int64]) -> None:
    """Codes integers from 0 to 2^34 - 2."""
    numbers = distances + 1
    extra = np.frexp(numbers.astype(np.float64))[1].astype(np.int64) - 1
    for start, bits, held in reversed(list(_digits(extra))):
        digits = numbers[held] >> start & (np.int64(1) << bits) - 1
        coder.encode_reverse(digits.astype(np.int32), Uniform(), _sizes(bits))
    coder.encode_reverse(extra.astype(np.int32), _LENGTHS)


def _decode_distances(coder: AnsCoder, count: int) -> NDArray[np.int64]:
    """Reads what :func:`_encode_distances` wrote."""
    extra = np.asarray(coder.decode(_LENGTHS, count), np.int64)
    numbers = np.int64(1) << extra
    for start, bits, held in _digits(extra):
        numbers[held] |= np.asarray(coder.decode(Uniform(), _sizes(bits)), np.int64) << start
    return numbers - 1


def _digits(extra: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.int64]]]:
    """Splits the bits below the leading one: where a part starts, its bits, and which numbers have any there."""
    for start, most in ((0, _LOW_BITS), (_LOW_BITS, _MOST_BITS - _LOW_BITS)):
        held = np.flatnonzero(extra > start)
        if len(held):
            yield start, np.minimum(extra[held] - start, most), held


def _sizes(bits: NDArray[np.int64]) -> NDArray[np.int32]:
    return (np.int64(1) << bits).astype(np.int32)
