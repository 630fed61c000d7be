r"""Tracks: short, independent choices, one from each track of atoms; see :mod:`flipproof.selection.tracks`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from flipproof.codec.grown import GrownCodec
from flipproof.codec.spending import TrackSpending

__all__ = ["TracksCodec"]


@dataclass(frozen=True)
class TracksCodec(GrownCodec):
    """A chain steered by tracks.

    Attributes:
        track_bits: Index bits of the longest tracks, 0 to 15: longer tracks save bits, shorter ones lose less per flip.
            The other parameters are those of :class:`~flipproof.codec.grown.GrownCodec`.
    """

    name: ClassVar[str] = "tracks"
    growth_reserve: ClassVar[float] = 1.0
    threshold: float = 0.625
    track_bits: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_parameters(("track_bits", 0 <= self.track_bits <= 15, "from 0 to 15"))

    @property
    def longest(self) -> int:  # noqa: D102 (inherited)
        return self.track_bits

    @classmethod
    def spending(cls, longest: int) -> TrackSpending:  # noqa: D102 (inherited)
        return TrackSpending(longest)
