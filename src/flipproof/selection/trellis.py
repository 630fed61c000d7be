r"""Trellis-coded steering: every bit shifts into a window, and every window names a short codeword.

The samples of a step, rotated by the codebook, are cut into :math:`T` blocks, one for each bit. The bits stand in a
circle. The window of block :math:`t` is its own bit and the :math:`L - 1` before it,

.. math:: w_t = \sum_{j < L} b_{t - j} 2^j,

and the block takes codeword :math:`w_t` of :math:`2^L` fixed ones on a sphere, the same for all blocks. The encoder
finds the bits whose codewords have the largest inner product with the residual, by the Viterbi algorithm. This is
random trellis source coding (Viterbi and Omura, 1974, https://doi.org/10.1109/TIT.1974.1055239) on a de Bruijn graph;
it comes within a tenth of the rate-distortion bound at any rate up to half a bit per sample, and a flipped bit changes
:math:`L` neighbouring blocks and nothing else.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from flipproof.codebook.base import Codebook
from flipproof.codebook.gaussian import GaussianCodebook
from flipproof.codebook.rotated import random_signs
from flipproof.errors import SpecError
from flipproof.seeds import derive
from flipproof.selection.base import unit_variance

__all__ = ["MOST_WINDOW", "Blocks", "TrellisSteering", "codewords", "select_trellis", "windows"]

MOST_WINDOW = 15
DIMENSIONS = 32
"""Longest codeword; longer blocks repeat it under random signs, which costs next to nothing."""
SEGMENT = 2048
"""Bits of a segment; segments are searched side by side."""
ABREAST = 1 << 14
"""States times segments searched at a time."""
SLAB = 16
"""Steps of the search whose inner products are made at a time."""
RUN_IN = 6
"""Bits searched before and after a segment, over the window: survivors have merged by then."""
CLOSED_WORK = 2**19
"""States times first states times bits of a circle that is searched closed."""


@cache
def codewords(size: int, window: int) -> Tensor:
    r"""Returns :math:`2^L` codewords of norm :math:`\sqrt{\text{size}}`, with shape (2^L, size), float32.

    Rows of a Gaussian codebook, scaled to one sphere.

    Arguments:
        size: Samples of a codeword, 1 to 32.
        window: Bits L of a window.
    """
    book = GaussianCodebook(size=size, atoms=1 << window, step=0)
    rows = book.analyse(torch.eye(size)).T.contiguous()
    words: Tensor = rows * (math.sqrt(size) / rows.norm(dim=1, keepdim=True))
    return words


@dataclass(frozen=True)
class Blocks:
    """How the samples of a step are cut into blocks: the first ones have one sample more than the others.

    Attributes:
        samples: Samples n of the step.
        count: Blocks T, at most n.
        window: Bits L of a window.

    Raises:
        SpecError: If one of them is out of range.
    """

    samples: int
    count: int
    window: int

    def __post_init__(self) -> None:
        if not 1 <= self.count <= self.samples:
            raise SpecError(f"expected 1 to {self.samples} blocks, got {self.count}")
        if not 2 <= self.window <= MOST_WINDOW:
            raise SpecError(f"expected a window of 2 to {MOST_WINDOW} bits, got {self.window}")

    @property
    def size(self) -> int:
        """Samples of the shorter blocks."""
        return self.samples // self.count

    @property
    def longer(self) -> int:
        """Blocks with one sample more."""
        return self.samples % self.count

    @property
    def regions(self) -> list[tuple[int, int, int]]:
        """First block, number of blocks, and samples of each, of the longer and of the shorter blocks."""
        spans = [(0, self.longer, self.size + 1), (self.longer, self.count - self.longer, self.size)]
        return [(start, n, size) for start, n, size in spans if n]

    def signed(self, samples: Tensor) -> Tensor:
        """Returns samples (..., n) under the signs that keep repeated codewords from being periodic."""
        if self.size + bool(self.longer) <= DIMENSIONS:
            return samples
        signs = random_signs(self.samples, derive(purpose="trellis signs", size=self.samples))
        return samples * signs.to(samples.device)

    def spread(self, chosen: Tensor, weights: Tensor) -> Tensor:
        """Returns the samples (B, n) of blocks that take the codewords ``chosen`` (B, T) with weights (B, T)."""
        samples, done = weights.new_empty(len(chosen), self.samples), 0
        for start, n, size in self.regions:
            words = codewords(min(size, DIMENSIONS), self.window).to(chosen.device)
            picked = words[chosen[:, start : start + n]].mul_(weights[:, start : start + n, None])
            repeated = picked.repeat(1, 1, -(-size // DIMENSIONS))[..., :size] if size > DIMENSIONS else picked
            samples[:, done : done + n * size] = repeated.flatten(1)
            done += n * size
        return self.signed(samples)

    def folded(self, vector: Tensor) -> tuple[Tensor, Tensor]:
        """Returns factors (T, d) and (2^L, d) whose product is the inner products of all blocks with all codewords."""
        vector = self.signed(vector)
        widths = sorted({min(size, DIMENSIONS) for _, _, size in self.regions})
        left, done = [], 0
        for _, n, size in self.regions:
            width = min(size, DIMENSIONS)
            rows = functional.pad(vector[done : done + n * size].view(n, size), (0, -size % width))
            margins = (sum(w for w in widths if w < width), sum(w for w in widths if w > width))
            left.append(functional.pad(rows.view(n, -1, width).sum(dim=1), margins))
            done += n * size
        return torch.cat(left), torch.cat([codewords(width, self.window) for width in widths], dim=1)


@dataclass(frozen=True)
class TrellisSteering:
    """Codewords for a batch of chains.

    Attributes:
        blocks: Where they go.
        chosen: Numbers of codewords with shape (B, T), int64.
        weights: 1, or less where a window is in doubt, 0 where it was lost, with shape (B, T), float32.
    """

    blocks: Blocks
    chosen: Tensor
    weights: Tensor

    @property
    def share(self) -> float:
        """Share of the codewords that were not lost, from 0 to 1."""
        return float((self.weights != 0).float().mean())

    def to(self, device: str) -> TrellisSteering:
        """Returns the same on a device."""
        return TrellisSteering(self.blocks, self.chosen.to(device), self.weights.to(device))

    def steer(self, codebook: Codebook) -> Tensor:
        """Returns the rotated codewords, scaled to unit variance (B, n)."""
        return unit_variance(codebook.combine(self.blocks.spread(self.chosen, self.weights)), codebook)


def windows(bits: NDArray[np.uint8], window: int) -> NDArray[np.int64]:
    """Returns the windows of bits that stand in circles, both with shape (B, T).

    Example:
        >>> windows(np.array([[1, 0, 0, 1]], np.uint8), 3).tolist()
        [[3, 6, 4, 1]]
    """
    chosen = np.zeros(bits.shape, np.int64)
    for j in range(window):
        chosen |= np.roll(bits, j, axis=-1).astype(np.int64) << j
    return chosen


def select_trellis(coefficients: Tensor, blocks: Blocks) -> NDArray[np.uint8]:
    """Returns the bits (T,) whose codewords have the largest inner product with the rotated residual.

    A long circle is cut into segments, each searched with a run-in on both sides and open ends. A short one is searched
    closed, and the shortest from every state, so that no other bits are better.

    Arguments:
        coefficients: The residual's inner products with the atoms of the codebook, with shape (n,).
        blocks: How they are cut.
    """
    factors, words = blocks.folded(coefficients.detach().float().cpu())
    factors = factors / factors.abs().mean().clamp(min=1e-20)
    if blocks.count <= SEGMENT:
        return _search_circle(factors, words, blocks)
    segments, abreast = -(-blocks.count // SEGMENT), max(1, ABREAST >> blocks.window - 1)
    length, run_in = -(-blocks.count // segments), RUN_IN * blocks.window
    starts = np.arange(segments) * length - run_in
    found = []
    for first in range(0, segments, abreast):
        places = (starts[first : first + abreast, None] + np.arange(length + 2 * run_in)) % blocks.count
        score = np.zeros((len(places), 1 << blocks.window - 1), np.float32)
        older = _search(score, factors, words, places)
        found.append(_trace(score.argmax(axis=1), older)[:, run_in : run_in + length])
    return np.concatenate(found).ravel()[: blocks.count]


def _search_circle(factors: Tensor, words: Tensor, blocks: Blocks) -> NDArray[np.uint8]:
    """Searches a circle closed: from each of the likeliest states, or from all, back to it."""
    count, memory = blocks.count, blocks.window - 1
    score = np.zeros((1, 1 << memory), np.float32)
    _search(score, factors, words, np.arange(-RUN_IN * blocks.window, 0)[None] % count)
    first = np.arange(1 << memory)
    first = first[first >> count == first & (1 << max(0, memory - count)) - 1]  # the bits of short circles repeat
    first = first[np.argsort(-score[0, first])][: max(1, CLOSED_WORK // (count << memory))]
    score = np.full((len(first), 1 << memory), -np.inf, np.float32)
    score[np.arange(len(first)), first] = 0
    older = _search(score, factors, words, np.arange(count)[None])
    best = [score[np.arange(len(first)), first].argmax()]
    bits: NDArray[np.uint8] = _trace(first[best], older[:, best])[0]
    return bits


def _search(score: NDArray[np.float32], factors: Tensor, words: Tensor, places: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Runs the Viterbi algorithm along rows of places, (S, N) or one for all (1, N).

    Arguments:
        score: Scores of the states (S, 2^(L-1)) before the first place, changed to those after the last.
        factors: Factors of the blocks; see :meth:`Blocks.folded`.
        words: Factors of the codewords.
        places: Numbers of the blocks.

    Returns:
        Whether the survivor of every state came from the one with the oldest bit set, with shape (N, S, 2^(L-1)); those
        of all states with the newest bit clear come first.
    """
    (paths, count), (rows, states) = places.shape, score.shape
    older = np.empty((count, rows, states), np.bool_)
    both = np.empty((rows, 2, 2, states // 2), np.float32)
    words = words.view(2, states // 2, 2, -1).transpose(1, 2).reshape(2 * states, -1)
    before, after = score.reshape(rows, 2, 1, -1), score.reshape(rows, -1, 2).transpose(0, 2, 1)
    for start in range(0, count, SLAB):
        slab = torch.from_numpy(places[:, start : start + SLAB].T.ravel())
        gains = (factors[slab] @ words.T).numpy().reshape(-1, paths, 2, 2, states // 2)
        for t, gain in enumerate(gains, start):
            # state 2 p + b is reached from p and from p + 2^(L-2), without and with the oldest bit
            np.add(before, gain, out=both)
            np.greater(both[:, 1], both[:, 0], out=older[t].reshape(rows, 2, -1))
            np.maximum(both[:, 0], both[:, 1], out=after)
        score -= score.max()
    return older


def _trace(state: NDArray[np.int64], older: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Follows the survivors back from their last states."""
    count, rows, states = older.shape
    bits = np.empty((rows, count), np.uint8)
    every = np.arange(rows)
    for t in range(count - 1, -1, -1):
        bits[:, t] = state & 1
        place = (state >> 1) + (state & 1) * (states >> 1)
        state = (state >> 1) + older[t, every, place] * (states >> 1)
    return bits
