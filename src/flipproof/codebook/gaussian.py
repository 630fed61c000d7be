r"""A codebook of independent normal samples that is never stored.

Sample :math:`j` of atom :math:`k` is a function of a 64-bit row word and a 64-bit column word, the same on every
machine and device. The words are those of two streams of Philox4x64-10 (Salmon et al., 2011), each keyed by a hash of
names. With :math:`h = \lceil n / 2 \rceil`, the row word :math:`k` has the halves :math:`(a_k, m_k)` and the column
word :math:`j < h` the halves :math:`(c_j, d_j)`, low half first. In 32-bit arithmetic without signs, with
:math:`\gg` a logical shift,

.. math::

    x &\leftarrow (c_j \oplus a_k) \, (m_k \mathbin{|} 1), & x &\leftarrow x \oplus (x \gg 16), \\
    x &\leftarrow (x + d_j) \, \mathtt{0x7feb352d}, & x &\leftarrow x \oplus (x \gg 15), \\
    x &\leftarrow x \, \mathtt{0x846ca68b}, & x &\leftarrow x \oplus (x \gg 16).

The low 16 bits of :math:`x` give sample :math:`j` and the high 16 bits sample :math:`h + j`: 16 bits :math:`i` stand
for the normal quantile :math:`\Phi^{-1}((i + 1/2) / 2^{16})`, rounded to float32. The shifts and constants are those
of ``lowbias32`` (Wellons, 2018); the keying by two pairs of halves is our own.

All arithmetic on samples is exact, so they agree bit for bit everywhere. Sums of them agree up to rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist

import numpy as np
import torch
from torch import Tensor

from flipproof.codebook.base import check_atoms, check_shape, check_vectors
from flipproof.seeds import derive

__all__ = ["GaussianCodebook", "quantiles"]

MOST = 2**24  # row words, of 8 bytes each, are held
TILE = 2**17  # hash words made at a time: the buffers fit a processor's cache
DEVICE_TILE = 2**24  # the same on an accelerator: 192 MiB of buffers


@cache
def quantiles() -> Tensor:
    """Returns the normal quantiles of (i + 1/2) / 2^16 for i in [0, 2^16), float32.

    Their variance is 1 - 2e-5, their largest value 4.325. Before rounding, none is closer to the middle of two float32
    numbers than 7000 units in the last place of a double, so any decent quantile function gives this table.

    Example:
        >>> [round(x, 6) for x in quantiles()[[0, 32768, 65535]].tolist()]
        [-4.324919, 1.9e-05, 4.324919]
    """
    normal = NormalDist()
    return torch.tensor([normal.inv_cdf((i + 0.5) / 2**16) for i in range(2**16)], dtype=torch.float32)


@dataclass(frozen=True)
class Tile:
    """Part of a matrix of samples.

    Attributes:
        rows: Which rows.
        columns: Which columns.
        samples: The part itself; valid until the next tile is made.
    """

    rows: slice
    columns: slice
    samples: Tensor


@dataclass(frozen=True)
class GaussianCodebook:
    """The Gaussian atoms of one step; a :class:`~flipproof.codebook.base.Codebook`.

    A codebook of fewer atoms is the start of one of more.

    Attributes:
        size: Length n of an atom.
        atoms: Number K of atoms, at most 2^24.
        step: Which step of the chain; every step has its own atoms.
        seed: Root of the atoms.

    Raises:
        SpecError: If ``size`` or ``atoms`` is out of range.

    Example:
        >>> codebook = GaussianCodebook(size=4, atoms=3, step=0)
        >>> atom = codebook.synthesise(torch.tensor([[2]]), torch.tensor([[1.0]]))
        >>> [round(x, 3) for x in atom[0].tolist()]
        [0.353, 1.867, 0.138, -0.346]
    """

    size: int
    atoms: int
    step: int
    seed: int = 0

    def __post_init__(self) -> None:
        check_shape(self.size, self.atoms, MOST)

    def analyse(self, vectors: Tensor) -> Tensor:
        """Returns the inner products of vectors (B, n) with all atoms, as (B, K) float32."""
        check_vectors(self, vectors)
        vectors = vectors.float()

        products = vectors.new_zeros(len(vectors), self.atoms)
        rows, columns = self._words("gaussian codebook", self.atoms, vectors.device)
        for tile in _tiles(rows, columns, self.size):
            products[:, tile.rows] += vectors[:, tile.columns] @ tile.samples.T
        return products

    def synthesise(self, atoms: Tensor, weights: Tensor) -> Tensor:
        """Returns the sums of atoms (B, M) with weights (B, M), as (B, n) float32; makes only the atoms it needs."""
        check_atoms(self, atoms, weights)
        weights = weights.float()
        used, places = torch.unique(torch.where(weights != 0, atoms, 0), return_inverse=True)
        weights = weights.new_zeros(len(atoms), len(used)).scatter_add_(1, places, weights)

        total = weights.new_zeros(len(atoms), self.size)
        rows, columns = self._words("gaussian codebook", self.atoms, weights.device)
        for tile in _tiles(rows[used], columns, self.size):
            total[:, tile.columns] += weights[:, tile.rows] @ tile.samples
        return total

    def combine(self, weights: Tensor) -> Tensor:
        """Returns sums of the first atoms with weights (B, M), as (B, n) float32."""
        return self.synthesise(torch.arange(weights.shape[1], device=weights.device).expand_as(weights), weights)

    def noise(self, batch: int) -> Tensor:
        """Returns known white noise of unit variance (batch, n) on the CPU, the same for every chain."""
        noise = torch.empty(1, self.size)
        for tile in _tiles(*self._words("known noise", 1, torch.device("cpu")), self.size):
            noise[:, tile.columns] = tile.samples
        return noise.expand(batch, self.size)

    def squared_norms(self) -> Tensor:
        """Returns the squared norms of all atoms (K,), about n each, on the CPU."""
        norms = torch.zeros(self.atoms)
        for tile in _tiles(*self._words("gaussian codebook", self.atoms, torch.device("cpu")), self.size):
            norms[tile.rows] += tile.samples.square().sum(dim=1)
        return norms

    def _words(self, purpose: str, rows: int, device: torch.device) -> tuple[Tensor, Tensor]:
        def stream(axis: str, count: int) -> Tensor:
            key = derive(purpose=purpose, axis=axis, size=self.size, step=self.step, seed=self.seed)
            return _halves(count, key).to(device)

        return stream("rows", rows), stream("columns", -(-self.size // 2))


def _halves(count: int, key: int) -> Tensor:
    """Returns Philox words as (count, 2) int32: low half, high half."""
    words = np.random.Philox(key=key).random_raw(count).astype("<u8")
    return torch.from_numpy(words.view("<i4").reshape(count, 2).astype(np.int32))


def _tiles(rows: Tensor, columns: Tensor, size: int) -> Iterator[Tile]:
    """Makes the matrix of samples of row words (K, 2) and column words (ceil(size / 2), 2) piece by piece."""
    limit = TILE if rows.device.type == "cpu" else DEVICE_TILE
    width = min(len(columns), limit)
    height = max(1, min(len(rows), limit // width))
    low, high = torch.empty(2, height * width, dtype=torch.int32, device=rows.device)
    samples = torch.empty(height * width, device=rows.device)
    table = quantiles().to(rows.device)

    for top in range(0, len(rows), height):
        for left in range(0, len(columns), width):
            part, across = rows[top : top + height], columns[left : left + width]
            shape = len(part), len(across)
            count = shape[0] * shape[1]
            _hash(part, across, low[:count].view(shape), high[:count].view(shape))
            for bits, start in ((low, left), (high, len(columns) + left)):
                torch.index_select(table, 0, bits[:count], out=samples[:count])
                places = slice(start, min(start + shape[1], size))
                yield Tile(slice(top, top + shape[0]), places, samples[:count].view(shape)[:, : places.stop - start])


def _hash(rows: Tensor, columns: Tensor, low: Tensor, high: Tensor) -> None:
    """Fills the int32 matrices ``low`` and ``high`` (K, h) with 16 bits each of the words (K, 2) and (h, 2).

    The products and sums wrap around. An arithmetic shift and a mask make a logical shift.
    """
    a, m = rows.T[:, :, None]
    c, d = columns.T.contiguous()
    x, shifted = low, high
    torch.bitwise_xor(c, a, out=x).mul_(m | 1)
    x ^= torch.bitwise_right_shift(x, 16, out=shifted).bitwise_and_(0xFFFF)
    x.add_(d).mul_(0x7FEB352D)
    x ^= torch.bitwise_right_shift(x, 15, out=shifted).bitwise_and_(0x1FFFF)
    x.mul_(0x846CA68B - 2**32)
    x ^= torch.bitwise_right_shift(x, 16, out=shifted).bitwise_and_(0xFFFF)
    x.bitwise_and_(0xFFFF)
