"""The binary symmetric channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from flipproof.bits import BitArray
from flipproof.channel.base import BitChannel, chunks
from flipproof.errors import SpecError

__all__ = ["BinarySymmetricChannel"]


@dataclass(frozen=True, eq=False)
class BinarySymmetricChannel(BitChannel):
    r"""Flips every bit independently, with the same probability or one of its own.

    Attributes:
        ber: Bit error rate, the probability of a flip, in [0, 1]. In Python also an array of them that broadcasts to
            the shape of the bits; a spelling has one number.

    Example:
        >>> BinarySymmetricChannel(ber=1.0).corrupt(b"\x0f", np.random.default_rng(0))
        b'\xf0'
        >>> BinarySymmetricChannel(np.repeat([1.0, 0.0], 4)).corrupt(b"\x00", np.random.default_rng(0))
        b'\xf0'
    """

    name: ClassVar[str] = "bsc"
    ber: float | NDArray[np.float64] = 1e-3

    def __post_init__(self) -> None:
        if not np.isscalar(self.ber):
            own = np.array(self.ber, np.float64)
            own.flags.writeable = False
            object.__setattr__(self, "ber", own)
        self.check("ber", bool(np.all((np.asarray(self.ber) >= 0) & (np.asarray(self.ber) <= 1))), "from 0 to 1")

    def __call__(self, bits: BitArray, rng: np.random.Generator) -> BitArray:
        """Sends bits.

        Raises:
            SpecError: The rates do not broadcast to the shape of the bits.
        """
        try:
            rates = np.broadcast_to(np.asarray(self.ber), bits.shape).flat
        except ValueError as error:
            raise SpecError(f"expected rates that fit bits {bits.shape}, got {np.shape(self.ber)}") from error
        received = bits.copy(order="C")
        flat = received.reshape(-1)
        for part in chunks(flat.size):
            rate = rates[part] if isinstance(self.ber, np.ndarray) else self.ber
            flat[part] ^= rng.random(part.stop - part.start) < rate
        return received

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, BinarySymmetricChannel):
            return NotImplemented
        return np.array_equal(self.ber, other.ber)

    def __hash__(self) -> int:
        return hash((self.name, float(np.sum(self.ber))))

    def __str__(self) -> str:
        """The canonical spelling; many rates have none and are called ``array``."""
        return f"{self.name}[ber=array]" if isinstance(self.ber, np.ndarray) else super().__str__()
