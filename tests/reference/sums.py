"""The repeat-accumulate codes: their checks, and the words that damaged blocks stand for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from reference.stream import words

FLIPPED = 0.01
"""Share of the known bits that is taken to be wrong."""
ROUNDS = 60


@dataclass(frozen=True)
class SumCode:
    """The code with so many bits of data and of parity."""

    data: int
    parity: int

    @property
    def parity_bytes(self) -> int:
        return self.parity // 8

    @property
    def degree(self) -> int:
        return self.parity

    @cached_property
    def edges(self) -> tuple[np.ndarray, np.ndarray]:
        """The check and the bit of every pair of them, by checks."""
        often = self.data * 7 // 20
        stream = words(12 * often + 3 * (self.data - often), purpose="accumulate", data=self.data, parity=self.parity)
        pairs = []
        for first, last, copies in ((0, often, 12), (often, self.data, 3)):
            drawn, stream = np.split(stream, [copies * (last - first)])
            draws = [np.argsort(part, kind="stable").tolist() for part in np.split(drawn, copies)]
            if copies == 3:
                self.part(draws)
            for copy, draw in enumerate(draws):
                pairs += [(self.line(copy, copies, turn), first + bit) for turn, bit in enumerate(draw)]
        pairs += [(line, self.data + line) for line in range(self.parity)]
        pairs += [(line, self.data + line - 1) for line in range(1, self.parity)]
        checks, bits = np.array(sorted(pairs)).T
        return checks, bits

    def line(self, copy: int, copies: int, turn: int) -> int:
        """The check of the bit with a turn in the draw for a copy."""
        return copy + copies * (turn % len(range(copy, self.parity, copies)))

    def part(self, draws: list[list[int]]) -> None:
        """Makes bits with three copies differ in one of their checks at least."""
        last = draws[2]
        for _ in range(8):
            met: dict[int, tuple[int, ...]] = {bit: () for bit in last}
            for copy, draw in enumerate(draws):
                for turn, bit in enumerate(draw):
                    met[bit] += (self.line(copy, 3, turn),)
            lowest: dict[tuple[int, ...], int] = {}
            for bit in sorted(met):
                lowest.setdefault(met[bit], bit)
            for turn in [turn for turn, bit in enumerate(last) if lowest[met[bit]] != bit]:
                after = (turn + 1) % len(last)
                last[turn], last[after] = last[after], last[turn]

    def unmet(self, word: np.ndarray) -> np.ndarray:
        """Whether each check fails."""
        checks, bits = self.edges
        return np.bincount(checks, word[bits], self.parity).astype(int) % 2 == 1

    def repair(self, block: np.ndarray, known: np.ndarray) -> np.ndarray | None:
        """Returns the word that a block stands for, or None: beliefs in terms of P(0) - P(1)."""
        checks, bits = self.edges
        own = np.where(known, (1 - 2.0 * block) * np.log((1 - FLIPPED) / FLIPPED), 0.0)
        told = np.zeros(len(bits))
        starts = np.searchsorted(checks, np.arange(self.parity))
        for _ in range(ROUNDS):
            total = own + np.bincount(bits, told, len(block))
            word = (total < 0).astype(np.uint8)
            if total.all() and not self.unmet(word).any():
                return word
            lean = np.tanh((total[bits] - told) / 2)
            lean = np.where(np.abs(lean) < 1e-12, 1e-12, lean)
            rest = np.multiply.reduceat(lean, starts)[checks] / lean
            told = 2 * np.arctanh(np.clip(rest, -1 + 1e-12, 1 - 1e-12))
        return None
