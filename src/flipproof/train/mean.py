r"""The training program of the mean prior, which the reconstruction ``mse`` uses.

A network that denoises expects white noise. What is left at the end of a chain is no such thing: codewords never match
a picture in full, and a state remembers what the prior believed on the way. Minimised over the ends :math:`y` of chains
towards photographs :math:`x` is

.. math:: \ln(|D(y, \sigma) - x|^2 + 0.05 \sigma^2)

as in :func:`flipproof.train.error.log_error`.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from flipproof.train.error import log_error
from flipproof.train.last import LastTrainer
from flipproof.train.pace import Pace
from flipproof.train.pairs import Batch

__all__ = ["PACE", "MeanTrainer"]

PACE = Pace(seconds=3600, learning_rate=2e-4, warmup=50, floor=0.01)


class MeanTrainer(LastTrainer):
    """Trains towards the least squared error."""

    file: ClassVar[str] = "mean.safetensors"

    def loss(self, made: Tensor, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:  # noqa: D102 (inherited)
        loss = log_error(made, batch.original, batch.sigma)
        return loss, {"loss": loss}
