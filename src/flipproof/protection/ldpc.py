r"""The low-density parity-check codes of 5G New Radio (3GPP TS 38.212), by belief propagation.

Hard decisions become log-likelihood ratios :math:`\pm \ln ((1 - p) / p)` of a binary symmetric channel with an assumed
bit error rate :math:`p`.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flipproof.bits import BitArray
from flipproof.errors import SpecError
from flipproof.protection.circular import combine, repeat
from flipproof.protection.code import ByteCode, Decoded
from flipproof.protection.library import load_library

__all__ = ["LDPC"]

MOST_DATA = 8448 // 8
LEAST_DATA = 2
LEAST_RATE, MOST_RATE = Fraction(1, 3), Fraction(948, 1024)
CERTAIN = 20.0
"""Log-likelihood ratio that counts as certain."""
UNDECIDED = 1e-3
"""A bit whose ratio stays closer to zero than this was not found out."""
ROUND = 5
"""Iterations before blocks that are done leave the batch."""
BATCH_BITS = 2**16
"""Bits decoded at once; the decoder needs about 300 bytes for each."""


@dataclass(frozen=True)
class LDPC(ByteCode):
    """A 5G LDPC code with the rate matching of the standard, redundancy version 0.

    A shortened block takes the code for half as much data, or a quarter and so on, if its data fit there; zeros fill up
    the rest and are not sent. The rate of that code goes down to 1/3; if a block has room for more, it starts again
    from its first bit.

    The standard never sends the first bits of the data (2 Z, a tenth to a third of a block); they follow from the rest.
    A block beyond repair has the received bits everywhere but there, where it has the decoder's best guess.

    Attributes:
        data: Data bytes of a full block, 2 to 1056.
        parity: Bytes beyond the data, so that the rate data / (data + parity) is 1/3 to 948/1024.
        ber: Bit error rate that is assumed where only bits are known, above 0 and below 0.5.
        iterations: Most iterations of the decoder, 1 to 1000.

    Raises:
        SpecError: A parameter is out of range.
    """

    name: ClassVar[str] = "ldpc"
    data: int = 256
    parity: int = 64
    ber: float = 0.01
    iterations: int = 40

    def __post_init__(self) -> None:
        if not LEAST_DATA <= self.data <= MOST_DATA:
            raise SpecError(f"ldpc: expected data from {LEAST_DATA} to {MOST_DATA} bytes, got {self.data}")
        least, most = math.ceil(self.data / MOST_RATE) - self.data, math.floor(self.data / LEAST_RATE) - self.data
        if not least <= self.parity <= most:
            raise SpecError(
                f"ldpc: expected parity from {least} to {most} bytes with data={self.data}, got {self.parity}"
            )
        if not 0 < self.ber < 0.5:
            raise SpecError(f"ldpc: expected ber above 0 and below 0.5, got {self.ber}")
        if not 1 <= self.iterations <= 1000:
            raise SpecError(f"ldpc: expected iterations from 1 to 1000, got {self.iterations}")

    def encode(self, data: BitArray) -> BitArray:  # noqa: D102 (inherited)
        length = data.shape[1]
        graph = self._graph(length)
        return repeat(graph.encode(data)[:, graph.sent(length)], length + self.parity_bits)

    def decode(self, received: BitArray, llr: NDArray[np.float32] | None = None) -> Decoded:  # noqa: D102 (inherited)
        ratio = np.float32(math.log((1 - self.ber) / self.ber))
        soft = np.where(received == 1, -ratio, ratio) if llr is None else np.clip(llr, -CERTAIN, CERTAIN)
        length = received.shape[1] - self.parity_bits
        graph = self._graph(length)
        sent = graph.sent(length)
        soft = combine(soft, len(sent))
        step = max(1, BATCH_BITS // len(sent))
        parts = [graph.decode(soft[i : i + step], length, self.iterations) for i in range(0, len(soft), step)]
        data = np.concatenate([np.zeros((0, length), np.uint8), *(part[0] for part in parts)])
        failed = np.concatenate([np.zeros(0, bool), *(part[1] for part in parts)])
        flips = np.count_nonzero(self.encode(data) != received, axis=1)
        places = np.flatnonzero(graph.data_places[sent] < length)
        raw = data.copy()
        raw[:, graph.data_places[sent[places]]] = received[:, places]
        return Decoded(np.where(failed[:, None], raw, data), np.where(failed, 0, flips), failed)

    def _graph(self, length: int) -> _Graph:
        """Returns the code that blocks with so many data bits take, of this thread."""
        size = self.data
        while 8 * -(-size // 2) >= max(length, 8 * LEAST_DATA):
            size = -(-size // 2)
        parity = min(self.parity, math.floor(size / LEAST_RATE) - size)
        if (size, parity) not in _LOCAL.graphs:
            _LOCAL.graphs[size, parity] = _Graph(8 * size, 8 * parity)
        return _LOCAL.graphs[size, parity]


class _Graph:
    """Encoder and decoder of unshortened blocks; not for several threads at once.

    Attributes:
        data_places: For every bit of a codeword the data bit it is, or more than any if it is parity.
    """

    def __init__(self, size: int, parity: int) -> None:
        library = load_library("sionna.phy.fec.ldpc")
        self._estimate = _Estimate()
        self._size = size
        options = {"precision": "single", "device": "cpu"}
        self._encoder: Any = library.LDPC5GEncoder(size, size + parity, **options)
        self._decoder: Any = library.LDPC5GDecoder(
            self._encoder,
            cn_update="boxplus-phi",
            num_iter=ROUND,
            llr_max=CERTAIN,
            return_state=True,
            v2c_callbacks=[self._estimate],
            **options,
        )
        self._checks = self._decoder.pcm.astype(np.int32)
        self._hidden = 2 * self._encoder.z
        places = self._hidden + np.arange(size + parity)
        self.data_places = np.where(places < size, places, 2 * size + parity)

    def sent(self, length: int) -> NDArray[np.int64]:
        """Returns which bits of a codeword a block with ``length`` data bits has, in the order of the block.

        A block starts with parity in the place of the data bits that are never sent, so that all other data bits stand
        where they do in the data.
        """
        data = np.flatnonzero(self.data_places < length)
        parity = np.flatnonzero(self.data_places >= self._size)
        parity = parity[: length + len(self.data_places) - self._size - len(data)]
        return np.concatenate([parity[: self._hidden], data, parity[self._hidden :]])

    def encode(self, data: BitArray) -> BitArray:
        """Returns codewords for data (B, k')."""
        if not len(data):
            return np.zeros((0, len(self.data_places)), np.uint8)
        filled = np.pad(data, ((0, 0), (0, self._size - data.shape[1])))
        coded: BitArray = self._encoder(torch.from_numpy(filled.astype(np.float32))).numpy().astype(np.uint8)
        return coded

    @torch.inference_mode()
    def decode(self, llr: NDArray[np.float32], length: int, iterations: int) -> tuple[BitArray, NDArray[np.bool_]]:
        """Returns data (B, k') and which blocks break a parity check."""
        unsent = np.where(self.data_places < self._size, CERTAIN, 0).astype(np.float32)
        full = np.tile(unsent, (len(llr), 1))
        full[:, self.sent(length)] = llr
        logits = -torch.from_numpy(full)
        bits, failed = np.zeros((len(llr), length), np.uint8), np.ones(len(llr), bool)
        rest, state = np.arange(len(llr)), None
        for start in range(0, iterations, ROUND):
            _, state = self._decoder(logits[rest], num_iter=min(ROUND, iterations - start), msg_v2c=state)
            ratios = self._estimate.ratios.numpy()
            word = (ratios < 0).astype(np.int32)
            bits[rest] = word[:, :length]
            done = (self._checks @ word.T % 2 == 0).all(axis=0) & (np.abs(ratios) > UNDECIDED).all(axis=1)
            done &= ~word[:, length : self._size].any(axis=1)
            failed[rest[done]] = False
            rest, state = rest[~done], state[torch.from_numpy(~done)]
            if not len(rest):
                break
        return bits, failed


class _Estimate:
    """Remembers what the decoder makes of every bit of its graph, as log-likelihood ratios (B, bits)."""

    ratios: Tensor

    def __call__(self, messages: Tensor, iteration: int, ratios: Tensor) -> Tensor:
        self.ratios = ratios
        return messages


class _Local(threading.local):
    """Graphs of its own for every thread, by data and parity bytes."""

    def __init__(self) -> None:
        self.graphs: dict[tuple[int, int], _Graph] = {}


_LOCAL = _Local()
