"""How the steps of a script move a chain."""

from __future__ import annotations

import math

from flipproof.chain import Move, Proposal
from flipproof.codebook.base import Codebook
from flipproof.codebook.make import make_codebook
from flipproof.codec.script import Step

__all__ = ["codebook_for", "free_move"]


def codebook_for(kind: str, step: Step, proposal: Proposal) -> Codebook:
    """Returns the codebook of a step; of one atom where the step has no bits."""
    if step.protocol is None:
        return make_codebook(kind, proposal.size, 1, proposal.index)
    return make_codebook(kind, -(-proposal.size // step.protocol.parts), step.protocol.atoms, proposal.index)


def free_move(step: Step, proposal: Proposal, codebook: Codebook) -> Move:
    """Returns the move of a step without bits: known noise where the chain starts, else deterministic."""
    if math.isfinite(proposal.source):
        return Move(step.level.sigma, None)
    return Move(step.level.sigma, codebook.noise(len(proposal.mean)).to(proposal.mean.device))
