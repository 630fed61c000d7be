"""Reed-Solomon codes over bytes: half as many wrong bytes repaired as there are of parity, or twice that if known.

Where a receiver knows more than bits, bytes with an erased bit are erased. What that leaves is tried again with more of
the least reliable bytes erased, and of all codewords found the one least against the received reliabilities is taken
(generalised minimum distance, Forney 1966).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from flipproof.bits import BitArray
from flipproof.errors import SpecError
from flipproof.protection.code import ByteCode, Decoded
from flipproof.protection.library import load_library

__all__ = ["ReedSolomon"]

LONGEST = 255
"""Bytes of the longest block."""
SPARE = 16
"""Bytes of parity that erasing doubtful bytes leaves over. With s to spare, one in (s / 2)! words passes as right."""

ByteArray = NDArray[np.uint8]


@dataclass(frozen=True)
class ReedSolomon(ByteCode):
    r"""A Reed-Solomon code over GF(2^8), field polynomial 0x11D, roots :math:`\alpha^0, \alpha^1, \dots`, shortened.

    Attributes:
        data: Data bytes of a full block, from 1.
        parity: Parity bytes, from 2; half as many wrong bytes are repaired, or as many erased ones.

    Raises:
        SpecError: A parameter is out of range, or a block has more than 255 bytes.
    """

    name: ClassVar[str] = "rs"
    data: int = 223
    parity: int = 32

    def __post_init__(self) -> None:
        if self.data < 1 or self.parity < 2 or self.data + self.parity > LONGEST:
            got = f"{self.data} and {self.parity}"
            raise SpecError(f"rs: expected data from 1 and parity from 2 bytes, {LONGEST} together at most, got {got}")

    def encode(self, data: BitArray) -> BitArray:  # noqa: D102 (inherited)
        coded = b"".join(self._codec.encode(block.tobytes()) for block in np.packbits(data, axis=1))
        return np.unpackbits(np.frombuffer(coded, np.uint8)).reshape(len(data), data.shape[1] + self.parity_bits)

    def decode(self, received: BitArray, llr: NDArray[np.float32] | None = None) -> Decoded:  # noqa: D102 (inherited)
        words, repaired = np.packbits(received, axis=1), received.copy()
        failed = np.zeros(len(received), bool)
        for index, word in enumerate(words):
            found = self._correct(word, []) if llr is None else self._correct_soft(word, llr[index])
            failed[index] = found is None
            if found is not None:
                repaired[index] = np.unpackbits(found)
        flips = np.count_nonzero(repaired != received, axis=1)
        return Decoded(repaired[:, : received.shape[1] - self.parity_bits], flips, failed)

    @cached_property
    def _codec(self) -> Any:  # noqa: ANN401 (from a library without types)
        return load_library("reedsolo").RSCodec(self.parity, nsize=LONGEST)

    def _correct(self, word: ByteArray, erased: list[int]) -> ByteArray | None:
        """Returns the codeword with at most (parity - erased) / 2 other bytes changed, or None."""
        try:
            _, whole, _ = self._codec.decode(word.tobytes(), erase_pos=erased)
        except load_library("reedsolo").ReedSolomonError:
            return None
        return np.frombuffer(bytes(whole), np.uint8)

    def _correct_soft(self, word: ByteArray, llr: NDArray[np.float32]) -> ByteArray | None:
        """Returns the codeword found that is least against the reliabilities of the bits, or None."""
        reliability = np.abs(llr)
        right = -np.logaddexp(0, -reliability).reshape(len(word), 8).sum(axis=1)
        order = np.argsort(right, kind="stable").tolist()
        erased = int((reliability.reshape(len(word), 8) == 0).any(axis=1).sum())
        if erased <= self.parity and (found := self._correct(word, order[:erased])) is not None:
            return found
        least = erased + 1 if erased <= self.parity else 0
        most = min(int((right < 0).sum()), self.parity - SPARE)
        bits = np.unpackbits(word)
        return min(
            self._guesses(word, order, least, most),
            key=lambda guess: float(reliability[np.unpackbits(guess) != bits].sum()),
            default=None,
        )

    def _guesses(self, word: ByteArray, order: list[int], least: int, most: int) -> Iterator[ByteArray]:
        """Yields codewords with more and more of the least reliable bytes erased."""
        counts = {share * most // 3 for share in range(1, 4)}
        for count in sorted(count for count in counts if count >= least):
            if (found := self._correct(word, order[:count])) is not None:
                yield found
