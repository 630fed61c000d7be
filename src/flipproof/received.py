"""What a receiver has of a file: its bits, and how far each can be trusted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from flipproof.errors import SpecError

__all__ = ["File", "Received", "hard", "with_gaps"]

LEAST_GAP = 16
"""Equal bytes in a row that no coded payload of a picture has."""
MOST_GAPS = 0.5
"""Share of a file above which its runs are its content."""


@dataclass(frozen=True, eq=False)
class Received:
    r"""A file as it came out of a channel that tells more than bits.

    Attributes:
        data: Hard decisions, highest bit of each byte first; where a bit was erased, any value.
        llr: For every bit :math:`\ln P(0) / P(1)` given what was received, float32 with shape (8 * len(data),): 0 for
            an erased bit, infinite for a certain one.

    Raises:
        SpecError: The shape of ``llr`` does not fit, or it has values that are no numbers.
    """

    data: bytes
    llr: NDArray[np.float32]

    def __post_init__(self) -> None:
        if self.llr.shape != (8 * len(self.data),):
            raise SpecError(f"expected {8 * len(self.data)} log-likelihood ratios, got {self.llr.shape}")
        if np.isnan(self.llr).any():
            raise SpecError("expected log-likelihood ratios, got some that are not a number")


File: TypeAlias = bytes | Received
"""What decoders take: bytes alone, or with what is known about each bit."""


def with_gaps(data: bytes) -> Received | None:
    """Returns a file with runs of 16 or more equal bytes taken for erased, such as lost packets that read as zeros.

    Coded payload has no such runs but for pictures without content, so this is worth a try where a file is damaged.

    Returns:
        The file; None where there is no such run, or nearly nothing else.

    Example:
        >>> found = with_gaps(bytes(range(64)) + bytes(16))
        >>> found.llr.tolist().count(0), with_gaps(bytes(80)) is None
        (128, True)
    """
    values = np.frombuffer(data, np.uint8)
    edges = np.concatenate([[0], np.flatnonzero(np.diff(values)) + 1, [len(values)]])
    runs = np.diff(edges)
    gap = np.repeat(runs >= LEAST_GAP, runs)
    if not gap.any() or gap.mean() > MOST_GAPS:
        return None
    bits = np.unpackbits(values)
    return Received(data, np.where(np.repeat(gap, 8), 0, np.where(bits, -np.inf, np.inf)).astype(np.float32))


def hard(file: File) -> bytes:
    """Returns the bytes of a file, whatever else is known about them."""
    return file.data if isinstance(file, Received) else file
