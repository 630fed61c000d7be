"""What a study measures: photographs x codecs x channels x trials."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

from flipproof import registry
from flipproof.errors import SpecError, UnknownNameError
from flipproof.study.series import bsc, is_clean

__all__ = ["Plan", "preset", "presets"]


@dataclass(frozen=True)
class Plan:
    """The definition of a study; with the pictures it determines every measured value but the seconds.

    Attributes:
        name: Letters, digits, ``-`` and ``_``.
        photographs: Names of the pictures, each once.
        codecs: Spellings of the codecs, each once.
        channels: Spellings of the channels, each once; ``bsc[ber=0]`` is the one without errors.
        trials: Copies of each file that each channel damages; without errors all are equal and one is made.
        crop: Side of the central square that is coded, in pixels.
        seed: What the damage and the bootstrap are drawn from.
    """

    name: str
    photographs: tuple[str, ...]
    codecs: tuple[str, ...]
    channels: tuple[str, ...]
    trials: int
    crop: int
    seed: int

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_-]+", self.name):
            raise SpecError(f"study: expected a name of letters, digits, - and _, got {self.name!r}")
        axes = {"photographs": self.photographs, "codecs": self.codecs, "channels": self.channels}
        for axis, values in axes.items():
            if not values or len(set(values)) < len(values):
                raise SpecError(f"study: expected at least one of {axis}, each once, got {list(values)}")
        for spelling in self.codecs:
            registry.parse(spelling)
        for spelling in self.channels:
            is_clean(spelling)
        for field, value, least in (
            ("trials", self.trials, 1),
            ("crop", self.crop, 1),
            ("seed", self.seed, 0),
        ):
            if value < least:
                raise SpecError(f"study: expected {field} of at least {least}, got {value}")

    def cells(self) -> list[tuple[str, int]]:
        """Returns the (channel, trial) pairs that each file goes through."""
        return [
            (channel, trial) for channel in self.channels for trial in range(1 if is_clean(channel) else self.trials)
        ]

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


_KODAK = tuple(f"{number:02d}" for number in range(1, 25))

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
        channels=tuple(map(bsc, (0, 1e-4, 1e-3, 1e-2, 3e-2))),
        trials=5,
        crop=256,
        seed=0,
    ),
    "kodak": Plan(
        name="kodak",
        photographs=_KODAK,
        codecs=(
            "tracks[bpp=0.1]",
            "robust-turbo-ddcm[bpp=0.1]",
            "turbo-ddcm[bpp=0.1]",
            "tracks[bpp=0.25]",
            "robust-turbo-ddcm[bpp=0.25]",
            "turbo-ddcm[bpp=0.25]",
            "jpeg[quality=1]",
        ),
        channels=tuple(map(bsc, (0, 1e-4, 1e-3, 1e-2))),
        trials=4,
        crop=512,
        seed=0,
    ),
    "channels": Plan(
        name="channels",
        photographs=_KODAK,
        codecs=(
            "tracks[bpp=0.1]",
            "tracks[bpp=0.1,protect=none]",
            "robust-turbo-ddcm[bpp=0.1]",
            "turbo-ddcm+fec[bch,t=24,m=10,bpp=0.1]",
            "turbo-ddcm+fec[ldpc,data=900,parity=160,ber=0.01,iterations=40,bpp=0.1]",
            "jpeg[quality=1]+fec[bch,t=24,m=10]",
        ),
        channels=(
            *map(bsc, (0, 1e-5, 1e-4, 1e-3, 1e-2, 3e-2, 5e-2)),
            *(f"gilbert-elliott[ber=0.001,burst={bits},bad_ber=0.5]" for bits in (4, 20, 100)),
            *(f"packet-loss[rate={rate},size=64,known=true]" for rate in (0.01, 0.05, 0.2)),
            *(f"packet-loss[rate={rate},size=64,known=false]" for rate in (0.01, 0.05, 0.2)),
            *(f"awgn[snr={decibels},modulation=bpsk,soft=false]" for decibels in (2, 4, 5, 6)),
            *(f"awgn[snr={decibels},modulation=bpsk,soft=true]" for decibels in (2, 4, 5, 6)),
            *(f"targeted[flips={flips},budget=64]" for flips in (1, 8)),
        ),
        trials=10,
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
