"""A prior that does not compute twice what it was asked before."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor

from flipproof.prior.base import Prior, WrappedPrior

__all__ = ["RememberingPrior"]

MOST_SAMPLES = 2**28
"""Samples that are kept, a gibibyte of them."""


class RememberingPrior(WrappedPrior):
    """Answers like another prior, from memory where it can: a decoder that follows its encoder costs nothing.

    Arguments:
        prior: Who knows the answers.
    """

    name: ClassVar[str] = "remembering"

    def __init__(self, prior: Prior) -> None:
        super().__init__(prior)
        self._answers: dict[tuple[str, float, torch.Size], list[tuple[Tensor, Tensor]]] = {}
        self._kept = 0

    def denoise(self, y: Tensor, sigma: float) -> Tensor:  # noqa: D102 (inherited)
        return self._answer("denoise", self.prior.denoise, y, sigma)

    def refine(self, y: Tensor, sigma: float) -> Tensor:  # noqa: D102 (inherited)
        return self._answer("refine", self.prior.refine, y, sigma)

    def _answer(self, what: str, ask: Callable[[Tensor, float], Tensor], y: Tensor, sigma: float) -> Tensor:
        known = self._answers.setdefault((what, sigma, y.shape), [])
        for question, answer in known:
            if torch.equal(question, y):
                return answer
        answer = ask(y, sigma)
        if self._kept + y.numel() + answer.numel() <= MOST_SAMPLES:
            self._kept += y.numel() + answer.numel()
            known.append((y, answer))
        return answer
