"""Convolutional codes of rate 1/2 and 1/3, ended in the zero state, decoded by Viterbi's algorithm."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from flipproof.bits import BitArray
from flipproof.errors import SpecError
from flipproof.protection.circular import combine, repeat
from flipproof.protection.code import Code, Decoded
from flipproof.protection.library import load_library

__all__ = ["Convolutional"]

MOST_DATA = 512
CERTAIN = 20.0
"""Log-likelihood ratio that counts as certain; keeps the sums of a path exact enough."""
BATCH_BITS = 2**17
"""Data bits decoded at once; the decoder needs up to 2 kB for each."""


@dataclass(frozen=True)
class Convolutional(Code):
    """A feed-forward convolutional code with the polynomials of greatest free distance.

    The most likely codeword is found whatever is received, so only a block of which no bit arrived is reported as
    beyond repair. The code is not systematic: nothing of a block can be read without its decoder. Where a block has
    room for more bits than the code gives (it is shortened, or does not fill its last byte), it starts again from its
    first bit.

    Attributes:
        data: Data bytes of a full block, 1 to 512.
        outputs: Bits sent for each data bit, 2 or 3.
        memory: Bits the encoder remembers, 2 to 7; 2^memory states.

    Raises:
        SpecError: A parameter is out of range.
    """

    name: ClassVar[str] = "convolutional"
    data: int = 128
    outputs: int = 2
    memory: int = 6

    def __post_init__(self) -> None:
        for field, most, least in (("data", MOST_DATA, 1), ("outputs", 3, 2), ("memory", 7, 2)):
            if not least <= getattr(self, field) <= most:
                raise SpecError(f"convolutional: expected {field} from {least} to {most}, got {getattr(self, field)}")

    @property
    def data_bits(self) -> int:
        """Data bits of a full block."""
        return 8 * self.data

    @property
    def parity_bits(self) -> int:
        """Bits of a block beyond its data."""
        return (self.outputs - 1) * self.data_bits + -(-self.outputs * self.memory // 8) * 8

    def encode(self, data: BitArray) -> BitArray:  # noqa: D102 (inherited)
        return repeat(self._encode(data), data.shape[1] + self.parity_bits)

    def decode(self, received: BitArray, llr: NDArray[np.float32] | None = None) -> Decoded:  # noqa: D102 (inherited)
        soft = 1 - 2 * received.astype(np.float32) if llr is None else np.clip(llr, -CERTAIN, CERTAIN)
        length = received.shape[1] - self.parity_bits
        sums = combine(soft, self.outputs * (length + self.memory))
        step = max(1, BATCH_BITS // length)
        parts = [self._viterbi(sums[i : i + step]) for i in range(0, len(sums), step)]
        data = np.concatenate([np.zeros((0, length), np.uint8), *parts])
        failed: NDArray[np.bool_] = np.count_nonzero(soft, axis=1) == 0
        flips = np.count_nonzero(self.encode(data) != received, axis=1)
        return Decoded(data, np.where(failed, 0, flips), failed)

    @cached_property
    def _polynomials(self) -> Any:  # noqa: ANN401 (from a library without types)
        library = load_library("sionna.phy.fec.conv")
        return library.polynomial_selector(1 / self.outputs, self.memory + 1)

    def _options(self) -> dict[str, Any]:
        return {"gen_poly": self._polynomials, "terminate": True, "precision": "single", "device": "cpu"}

    def _encode(self, data: BitArray) -> BitArray:
        """Returns the outputs (B, outputs (k' + memory)) for data (B, k')."""
        if not len(data):
            return np.zeros((0, self.outputs * (data.shape[1] + self.memory)), np.uint8)
        encoder = load_library("sionna.phy.fec.conv").ConvEncoder(**self._options())
        coded: BitArray = encoder(torch.from_numpy(data.astype(np.float32))).numpy().astype(np.uint8)
        return coded

    @torch.inference_mode()
    def _viterbi(self, llr: NDArray[np.float32]) -> BitArray:
        """Returns the most likely data for log-likelihood ratios of the outputs."""
        decoder = load_library("sionna.phy.fec.conv").ViterbiDecoder(method="soft_llr", **self._options())
        data: BitArray = decoder(torch.from_numpy(-llr)).numpy().astype(np.uint8)
        return data
