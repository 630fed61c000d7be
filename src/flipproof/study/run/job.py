"""What workers do: encode a picture; send its file through channels, decode what arrives, and measure it."""

from __future__ import annotations

import functools
import json
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from flipproof import registry
from flipproof.channel.judge import GRAY, PictureJudge
from flipproof.clock import device_name, synchronised
from flipproof.codec.base import Codec
from flipproof.errors import FlipproofError, ImageError
from flipproof.image import RgbImage, to_png
from flipproof.received import File, hard
from flipproof.result import DecodeResult, Status
from flipproof.study.run.cell import Cell, Subject
from flipproof.study.run.engine import Job, Result, Snapshot
from flipproof.study.store.file import EncodedFile
from flipproof.study.store.row import FAILED, Row, Score

__all__ = ["DecodeJob", "EncodeJob"]


@dataclass(frozen=True, eq=False)
class _FileJob(Job):
    """What is about one file of a study.

    Attributes:
        subject: Which file.
        image: The picture, (H, W, 3), uint8.
        codec: The codec.
        cells: What the file is for.
        versions: Of flipproof and what it stands on, JSON.
    """

    subject: Subject
    image: RgbImage
    codec: Codec
    cells: tuple[Cell, ...]
    versions: str

    def blank(self, cell: Cell) -> Row:
        """Returns the row of a cell that nothing came out of."""
        subject = self.subject
        return Row(
            key=cell.key,
            study=subject.study,
            dataset=subject.picture.dataset,
            picture=subject.picture.name,
            picture_sha256=subject.picture.sha256,
            height=subject.picture.height,
            width=subject.picture.width,
            codec=subject.codec.spelling,
            codec_config=json.dumps(subject.codec.config, sort_keys=True),
            weights=subject.codec.weights,
            asked_bpp=subject.codec.asked_bpp,
            channel=cell.channel,
            trial=cell.trial,
            seed=subject.seed,
            channel_seed=f"{cell.seed:032x}",
            device=device_name(self.codec),
            host=platform.node(),
            versions=self.versions,
            created=time.time(),
        )


@dataclass(frozen=True, eq=False)
class EncodeJob(_FileJob):
    """Encodes a picture."""

    @property
    def label(self) -> str:  # noqa: D102 (inherited)
        return f"{self.subject.codec.spelling} encodes {self.subject.picture.name}"

    def run(self) -> Result:  # noqa: D102 (inherited)
        started = synchronised()
        try:
            data = self.codec.encode(self.image)
            seconds = synchronised() - started
            return Result(file=EncodedFile(data, seconds, self.codec.split(data)))
        except Exception as error:
            return self.give_up(_reason(error))

    def give_up(self, reason: str) -> Result:  # noqa: D102 (inherited)
        return Result(tuple(replace(self.blank(cell), error=_one_line(reason)) for cell in self.cells))


@dataclass(frozen=True, eq=False)
class DecodeJob(_FileJob):
    """Sends a file through its cells, and decodes and measures what arrives.

    Attributes:
        file: The encoded file.
        metrics: Names of the metrics.
        gallery: Whether to keep the pictures of first trials.
        worst: Lowest PSNR known of each channel; pictures below it are kept.
    """

    file: EncodedFile
    metrics: tuple[str, ...]
    gallery: bool
    worst: Mapping[str, float]

    @property
    def label(self) -> str:  # noqa: D102 (inherited)
        return f"{self.subject.codec.spelling} decodes {self.subject.picture.name}"

    def run(self) -> Result:  # noqa: D102 (inherited)
        try:
            received = self.receive()
            decoded = self._decoded(received)
        except Exception as error:
            return self.give_up(_reason(error))
        rows = tuple(self._row(cell, file, decoded) for cell, file in zip(self.cells, received, strict=True))
        return Result(rows, tuple(self._snapshots(rows, [decoded.shown[file][0] for file in received])))

    def give_up(self, reason: str) -> Result:  # noqa: D102 (inherited)
        return Result(tuple(replace(self._sent(cell), error=_one_line(reason)) for cell in self.cells))

    def receive(self) -> list[File]:
        """Sends the file through every cell."""
        judge = PictureJudge(self.codec, self.image)
        spellings = dict.fromkeys(cell.channel for cell in self.cells)
        aimed = {spelling: registry.channel(spelling).aimed(judge) for spelling in spellings}
        return [aimed[cell.channel].send(self.file.data, _randomness(cell.seed)) for cell in self.cells]

    def _decoded(self, received: list[File]) -> _Decoded:
        """Decodes what differs: equal bytes give equal pictures; soft decisions are never equal."""
        distinct = list(dict.fromkeys(received))
        started = synchronised()
        results = dict(zip(distinct, self.codec.decode_many(distinct), strict=True))
        seconds = (synchronised() - started) / len(distinct)
        shown = {file: _shown(result, self.image) for file, result in results.items()}
        scores = {file: self._scores(image) for file, (image, _) in shown.items()}
        return _Decoded(results, shown, scores, seconds)

    def _scores(self, image: RgbImage | None) -> dict[str, Score]:
        if image is None:
            return {name: Score(None, value) for name, value in self._gray_scores.items()}
        return {name: Score(value, value) for name, value in _measured(self.metrics, image, self.image).items()}

    @functools.cached_property
    def _gray_scores(self) -> dict[str, float | None]:
        return _measured(self.metrics, np.full_like(self.image, GRAY), self.image)

    def _row(self, cell: Cell, file: File, decoded: _Decoded) -> Row:
        result, (image, reason) = decoded.results[file], decoded.shown[file]
        return replace(
            self._sent(cell),
            flips=_wrong_bits(self.file.data, hard(file)),
            status=FAILED if image is None else str(result.status),
            error=_one_line(reason),
            repaired_bits=result.damage.repaired_bits,
            failed_blocks=result.damage.failed_blocks,
            missing_bits=result.damage.missing_bits,
            steps=tuple((step.bits, step.repaired, step.suspect, step.lost) for step in result.damage.steps),
            decode_seconds=decoded.seconds,
            decode_batch=len(decoded.results),
            scores=decoded.scores[file],
        )

    def _sent(self, cell: Cell) -> Row:
        """Returns a row of what is known before the file is received."""
        data, split = self.file.data, self.file.split
        return replace(
            self.blank(cell),
            file_bytes=len(data),
            bpp=8 * len(data) / (self.image.shape[0] * self.image.shape[1]),
            header_bits=split.header,
            index_bits=split.indices,
            sign_bits=split.signs,
            parity_bits=split.parity,
            encode_seconds=self.file.seconds,
        )

    def _snapshots(self, rows: tuple[Row, ...], images: list[RgbImage | None]) -> list[Snapshot]:
        """Returns pictures of first trials, and of each channel the one that is worse than all known ones."""
        kept = []
        worst: dict[str, tuple[float, Row, RgbImage]] = {}
        for row, image in zip(rows, images, strict=True):
            if image is None:
                continue
            if self.gallery and row.trial == 0:
                kept.append(Snapshot(row, to_png(image), first=True))
            value = row.scores["psnr"].all_files or 0.0
            known = worst[row.channel][0] if row.channel in worst else self.worst.get(row.channel, np.inf)
            if value < known:
                worst[row.channel] = (value, row, image)
        return kept + [Snapshot(row, to_png(image), first=False) for _, row, image in worst.values()]


@dataclass(frozen=True)
class _Decoded:
    """What different received files came to, and the seconds of each."""

    results: dict[File, DecodeResult]
    shown: dict[File, tuple[RgbImage | None, str]]
    scores: dict[File, dict[str, Score]]
    seconds: float


def _reason(error: Exception) -> str:
    """Says what went wrong; a defect of a codec or of a library ends its own cells, and no study of days."""
    return str(error) if isinstance(error, FlipproofError) else f"{type(error).__name__}: {error}"


def _randomness(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=seed))


def _measured(names: tuple[str, ...], image: RgbImage, reference: RgbImage) -> dict[str, float | None]:
    """Returns what each metric says; None from one that is not defined for pictures of this size."""

    def value(name: str) -> float | None:
        try:
            return float(registry.metric(name)(image, reference))
        except ImageError:
            return None

    return {name: value(name) for name in names}


def _shown(result: DecodeResult, image: RgbImage) -> tuple[RgbImage | None, str]:
    """Returns the picture that counts and why there is none; a picture of another size is none."""
    if result.image is None or result.status is Status.FAILED:
        return None, result.error
    if result.image.shape != image.shape:
        (height, width), (high, wide) = result.image.shape[:2], image.shape[:2]
        return None, f"decoded to {width}x{height}, expected {wide}x{high}"
    return result.image, ""


def _wrong_bits(sent: bytes, received: bytes) -> int:
    """Counts the bits that differ where both files have some, and those that only one of them has."""
    common = min(len(sent), len(received))
    differing = np.frombuffer(sent[:common], np.uint8) ^ np.frombuffer(received[:common], np.uint8)
    return int(np.bitwise_count(differing).sum(dtype=np.int64)) + 8 * abs(len(sent) - len(received))


def _one_line(text: str) -> str:
    return " ".join(text.split())
