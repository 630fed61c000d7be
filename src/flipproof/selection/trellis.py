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
from functools import cache, lru_cache
from typing import TypeVar

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

State = TypeVar("State", int, NDArray[np.int64])

MOST_WINDOW = 15
DIMENSIONS = 32
"""Longest codeword; longer blocks repeat it under random signs, which costs next to nothing."""
RUN_IN, LEAST_RUN_IN = 6, 48
"""Bits searched before a segment, over L - 1, and the least: not to know its first state costs little by then."""
AHEAD = 16
"""Bits from which survivors are followed back to the end of a circle, over L - 1: they have merged by then."""
LAPS = 3
"""Times that survivors are followed round a circle that they do not close."""
SHORT = 64
"""Bits from which a circle is searched from a run-in."""
CLOSABLE = 512
"""Bits from which a circle that survivors do not close may stay open: it costs the gain of L - 1 bits."""
SEAM = 5
"""Least bits of one of several segments, over L - 1."""
LONGEST = 2048
"""Most steps of a search: float32 holds the sum of their scores."""
SURVIVORS = 1 << 25
"""Most bytes of survivors that are held at a time."""
SLAB = 1 << 21
"""Most inner products that a search of one segment makes at a time."""
STEP_COST = 3000
"""Nanoseconds that a step of a search takes besides those for each state."""
STATE_COST = {1: 2, 16: 22, 32: 36, 64: 70}
"""Nanoseconds for each state, by the segments that are searched side by side; products of other widths are slow."""
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

    A circle is searched from a run-in and its survivors are followed round it; a long one is cut into segments that are
    searched side by side. A short one is searched closed, and the shortest from every state, so that no other bits are
    better.

    Arguments:
        coefficients: The residual's inner products with the atoms of the codebook, with shape (n,).
        blocks: How they are cut.
    """
    factors = blocks.folded(coefficients.detach().float().cpu())[0]
    factors = factors / factors.abs().mean().clamp(min=1e-20)
    words = _turned(tuple(sorted({min(size, DIMENSIONS) for _, _, size in blocks.regions})), blocks.window)
    if blocks.count < SHORT:
        return _search_closed(factors, words, _likeliest(factors, words))
    return _search_round(factors, words)


@lru_cache(maxsize=2)
def _turned(widths: tuple[int, ...], window: int) -> Tensor:
    """Returns the factors of the codewords as each of L - 1 steps in a row needs them, with shape (L-1, 2^L, d).

    The bits of a state stay at their places; the newest one takes the place of the oldest, from the highest place down.
    Codewords are ordered by the bit that leaves, then by the new state.
    """
    words = torch.cat([codewords(width, window) for width in widths], dim=1)
    places = reversed(range(window - 1))
    turns = [words.view(2, 1 << place, 1 << window - 2 - place, 2, -1).permute(0, 2, 3, 1, 4) for place in places]
    return torch.stack([turn.reshape(words.shape) for turn in turns])


def _placed(state: State, steps: int, memory: int) -> State:
    """Returns states whose newest bit was the lowest as a search has them after some steps."""
    turn = -steps % memory
    return (state << turn | state >> memory - turn) & (1 << memory) - 1


def _abreast(count: int, memory: int) -> int:
    """Returns how many segments of a circle are searched fastest side by side, without too many survivors."""
    run_in = max(LEAST_RUN_IN, RUN_IN * memory)
    costs = {
        rows: (count / rows + run_in) * (STEP_COST + (cost << memory))
        for rows, cost in STATE_COST.items()
        if rows == 1 or (4 * run_in * rows << memory <= SURVIVORS and count >= SEAM * memory * rows)
    }
    return min(costs, key=costs.__getitem__)


def _search_round(factors: Tensor, words: Tensor) -> NDArray[np.uint8]:
    """Searches segments of a circle, each from a run-in, and follows the survivors from one to the one before it.

    Where all segments would take too much memory, groups of them are searched from the last to the first.
    """
    count, memory = len(factors), len(words)
    run_in, rows = max(LEAST_RUN_IN, RUN_IN * memory), _abreast(count, memory)
    longest = min(LONGEST, (SURVIVORS >> memory) // rows) - run_in
    segments = -(-count // (rows * longest)) * rows
    bounds = np.arange(segments + 1) * count // segments
    kept = np.diff(bounds).tolist()
    steps = np.arange(-run_in - max(kept), 0)[:, None]
    if segments == rows:
        older, states = _search(factors, words, (bounds[1:] + steps) % count)
        bits, closed = _close(older, states, kept)
        return bits if closed else _search_closed(factors, words, windows(bits[None], memory)[:, -1])
    older, states = _search(factors, words, np.arange(-run_in, AHEAD * memory)[:, None] % count)
    state, found = _follow(older, states[0], [AHEAD * memory])[1], []
    for first in reversed(range(0, segments, rows)):
        older = _search(factors, words, (bounds[first + 1 : first + rows + 1] + steps) % count)[0]
        bits, state = _follow(older, state, kept[first : first + rows])
        found.append(bits)
    return np.roll(np.concatenate(found[::-1]), -memory)


def _close(older: NDArray[np.bool_], states: list[int], kept: list[int]) -> tuple[NDArray[np.uint8], bool]:
    """Follows survivors round a circle, from the best last states of its segments, until they end where they began.

    Returns:
        The bits, and whether they close the circle, or are so many that it does not matter.
    """
    count, memory = sum(kept), older.shape[1].bit_length() - 1
    ahead = min(len(kept), 1 + AHEAD * memory * len(kept) // count)
    state = _follow(older, states[ahead - 1], kept[:ahead])[1]
    start, laps = -1, 0
    while state != start and laps < LAPS:
        start, laps = state, laps + 1
        bits, state = _follow(older, start, kept)
    return np.roll(bits, -memory), state == start or count >= CLOSABLE


def _follow(older: NDArray[np.bool_], state: int, kept: list[int]) -> tuple[NDArray[np.uint8], int]:
    """Follows the survivors back from the last state of neighbouring columns, from each column to the one before it.

    Arguments:
        older: What a search returned, with shape (N, 2^(L-1), S).
        state: The last state, its newest bit lowest.
        kept: Steps to follow in each of the first columns, at most N.

    Returns:
        The bits L - 1 before those steps, and the state before them.
    """
    count, states, columns = older.shape
    memory, stride = states.bit_length() - 1, states * columns
    came, found = older.reshape(-1).view(np.uint8).data, bytearray()
    places = [1 << memory - 1 - t % memory for t in reversed(range(count))]
    for column, steps in reversed(list(enumerate(kept))):
        index, state = (count - 1) * stride + column, _placed(state, count, memory)
        for place in places[:steps]:
            bit = came[index + state * columns]
            found.append(bit)
            state = state | place if bit else state & ~place
            index -= stride
        state = _placed(state, steps - count, memory)
    return np.frombuffer(found, np.uint8)[::-1], state


def _search_closed(factors: Tensor, words: Tensor, first: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Searches a circle closed: from each of some states back to it."""
    count, memory, each = len(factors), len(words), np.arange(len(first))
    score = np.full((1 << memory, len(first)), -np.inf, np.float32)
    score[first, each] = 0
    older = _run(score, factors, words, np.repeat(np.arange(count)[:, None], len(first), axis=1))
    best = int(score[_placed(first, count, memory), each].argmax())
    return np.roll(_follow(older[..., best : best + 1], int(first[best]), [count])[0], -memory)


def _likeliest(factors: Tensor, words: Tensor) -> NDArray[np.int64]:
    """Returns the likeliest first states of a short circle, or all that it can have."""
    count, memory = len(factors), len(words)
    score = np.zeros((1 << memory, 1), np.float32)
    _run(score, factors, words, np.arange(-RUN_IN * memory, 0)[:, None] % count)
    first = np.arange(1 << memory)
    first = first[first >> count == first & (1 << max(0, memory - count)) - 1]  # the bits of short circles repeat
    likeliest: NDArray[np.int64] = first[np.argsort(-score[first, 0])]
    return likeliest[: max(1, CLOSED_WORK // (count << memory))]


def _search(factors: Tensor, words: Tensor, places: NDArray[np.int64]) -> tuple[NDArray[np.bool_], list[int]]:
    """Searches columns of places from all states; returns the survivors and the best last states."""
    memory, (count, rows) = len(words), places.shape
    score = np.zeros((1 << memory, rows), np.float32)
    older = _run(score, factors, words, places)
    return older, _placed(score.argmax(axis=0), -count, memory).tolist()


def _run(score: NDArray[np.float32], factors: Tensor, words: Tensor, places: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Runs the Viterbi algorithm along columns of places (N, S).

    Arguments:
        score: Scores of the states (2^(L-1), S) before the first place, changed to those after the last.
        factors: Factors of the blocks; see :meth:`Blocks.folded`.
        words: Factors of the codewords; see :func:`_turned`.
        places: Numbers of the blocks.

    Returns:
        Whether the survivor of every state came from the one with the oldest bit set, with shape (N, 2^(L-1), S).
    """
    older = np.empty((len(places), *score.shape), np.bool_)
    if places.shape[1] == 1:
        _run_alone(score[:, 0], factors[torch.from_numpy(places[:, 0])], words, older[..., 0])
    else:
        _run_abreast(torch.from_numpy(score), factors[torch.from_numpy(places)].mT, words, older)
    return older


def _run_abreast(score: Tensor, factors: Tensor, words: Tensor, older: NDArray[np.bool_]) -> None:
    """Runs it along several columns, with factors (N, d, S), by calls that are fast on contiguous columns."""
    memory, (states, rows) = len(words), score.shape
    sums = score.new_empty(2, states, rows)
    low, high = sums
    flat, lowest, highest, turns = sums.view(2 * states, rows), low.numpy(), high.numpy(), []
    for place, turn in zip(reversed(range(memory)), words, strict=True):
        after = sums.view(2, states >> place + 1, 2, rows << place)
        before = score.view(-1, 2, 1, rows << place).transpose(0, 1)
        # where runs of states are short, one addition for each newest bit is faster than one for both
        parts = after.chunk(2, dim=2) if place < 3 else (after,)
        turns.append((turn, before, parts))
    for t, block in enumerate(factors.unbind()):
        turn, before, parts = turns[t % memory]
        torch.mm(turn, block, out=flat)
        for part in parts:
            torch.add(part, before, out=part)
        np.greater(highest, lowest, out=older[t])
        torch.maximum(high, low, out=score)


def _run_alone(score: NDArray[np.float32], factors: Tensor, words: Tensor, older: NDArray[np.bool_]) -> None:
    """Runs it along one column, with factors (N, d): inner products of many steps are made at a time."""
    memory, states = len(words), len(score)
    turns, sums = max(1, SLAB // (2 * states * memory)), np.empty((2, states), np.float32)
    low, high = sums
    places = [1 << place for place in reversed(range(memory))]
    views = [(score.reshape(-1, 2, 1, p).swapaxes(0, 1), sums.reshape(2, -1, 2, p)) for p in places]
    for start in range(0, len(factors), turns * memory):
        part = factors[start : start + turns * memory]
        part = functional.pad(part, (0, 0, 0, -len(part) % memory)).view(-1, memory, factors.shape[1])
        gains = (part.transpose(0, 1) @ words.mT).numpy()
        shaped = [gain.reshape(-1, *after.shape) for gain, (_, after) in zip(gains, views, strict=True)]
        for t in range(min(turns * memory, len(factors) - start)):
            before, after = views[t % memory]
            np.add(shaped[t % memory][t // memory], before, out=after)
            np.greater(high, low, out=older[start + t])
            np.maximum(high, low, out=score)
