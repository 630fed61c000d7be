"""The weights files in the package, by name.

Encoders use ``small``, which is the newest of them. The older ones stay, so that the files made with them decode: a
file says in its header which weights it was made with.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from importlib import resources

from flipproof.errors import WeightsError

__all__ = ["MOST_NOISE", "SHIPPED", "ShippedWeights", "weights_for"]

MOST_NOISE = 2.0
"""Noise up to which a network is asked itself; it has seen up to 1.7."""


@dataclass(frozen=True)
class ShippedWeights:
    """A weights file of the package.

    Attributes:
        file: Its name.
        sha256: Its SHA-256, in hexadecimal digits.
        most: Noise up to which its network is asked itself; with older ones, whatever it is.
    """

    file: str
    sha256: str
    most: float = MOST_NOISE

    @property
    def fingerprint(self) -> int:
        """The first 32 bits of the SHA-256, as headers have them."""
        return int(self.sha256[:8], 16)

    def read(self) -> bytes:
        """Returns the bytes of the file.

        Raises:
            WeightsError: It is missing, or its SHA-256 is another.
        """
        try:
            weights = (resources.files("flipproof.prior") / "weights" / self.file).read_bytes()
        except OSError as error:
            raise WeightsError(f"the shipped weights are missing: {error}") from error
        digest = hashlib.sha256(weights).hexdigest()
        if digest != self.sha256:
            raise WeightsError(
                f"the shipped weights {self.file} are altered: expected SHA-256 {self.sha256}, got {digest}"
            )
        return weights


_SMALL_1 = ShippedWeights(
    "small-1.safetensors", "e044a3d5ea0b3a749105c39970b4dc261b02366ed39aa015cf5600615f0e3836", math.inf
)
_SMALL_2 = ShippedWeights(
    "small-2.safetensors", "009ff8ee6b137ca5d8c9f3e9773c2aeca9de2a1ebe206cb62ae00c2666a2fa9d", math.inf
)
_SMALL_3 = ShippedWeights(
    "small-3.safetensors", "832d516140309ac397db99bcc52616983ae02837db552780723642a1f03524d5", math.inf
)
_SMALL_4 = ShippedWeights("small-4.safetensors", "638ff0b38458215d642ab7481dd8e62f9f45915748002f5c8be66abdb117de25")

SHIPPED = {"small": _SMALL_4, "small-4": _SMALL_4, "small-3": _SMALL_3, "small-2": _SMALL_2, "small-1": _SMALL_1}
"""All of them; ``small`` is the newest."""


def weights_for(fingerprint: int) -> str | None:
    """Returns the name of the weights that have a fingerprint; None where no shipped ones do.

    Example:
        >>> weights_for(SHIPPED["small"].fingerprint), weights_for(0)
        ('small', None)
    """
    return next((name for name, weights in SHIPPED.items() if weights.fingerprint == fingerprint), None)
