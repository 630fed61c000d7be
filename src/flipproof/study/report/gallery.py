"""The pictures in the page, as WebP, within a budget: as large as all of them can be."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from PIL import Image

from flipproof.study.record import PictureEntry, Record

__all__ = ["BUDGET", "Album", "Pictures", "gallery", "worst_pictures"]

BUDGET = 6_000_000
"""Letters of all pictures in a page, in Base64."""

_WORST_SHARE = 0.2
"""Of the budget, at most, for the worst files."""

_SIDES = (768, 640, 512, 448, 384, 320, 256, 192, 128)
"""Longest sides to choose from, in pixels, where the pictures as coded are too large."""

_GOOD_SIDE = 320
"""Rather fewer pictures than smaller ones."""

_SAMPLES = 24
_SPARE = 1.1


class Pictures(Protocol):
    """What keeps the pictures of a study, as PNG; None where there is none."""

    def original(self, picture: str) -> bytes | None:
        """Returns a picture as it was coded."""

    def decoded(self, picture: str, codec: str, channel: str) -> bytes | None:
        """Returns what the first trial decoded to."""

    def worst(self, codec: str, channel: str) -> tuple[str, bytes] | None:
        """Returns the key and the picture of the file with the lowest PSNR."""


@dataclass
class Album:
    """Pictures of a page, each stored once.

    Attributes:
        budget: Letters that may still be added.
        images: Base64 of WebP files.
    """

    budget: int = BUDGET
    images: list[str] = field(default_factory=list)
    _places: dict[str, int] = field(default_factory=dict)

    def add(self, webp: bytes) -> int | None:
        """Adds a picture and returns its place; None if the budget does not allow it."""
        text = base64.b64encode(webp).decode()
        if text not in self._places:
            if len(text) > self.budget:
                return None
            self.budget -= len(text)
            self._places[text] = len(self.images)
            self.images.append(text)
        return self._places[text]


@dataclass(frozen=True)
class _Tile:
    """A place on the wall: the name of a picture, and which codec and channel of the record it came through."""

    picture: str
    codec: int
    channel: int


def gallery(pictures: Pictures, record: Record, album: Album) -> dict[str, Any]:
    """Puts pictures of first trials into an album, at one size.

    They are as large as fits; where they would have to be smaller than 320 pixels, there are those of fewer pictures.

    Returns:
        ``side`` in pixels; ``pictures``: name, data set, size and place of the original in the album;
        ``tiles``: picture, codec, channel (indices) and place, None where the album is full.
    """
    entries = [entry for entry in record.pictures[: record.plan.gallery] if pictures.original(entry.name)]
    if not entries:
        return {"side": 0, "pictures": [], "tiles": []}
    side, count = _fit(pictures, record, entries, album.budget)
    shown = []
    made: list[list[int | None]] = []
    for index, entry in enumerate(entries[:count]):
        image = album.add(_webp(pictures.original(entry.name) or b"", side))
        place = {"dataset": record.datasets.index(entry.dataset), "image": image}
        shown.append({"name": entry.name, "width": entry.width, "height": entry.height} | place)
        for tile in _tiles(record, [entry]):
            png = _decoded(pictures, record, tile)
            if png:
                made.append([index, tile.codec, tile.channel, album.add(_webp(png, side))])
    return {"side": side, "pictures": shown, "tiles": made}


def worst_pictures(
    pictures: Pictures, files: Sequence[Mapping[str, Any]], album: Album, side: int = 256
) -> dict[str, int]:
    """Puts the pictures of the worst files into an album, as far as a fifth of its budget goes.

    Returns:
        Their places, by the key of the file.
    """
    least = album.budget * (1 - _WORST_SHARE)
    places: dict[str, int] = {}
    for file in files:
        kept = pictures.worst(file["codec"], file["channel"])
        if kept is None or kept[0] != file["key"] or album.budget < least:
            continue
        place = album.add(_webp(kept[1], side))
        if place is not None:
            places[kept[0]] = place
    return places


def _fit(pictures: Pictures, record: Record, entries: Sequence[PictureEntry], budget: int) -> tuple[int, int]:
    """Chooses a side, and for how many pictures: all of them, but for sides under 320 pixels."""
    distinct: dict[bytes, _Tile] = {}
    for tile in _tiles(record, entries):
        png = _decoded(pictures, record, tile)
        if png:
            distinct.setdefault(hashlib.sha256(png).digest(), tile)
    sample = [_decoded(pictures, record, distinct[digest]) for digest in sorted(distinct)[:_SAMPLES]]
    largest = max(max(entry.height, entry.width) for entry in entries)
    for side in (largest, *(side for side in _SIDES if side < largest)):
        letters = _SPARE * 4 / 3 * sum(len(_webp(png, side)) for png in sample if png) / max(1, len(sample))
        count = int(budget / max(1.0, letters * len(distinct) / len(entries)))
        if count >= len(entries) or (side <= _GOOD_SIDE and count):
            return side, min(count, len(entries))
    return _SIDES[-1], 1


def _decoded(pictures: Pictures, record: Record, tile: _Tile) -> bytes | None:
    return pictures.decoded(tile.picture, record.codecs[tile.codec].spelling, record.channels[tile.channel])


def _tiles(record: Record, entries: Sequence[PictureEntry]) -> Iterator[_Tile]:
    for entry in entries:
        for codec, kept in enumerate(record.codecs):
            if not kept.skipped:
                for channel in range(len(record.channels)):
                    yield _Tile(entry.name, codec, channel)


def _webp(png: bytes, side: int) -> bytes:
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(png)) as image:
        shown = image.convert("RGB")
        shown.thumbnail((side, side), Image.Resampling.LANCZOS)
        shown.save(buffer, "WEBP", quality=80, method=3)
    return buffer.getvalue()
