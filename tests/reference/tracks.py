"""The codec ``tracks``."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reference.bits import FieldReader, Received
from reference.codebook import scaled
from reference.grown import CodingOf, read_grown
from reference.header import Header
from reference.plan import Place, Plan, too_few


@dataclass(frozen=True)
class Tracks:
    """Row and sign of the atom of every track."""

    tracks: int
    row_bits: int

    @property
    def bits(self) -> int:
        return self.tracks * (self.row_bits + 1)

    def steer(self, received: Received, place: Place) -> np.ndarray | None:
        terms = []
        for track in range(self.tracks):
            row, negative = received.number(self.row_bits), received.number(1)
            if row is not None and negative is not None:
                terms.append((row * self.tracks + track, 1 - 2 * negative))
        if too_few(len(terms), self.tracks):
            return None
        codebook = place.codebook()
        return scaled(codebook.weighted_sum(terms), codebook)


def read_tracks(reader: FieldReader, header: Header) -> Plan:
    return read_grown(reader, header, _tracks_of_at_most, budget_bits=22)


def _tracks_of_at_most(most: int) -> CodingOf:
    def coding(samples: int, budget: int) -> Tracks:
        tracks = min(budget, samples)
        return Tracks(tracks, min(most, (samples // tracks).bit_length() - 1))

    return coding
