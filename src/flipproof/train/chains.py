r"""Training states as a codec meets them: chains on their way to training crops.

A codec does not show its prior pictures with white Gaussian noise alone, but states of a chain that earlier steps have
steered, a little too little or too much. A pool of chains takes such steps. The prior's own answer :math:`D` gives the
residual :math:`r = x - D`, and the steering noise that a selection would find for a step from :math:`\sigma_t` to
:math:`\sigma_s` (see :mod:`flipproof.chain`) is drawn as

.. math:: z = \kappa r + \sqrt{1 - j \kappa^2 \overline{r^2}}\, w, \qquad
    \kappa = \frac{\sqrt{\beta (1 - \rho)}}{\sigma_s}, \quad \rho = (\sigma_s / \sigma_t)^2,

with white :math:`w`. With :math:`\beta = j = 1` and all of :math:`r` unknown, the state stays where the schedule has
it. An efficiency :math:`\beta < 1` steers too little; :math:`j` makes selections more or less noisy. Every evaluation
that a chain needs is one that the loss is taken of, so that these states cost next to nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from flipproof.chain import haar_detail, haar_merge
from flipproof.errors import WeightsError
from flipproof.train.pyramid import Pyramid

__all__ = ["ChainLaw", "Chains", "Pool", "steer"]

MOST_STEERED = 0.9
"""Share of the steering noise that may point along the residual."""


@dataclass(frozen=True)
class ChainLaw:
    """How chains are drawn. Pairs are bounds, between which values are even.

    Attributes:
        levels: Noise where a chain begins with plain noise on its crop, ascending: between any two neighbours begin
            equally many, with even logarithms. The codec spends most of its bits between 0.5 and 1.
        refine_levels: The same, per sample, where it begins with noisy averages of 2x2 blocks, to be refined.
        refine_share: Share of chains that begin so.
        plain_share: Share of chains that end after their first state, which is one of white Gaussian noise.
        life: The others have 3 to ``life + 2`` states.
        steps_per_octave: Steps that halve the noise; each chain takes one of these numbers, which are equally likely.
        efficiency: Bounds of beta.
        spread: j is even in 1 - spread to 1 + spread, for every step.
    """

    levels: tuple[float, ...] = (0.035, 0.15, 0.4, 0.7, 1.05, 1.7)
    refine_levels: tuple[float, ...] = (0.035, 0.25, 0.45, 0.7, 1.05)
    refine_share: float = 0.5
    plain_share: float = 0.25
    life: int = 7
    steps_per_octave: tuple[int, ...] = (2, 3, 3, 3, 4, 5)
    efficiency: tuple[float, float] = (0.6, 1.0)
    spread: float = 0.4


@dataclass(frozen=True)
class Chains:
    """Chains under way, one a row; all float32, changed in place.

    Attributes:
        x: Crops they are steered to, in [-1, 1], with shape (B, 3, H, W).
        y: States; where the finest detail is missing, averages repeated over 2x2 blocks.
        coarse: Noisy averages (B, 3, H / 2, W / 2) of the chains that begin with them.
        sigma: Noise levels (B,): of ``y``, or of ``coarse`` where detail is missing.
        refine: 1 where detail is missing, else 0, with shape (B,).
        left: States to come, this one included, with shape (B,).
        octave: Steps that halve the noise, with shape (B,).
        beta: Efficiencies (B,).
    """

    x: Tensor
    y: Tensor
    coarse: Tensor
    sigma: Tensor
    refine: Tensor
    left: Tensor
    octave: Tensor
    beta: Tensor

    @classmethod
    def blank(cls, count: int, size: int, device: str = "cpu") -> Chains:
        """Returns rows of zeros for crops of a side."""
        picture, number = (count, 3, size, size), (count,)
        shapes = [picture, picture, (count, 3, size // 2, size // 2), *[number] * 5]
        return cls(*(torch.zeros(shape, device=device) for shape in shapes))

    def tensors(self) -> dict[str, Tensor]:
        """Returns all of them by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Puts back what :meth:`tensors` returned.

        Raises:
            WeightsError: There are more or fewer chains, or their crops are of another size.
        """
        for name, tensor in self.tensors().items():
            if name not in tensors or tensors[name].shape != tensor.shape:
                got = tuple(tensors[name].shape) if name in tensors else "none"
                raise WeightsError(f"expected chains with {name} of shape {tuple(tensor.shape)}, got {got}")
            tensor.copy_(tensors[name])


class Pool:
    """Chains towards crops of one size; where one ends, another begins.

    Arguments:
        crops: Where crops come from.
        count: Number of chains.
        law: How they are drawn.
        rng: Draws the first ones.
        device: Where their tensors are.
    """

    def __init__(
        self, crops: Pyramid, count: int, law: ChainLaw, rng: np.random.Generator, device: str = "cpu"
    ) -> None:
        self.crops, self.law = crops, law
        self.chains = Chains.blank(count, crops.size, device)
        self._begin(torch.arange(count, device=device), rng)
        self.chains.left.copy_(torch.from_numpy(rng.integers(1, law.life + 1, count)))

    def move(self, mean: Tensor, rng: np.random.Generator) -> None:
        """Takes the next step of every chain, and begins new ones for those that end.

        Arguments:
            mean: What the prior answered to the states, with shape (B, 3, H, W).
            rng: Source of noise and new chains.
        """
        chains, spread = self.chains, self.law.spread
        grows = chains.refine > 0
        target = torch.where(grows, 2 * chains.sigma, chains.sigma * 2 ** (-1 / chains.octave))
        rho = torch.where(grows, 0, (target / chains.sigma) ** 2)
        kappa = (chains.beta * (1 - rho)).sqrt() / target
        white = self._tensor(rng.standard_normal(chains.x.shape, dtype=np.float32))
        j = self._tensor(rng.uniform(1 - spread, 1 + spread, len(target)))
        residual = chains.x - mean
        z = steer(residual, kappa, white, j)
        moved = mean + _over(rho) * (chains.y - mean) + _over(target * (1 - rho).sqrt()) * z
        z = steer(haar_detail(residual), kappa, haar_detail(white), j)
        grown = haar_merge(chains.coarse, haar_detail(mean) + target[:, None] * z)
        chains.y.copy_(torch.where(_over(grows), grown, moved))
        chains.sigma.copy_(target)
        chains.refine.zero_()
        chains.left.sub_(1)
        self._begin(torch.nonzero((chains.left <= 0) | (target < self.law.levels[0])).flatten(), rng)

    def _begin(self, rows: Tensor, rng: np.random.Generator) -> None:
        """Begins new chains in some rows, their noise levels stratified."""
        if not (count := len(rows)):
            return
        law, chains = self.law, self.chains
        x = self._tensor(self.crops.draw(count, rng)) / 127.5 - 1
        strata = (rng.permutation(count) + rng.random(count)) / count
        refines = rng.random(count) < law.refine_share
        levels = np.where(refines, _quantile(law.refine_levels, strata), _quantile(law.levels, strata))
        sigma, refine = self._tensor(levels), self._tensor(refines)
        noise = _over(sigma) * self._tensor(rng.standard_normal(x.shape, dtype=np.float32))
        coarse = functional.avg_pool2d(x, 2) + noise[:, :, ::2, ::2]
        repeated = functional.interpolate(coarse, scale_factor=2, mode="nearest")
        plain, life = rng.random(count) < law.plain_share, rng.integers(3, law.life + 3, count)
        chains.x[rows], chains.coarse[rows] = x, coarse
        chains.y[rows] = torch.where(_over(refine > 0), repeated, x + noise)
        chains.sigma[rows], chains.refine[rows] = sigma, refine
        chains.left[rows] = self._tensor(np.where(plain, 1, life))
        chains.octave[rows] = self._tensor(rng.choice(law.steps_per_octave, count))
        chains.beta[rows] = self._tensor(rng.uniform(*law.efficiency, count))

    def _tensor(self, values: NDArray[Any]) -> Tensor:
        return torch.from_numpy(values).to(self.chains.x.device).float()


def steer(residual: Tensor, kappa: Tensor, white: Tensor, j: Tensor) -> Tensor:
    """Draws steering noise z as selections find it; shapes (B, ...), (B,), (B, ...) and (B,).

    No more than MOST_STEERED of its energy is taken to point along the residual.
    """
    energy = residual.flatten(1).square().mean(1)
    steered = (j * kappa**2 * energy).clamp(max=MOST_STEERED)
    return _over(kappa, residual) * residual + _over((1 - steered).sqrt(), residual) * white


def _quantile(levels: tuple[float, ...], share: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the noise that a share of the chains, from 0 to 1, begins below."""
    logs: NDArray[np.float64] = np.interp(share, np.linspace(0, 1, len(levels)), np.log(levels))
    return np.exp(logs)


def _over(numbers: Tensor, like: Tensor | None = None) -> Tensor:
    """Gives numbers (B,) the axes of pictures, or of another tensor (B, ...)."""
    return numbers.view(-1, *[1] * (3 if like is None else like.dim() - 1))
