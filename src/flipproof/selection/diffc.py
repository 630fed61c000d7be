r"""DiffC's selection: a step's Gaussian channel, simulated in chunks.

A step of DiffC (Theis et al., https://arxiv.org/abs/2206.08889; Vonderfecht and Liu,
https://arxiv.org/abs/2501.09815) hands the decoder a *sample* :math:`z \sim \mathcal{N}(m, I)`, where both sides
can already draw from :math:`\mathcal{N}(0, I)`. With residual :math:`r = x - D`, the next noise level
:math:`\sigma_s` and :math:`\rho = (\sigma_s / \sigma_t)^2`,

.. math:: m = \frac{\sqrt{1 - \rho}\, r}{\sigma_s}, \qquad
    \mathrm{KL} = \frac{\lVert m \rVert^2}{2 \ln 2} \text{ bits},

so that :math:`y_s = D + \rho (y - D) + \sigma_s \sqrt{1 - \rho}\, z` has the law of the true posterior.

The Poisson functional representation (Li and El Gamal, 2018) draws it from a list of candidates :math:`a_i`,
:math:`i = 0, 1, \dots`, that arrive at the times :math:`T_i` of a Poisson process of rate 1, and takes

.. math:: \operatorname*{arg\,min}_i \; \ln T_i - \langle m, a_i \rangle .

With endless candidates the sample is exact, and small numbers are likelier: :math:`\mathbb{E} \log_2 (i + 1) \le
\mathrm{KL} + \log_2(e) / e + 1`. Here the list ends after :math:`K` candidates. The log-density of a sample over that
of a candidate has mean KL and standard deviation :math:`\lVert m \rVert` nats, so the published two bits of padding
cut much of its upper half off: at 14 bits and :math:`K = 2^{16}` the sample moves by 0.87 of :math:`m` on average, at
8 bits by 0.99.

The candidates needed grow as :math:`2^{\mathrm{KL}}`, so a step is cut into chunks. All chunks of a step share one
codebook. Its samples are first dealt out by a fixed permutation and fixed signs: chunks then carry about equal shares
of the KL, and they see candidates that are nearly independent once they are put back in place.

The same choice serves seeds of fixed length, to which the order of arrival is of no use. There
:math:`\arg\max_i \langle m, a_i \rangle` would move further along :math:`m` (0.97 instead of 0.87 of it, at 14 of 16
bits); it is not a sample of the channel any more.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from flipproof.errors import SpecError
from flipproof.seeds import derive, generator

if TYPE_CHECKING:
    from flipproof.codebook.base import Codebook

__all__ = ["MOST_SEED_BITS", "PADDING", "Seeds", "divide", "select_diffc"]

MOST_SEED_BITS = 16
"""Longest seed of a chunk, as published."""

PADDING = 2
"""Bits by which a seed is longer than its chunk's KL, as published."""


def divide(kl: float, most: int = MOST_SEED_BITS, padding: int = PADDING) -> tuple[int, int]:
    """Returns the number of chunks and the seed bits of a step.

    As few chunks as keep the KL of each at or below ``most - padding`` bits, and seeds of that KL, rounded up, plus
    ``padding`` bits.

    Arguments:
        kl: KL of the whole step in bits, at least 0.
        most: Longest seed in bits.
        padding: Bits by which a seed is longer than its chunk's KL, below ``most``.

    Raises:
        SpecError: If the KL is negative or not finite, or the padding leaves no bit of a seed.

    Example:
        >>> divide(100.0)
        (8, 15)
        >>> divide(0.0)
        (1, 2)
    """
    if not 0 <= kl < float("inf"):
        raise SpecError(f"diffc: expected a finite KL of at least 0 bits, got {kl}")
    if not 0 <= padding < most:
        raise SpecError(f"diffc: expected a padding in [0, {most}), got {padding}")
    parts = max(1, ceil(kl / (most - padding)))
    return parts, max(1, min(most, ceil(kl / parts) + padding))


@dataclass(frozen=True)
class Seeds:
    """Which candidate stands for each chunk of a step, for a batch of chains.

    Attributes:
        seeds: Numbers of candidates, 0 to K - 1, with shape (B, parts), int64.
        lost: Which chunks were lost, with shape (B, parts), bool.
        step: Which step of the chain; it keys permutation and signs.
        size: Samples n of the step, at most ``parts`` times the codebook's size.
    """

    seeds: Tensor
    lost: Tensor
    step: int
    size: int

    @property
    def share(self) -> float:
        """Share of the chunks that were not lost, from 0 to 1."""
        return 1 - float(self.lost.float().mean())

    def to(self, device: str) -> Seeds:
        """Returns the seeds on a device."""
        return Seeds(self.seeds.to(device), self.lost.to(device), self.step, self.size)

    def steer(self, codebook: Codebook) -> Tensor:
        """Returns the simulated samples z (B, n), float32, of unit variance in expectation; they are not rescaled.

        Lost chunks get the codebook's known noise.

        Raises:
            SpecError: If the codebook's atoms are not of length ``ceil(n / parts)``.
        """
        batch, parts = self.seeds.shape
        _check(codebook, self.size, parts)
        kept = ~self.lost.reshape(-1, 1)
        chunks = codebook.synthesise(self.seeds.reshape(-1, 1), kept.float())
        chunks = torch.where(kept, chunks, codebook.noise(1).to(chunks.device))
        return _collect(chunks.reshape(batch, -1), self.size, self.step)


def select_diffc(codebook: Codebook, m: Tensor, step: int, parts: int) -> Seeds:
    """Simulates the channel N(m, I), chunk by chunk, by the Poisson functional representation.

    Arguments:
        codebook: The candidates of all chunks, of length ``ceil(n / parts)``.
        m: Mean of the channel in units of its deviation, with shape (1, n).
        step: Which step of the chain.
        parts: Number of chunks, at least 1.

    Raises:
        SpecError: If the shape of m is not (1, n), or the codebook's atoms are not of length ``ceil(n / parts)``.
    """
    if m.ndim != 2 or len(m) != 1:
        raise SpecError(f"diffc: expected a mean (1, n), got {tuple(m.shape)}")
    size = m.shape[1]
    _check(codebook, size, parts)
    chunks = _deal(m.float(), parts * codebook.size, step).reshape(parts, codebook.size)
    products = codebook.analyse(chunks).cpu().numpy()
    # Only the encoder knows the arrivals: their order tells which seeds are likely, and the decoder needs no more.
    clock = generator(purpose="diffc arrivals", size=size, parts=parts, step=step)
    seeds = [int(np.argmin(np.log(clock.standard_exponential(len(row)).cumsum()) - row)) for row in products]
    return Seeds(torch.tensor([seeds]), torch.zeros(1, parts, dtype=torch.bool), step, size)


def _check(codebook: Codebook, size: int, parts: int) -> None:
    if parts < 1 or codebook.size != -(-size // parts):
        raise SpecError(
            f"diffc: expected a codebook of size ceil({size} / parts), got size {codebook.size} with {parts} parts"
        )


def _deal(samples: Tensor, slots: int, step: int) -> Tensor:
    """Fills samples (B, n) up with zeros, permutes them and flips their signs: (B, slots)."""
    order, signs = _arrangement(slots, step)
    filled = pad(samples, (0, slots - samples.shape[1]))
    return (filled * signs.to(samples.device))[:, order.to(samples.device)]


def _collect(dealt: Tensor, size: int, step: int) -> Tensor:
    """Inverts :func:`_deal`: samples (B, size) from (B, slots)."""
    order, signs = _arrangement(dealt.shape[1], step)
    samples = torch.empty_like(dealt)
    samples[:, order.to(dealt.device)] = dealt
    return (samples * signs.to(dealt.device))[:, :size]


def _arrangement(slots: int, step: int) -> tuple[Tensor, Tensor]:
    """Returns the fixed permutation and signs of a step.

    Slots are ordered by one 64-bit Philox word each, whose lowest bit is the sign: integers, the same everywhere.
    """
    words = np.random.Philox(key=derive(purpose="diffc arrangement", slots=slots, step=step)).random_raw(slots)
    signs = 1 - 2 * (words & np.uint64(1)).astype(np.float32)
    return torch.from_numpy(words.argsort(kind="stable")), torch.from_numpy(signs)
