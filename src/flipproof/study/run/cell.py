"""Cells of a study: one file, one channel, one trial; each with a key and a seed that follow from its content."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from flipproof import seeds
from flipproof._version import __version__
from flipproof.study.record import SCHEMA, CodecEntry, PictureEntry

__all__ = ["Cell", "Subject", "cells"]


@dataclass(frozen=True)
class Subject:
    """A file of a study: a codec on a picture.

    Attributes:
        study: Name of the plan.
        seed: Of the plan.
        picture: The picture.
        codec: The codec.
    """

    study: str
    seed: int
    picture: PictureEntry
    codec: CodecEntry

    @property
    def key(self) -> str:
        """What the encoded file follows from: picture, codec, weights and version; 32 hexadecimal digits."""
        return f"{seeds.derive(purpose='study file', **self._axes):032x}"

    @property
    def _axes(self) -> dict[str, str | float]:
        return {
            "schema": SCHEMA,
            "version": __version__,
            "picture": self.picture.sha256,
            "codec": self.codec.spelling,
            "weights": self.codec.weights,
        }

    def cell(self, channel: str, trial: int) -> Cell:
        """Returns one of its cells."""
        draw: dict[str, str | float] = {"seed": self.seed, "channel": channel, "trial": trial}
        return Cell(
            channel=channel,
            trial=trial,
            key=f"{seeds.derive(purpose='study cell', **self._axes, **draw):032x}",
            seed=seeds.derive(purpose="study channel", picture=self.picture.sha256, **draw),
        )


@dataclass(frozen=True)
class Cell:
    """One received file.

    Attributes:
        channel: Canonical spelling.
        trial: Index of the copy.
        key: Of everything that decides what is measured, 32 hexadecimal digits.
        seed: What the damage is drawn from: the same for every codec, so that files of equal length meet equal damage
            and differences between codecs are paired.
    """

    channel: str
    trial: int
    key: str
    seed: int


def cells(subject: Subject, channels: Sequence[str], trials: Sequence[range]) -> Iterator[Cell]:
    """Makes the cells of a file, channel by channel.

    Arguments:
        subject: The file.
        channels: Canonical spellings.
        trials: Of each channel.
    """
    for channel, copies in zip(channels, trials, strict=True):
        for trial in copies:
            yield subject.cell(channel, trial)
