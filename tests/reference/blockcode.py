"""The BCH codes: their words, and the words that damaged blocks stand for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

PRIMITIVE = {6: 0x43, 10: 0x409}


@dataclass(frozen=True)
class BlockCode:
    """The narrow-sense BCH code of length 2^m - 1 that repairs t flips.

    Bits of a block are the coefficients of a polynomial, the highest first; blocks are shortened.
    """

    m: int
    t: int

    @property
    def order(self) -> int:
        return 2**self.m - 1

    @cached_property
    def powers(self) -> np.ndarray:
        """The powers of a root of the primitive polynomial."""
        powers = [1]
        while len(powers) < self.order:
            doubled = powers[-1] << 1
            powers.append(doubled ^ PRIMITIVE[self.m] if doubled >> self.m else doubled)
        return np.array(powers)

    @cached_property
    def logs(self) -> dict[int, int]:
        return {int(power): exponent for exponent, power in enumerate(self.powers)}

    @cached_property
    def generator(self) -> int:
        """The least common multiple of the minimal polynomials of alpha, alpha^2, ..., alpha^(2 t)."""
        product, roots = 1, set()
        for exponent in range(1, 2 * self.t + 1):
            if exponent not in roots:
                conjugates = {exponent * 2**i % self.order for i in range(self.m)}
                roots |= conjugates
                product = _times(product, self._minimal_polynomial(conjugates))
        return product

    @property
    def degree(self) -> int:
        return self.generator.bit_length() - 1

    @property
    def parity_bytes(self) -> int:
        return -(-self.degree // 8)

    def remainder(self, polynomial: int) -> int:
        """The remainder of a polynomial by the generator."""
        while polynomial.bit_length() > self.degree:
            polynomial ^= self.generator << (polynomial.bit_length() - self.degree - 1)
        return polynomial

    def word(self, data: np.ndarray) -> np.ndarray:
        """Data bits with their parity."""
        parity = self.remainder(_number(data) << self.degree)
        return np.concatenate([data, _digits(parity, self.degree)])

    def repair(self, block: np.ndarray, known: np.ndarray) -> np.ndarray | None:
        """Returns the word that a block stands for, or None."""
        unknown = np.flatnonzero(~known)
        if not len(unknown):
            return self.corrected(block)
        found = self.solved(block, unknown)
        for value in (0, 1):
            if found is None and len(unknown) <= 2 * self.t:
                filled = block.copy()
                filled[unknown] = value
                found = self.corrected(filled)
        return found

    def solved(self, block: np.ndarray, unknown: np.ndarray) -> np.ndarray | None:
        """Returns the only word with other bits in the unknown places only, or None."""
        rest = block.copy()
        rest[unknown] = 0
        basis: dict[int, tuple[int, int]] = {}
        for index, place in enumerate(unknown):
            column, used = _reduced(self.remainder(1 << int(len(block) - 1 - place)), 1 << index, basis)
            if not column:
                return None
            basis[column.bit_length()] = column, used
        left, ones = _reduced(self.remainder(_number(rest)), 0, basis)
        if left:
            return None
        rest[unknown] = _digits(ones, len(unknown))[::-1]
        return rest

    def corrected(self, block: np.ndarray) -> np.ndarray | None:
        """Returns the word within t flips (Berlekamp and Massey), or None."""
        places = np.arange(len(block) - 1, -1, -1)
        ones = places[block == 1]
        exponents = np.arange(1, 2 * self.t + 1)[:, None]
        syndromes = np.bitwise_xor.reduce(self.powers[exponents * ones % self.order], axis=1).tolist()
        if not any(syndromes):
            return block
        locator = self._locator(syndromes)
        values = np.zeros(len(block), np.int64)
        for degree, coefficient in enumerate(locator):
            if coefficient:
                values ^= self.powers[(self.logs[coefficient] - degree * places) % self.order]
        wrong = values == 0
        if len(locator) - 1 > self.t or wrong.sum() != len(locator) - 1:
            return None
        return block ^ wrong

    def _locator(self, syndromes: list[int]) -> list[int]:
        """The shortest recurrence of the syndromes."""
        now, before, gap, last = [1], [1], 1, 1
        length = 0
        for index, syndrome in enumerate(syndromes):
            terms = (self._product(now[i], syndromes[index - i]) for i in range(1, min(len(now), index + 1)))
            difference = syndrome
            for term in terms:
                difference ^= term
            if difference:
                scale = self._product(difference, self._inverse(last))
                changed = now + [0] * (len(before) + gap - len(now))
                for i, coefficient in enumerate(before):
                    changed[i + gap] ^= self._product(scale, coefficient)
                if 2 * length <= index:
                    length, before, last, gap = index + 1 - length, now, difference, 0
                now = changed
            gap += 1
        while not now[-1]:
            now.pop()
        return now

    def _minimal_polynomial(self, exponents: set[int]) -> int:
        """The product of all x + alpha^k, whose coefficients are 0 and 1."""
        product = [1]
        for exponent in exponents:
            scaled = [self._product(coefficient, int(self.powers[exponent])) for coefficient in product]
            product = [a ^ b for a, b in zip([0, *product], [*scaled, 0], strict=True)]
        return sum(coefficient << i for i, coefficient in enumerate(product))

    def _product(self, a: int, b: int) -> int:
        return int(self.powers[(self.logs[a] + self.logs[b]) % self.order]) if a and b else 0

    def _inverse(self, a: int) -> int:
        return int(self.powers[-self.logs[a] % self.order])


def _times(a: int, b: int) -> int:
    """The product of two polynomials over GF(2)."""
    product = 0
    while b:
        product ^= a * (b & 1)
        a, b = a << 1, b >> 1
    return product


def _reduced(vector: int, used: int, basis: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """Adds members of a basis, by their leading bits, until nothing or a new leading bit is left."""
    while vector.bit_length() in basis:
        other, others = basis[vector.bit_length()]
        vector, used = vector ^ other, used ^ others
    return vector, used


def _number(bits: np.ndarray) -> int:
    return int("".join(map(str, bits.tolist())) or "0", 2)


def _digits(number: int, width: int) -> np.ndarray:
    return np.array([int(digit) for digit in f"{number:0{width}b}"[:width]], np.uint8)
