"""What a study measures: photographs x codecs x bit error rates x trials."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

from flipproof import registry
from flipproof.errors import SpecError, UnknownNameError

__all__ = ["Plan", "preset", "presets"]


@dataclass(frozen=True)
class Plan:
    """The definition of a study; with the pictures it determines every measured value but the seconds.

    Attributes:
        name: Letters, digits, ``-`` and ``_``.
        photographs: Names of the pictures, each once.
        codecs: Spellings of the codecs, each once.
        bit_error_rates: Probabilities of a flip, ascending, each in [0, 1].
        trials: Corrupted copies of each file at each rate; at rate 0 all copies are equal and one is made.
        crop: Side of the central square that is coded, in pixels.
        seed: What the flips and the bootstrap are drawn from.
    """

    name: str
    photographs: tuple[str, ...]
    codecs: tuple[str, ...]
    bit_error_rates: tuple[float, ...]
    trials: int
    crop: int
    seed: int

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_-]+", self.name):
            raise SpecError(f"study: expected a name of letters, digits, - and _, got {self.name!r}")
        for axis, values in (("photographs", self.photographs), ("codecs", self.codecs)):
            if not values or len(set(values)) < len(values):
                raise SpecError(f"study: expected at least one of {axis}, each once, got {list(values)}")
        for spelling in self.codecs:
            registry.parse(spelling)
        rates = self.bit_error_rates
        if not rates or list(rates) != sorted(set(rates)) or not all(0 <= rate <= 1 for rate in rates):
            raise SpecError(f"study: expected ascending bit error rates in [0, 1], got {list(rates)}")
        for field, value, least in (
            ("trials", self.trials, 1),
            ("crop", self.crop, 1),
            ("seed", self.seed, 0),
        ):
            if value < least:
                raise SpecError(f"study: expected {field} of at least {least}, got {value}")

    def cells(self) -> list[tuple[float, int]]:
        """Returns the (bit error rate, trial) pairs that each file goes through."""
        return [(rate, trial) for rate in self.bit_error_rates for trial in range(self.trials if rate else 1)]

    def get_config(self) -> dict[str, Any]:
        """Returns the attributes, JSON-serialisable."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Plan:
        """Builds a plan from what :meth:`get_config` returned.

        Raises:
            SpecError: Attributes are missing, unknown or out of range.
        """
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in config.items()
        }
        try:
            return cls(**values)
        except TypeError as error:
            raise SpecError(f"study: expected the attributes of a plan, got {sorted(config)}") from error


_PRESETS = {
    "quick": Plan(
        name="quick",
        photographs=("chelsea", "astronaut", "coffee", "rocket"),
        codecs=(
            "tracks[bpp=0.25]",
            "robust-turbo-ddcm[bpp=0.25]",
            "turbo-ddcm[bpp=0.25]",
            "jpeg[bpp=0.5]",
        ),
        bit_error_rates=(0.0, 1e-4, 1e-3, 1e-2, 3e-2),
        trials=5,
        crop=256,
        seed=0,
    ),
    "kodak": Plan(
        name="kodak",
        photographs=tuple(f"{number:02d}" for number in range(1, 25)),
        codecs=(
            "tracks[bpp=0.1]",
            "robust-turbo-ddcm[bpp=0.1]",
            "turbo-ddcm[bpp=0.1]",
            "tracks[bpp=0.25]",
            "robust-turbo-ddcm[bpp=0.25]",
            "turbo-ddcm[bpp=0.25]",
            "jpeg[quality=1]",
        ),
        bit_error_rates=(0.0, 1e-4, 1e-3, 1e-2),
        trials=4,
        crop=512,
        seed=0,
    ),
}


def presets() -> list[str]:
    """Returns the names of the plans that come with flipproof, sorted."""
    return sorted(_PRESETS)


def preset(name: str) -> Plan:
    """Returns a plan that comes with flipproof.

    Raises:
        UnknownNameError: There is no such plan.
    """
    if name not in _PRESETS:
        raise UnknownNameError("study", name, presets())
    return _PRESETS[name]
