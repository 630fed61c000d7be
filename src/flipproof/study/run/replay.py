"""One cell of a study again, from its row alone: the file as sent, as received, and the picture."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

from PIL import Image

from flipproof import registry
from flipproof.errors import SpecError
from flipproof.image import RgbImage, to_rgb
from flipproof.received import hard
from flipproof.result import DecodeResult
from flipproof.study.dataset.picture import digest
from flipproof.study.record import Record
from flipproof.study.run.cell import Subject
from flipproof.study.run.job import DecodeJob
from flipproof.study.store.file import EncodedFile
from flipproof.study.store.store import Store

__all__ = ["Replay", "replay"]


@dataclass(frozen=True)
class Replay:
    """What happened in a cell.

    Attributes:
        key: Of the cell.
        original: The picture that was coded.
        sent: The file.
        received: What arrived, in hard decisions.
        result: What it decoded to.
    """

    key: str
    original: RgbImage
    sent: bytes
    received: bytes
    result: DecodeResult


def replay(store: Store, prefix: str, image: RgbImage | None = None) -> Replay:
    """Does a cell again.

    Arguments:
        store: The study.
        prefix: Beginning of the key of the cell.
        image: The picture as it was coded, for those of which the study keeps none.

    Raises:
        SpecError: No cell or several cells have such a key, or the picture is missing or another one.
        StoreError: There is no study.
    """
    record = store.record()
    row = _row(store, prefix)
    original = _original(store, row["picture"], image)
    if digest(original) != row["picture_sha256"]:
        raise SpecError(f"expected the picture {row['picture']} as it was coded, got another")
    codec = registry.codec(row["codec"])
    subject = _subject(record, row["picture"], row["codec"])
    kept = store.load_file(subject.key)
    if kept is None:
        data = codec.encode(original)
        kept = EncodedFile(data, 0.0, codec.split(data))
    cell = subject.cell(row["channel"], row["trial"])
    job = DecodeJob(subject, original, codec, (cell,), "{}", kept, (), gallery=False, worst={})
    received = job.receive()[0]
    return Replay(row["key"], original, kept.data, hard(received), codec.decode_many([received])[0])


def _row(store: Store, prefix: str) -> dict[str, Any]:
    table = store.table().select(["key", "picture", "picture_sha256", "codec", "channel", "trial"])
    found = [row for row in table.to_pylist() if row["key"].startswith(prefix)]
    if len(found) != 1:
        raise SpecError(f"expected the beginning of one cell's key, got {prefix!r}, which {len(found)} cells have")
    return dict(found[0])


def _original(store: Store, picture: str, image: RgbImage | None) -> RgbImage:
    kept = store.original(picture)
    if image is not None:
        return image
    if kept is None:
        raise SpecError(f"expected the picture {picture}, of which the study keeps no copy; give it")
    return to_rgb(Image.open(io.BytesIO(kept)))


def _subject(record: Record, picture: str, spelling: str) -> Subject:
    entry = next(each for each in record.pictures if each.name == picture)
    codec = next(each for each in record.codecs if each.spelling == spelling)
    return Subject(record.plan.name, record.plan.seed, entry, codec)
