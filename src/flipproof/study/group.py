"""One codec on one photograph: encoded once, sent through every channel many times, decoded in a batch, measured."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from flipproof import seeds
from flipproof._version import __version__
from flipproof.channel.base import Channel
from flipproof.channel.judge import GRAY, PictureJudge
from flipproof.codec.base import Codec
from flipproof.errors import FlipproofError
from flipproof.image import RgbImage
from flipproof.metric.psnr import psnr
from flipproof.received import File, hard
from flipproof.result import DecodeResult, Status
from flipproof.study.plan import Plan
from flipproof.study.store import ERROR, FAILED, Row

__all__ = ["Group", "Measured", "measure"]


@dataclass(frozen=True)
class Group:
    """What is measured at once.

    Attributes:
        plan: The study.
        photograph: Name of the picture.
        crop: Its part that is coded, (H, W, 3), uint8.
        spelling: Of the codec, as the plan has it.
        codec: The codec.
        channels: By the plan's spellings.
    """

    plan: Plan
    photograph: str
    crop: RgbImage
    spelling: str
    codec: Codec
    channels: Mapping[str, Channel]


@dataclass(frozen=True)
class Measured:
    """The rows of a group and the picture of each, in the order of the plan's cells; None where there is none."""

    rows: list[Row]
    images: list[RgbImage | None]


@dataclass(frozen=True)
class _Sent:
    """An encoded file, what became of it in each cell of the plan, and the seconds that took."""

    data: bytes
    received: list[File]
    results: list[DecodeResult]
    encode_seconds: float
    decode_seconds: float


def measure(group: Group) -> Measured:
    """Measures a group; a codec or channel that gives up leaves rows with the status ``error``."""
    try:
        sent = _send(group)
    except FlipproofError as error:
        rows = [replace(_blank(group, index), error=_one_line(str(error))) for index in range(len(group.plan.cells()))]
        return Measured(rows, [None] * len(rows))
    shown = [_shown(result, group.crop) for result in sent.results]
    rows = [_row(group, sent, index, *shown[index]) for index in range(len(shown))]
    return Measured(rows, [image for image, _ in shown])


def _send(group: Group) -> _Sent:
    started = time.perf_counter()
    data = group.codec.encode(group.crop)
    encoded = time.perf_counter()
    received = _received(group, data)
    distinct = list(dict.fromkeys(received))  # equal bytes decode to equal pictures; soft decisions are never equal
    sent = time.perf_counter()
    decoded = dict(zip(distinct, group.codec.decode_many(distinct), strict=True))
    seconds = (time.perf_counter() - sent) / len(distinct)
    return _Sent(data, received, [decoded[file] for file in received], encoded - started, seconds)


def _received(group: Group, data: bytes) -> list[File]:
    """Sends a file through every cell of the plan."""
    judge = PictureJudge(group.codec, group.crop)
    aimed = {spelling: channel.aimed(judge) for spelling, channel in group.channels.items()}
    return [aimed[spelling].send(data, _randomness(group, spelling, trial)) for spelling, trial in group.plan.cells()]


def _randomness(group: Group, spelling: str, trial: int) -> np.random.Generator:
    return seeds.generator(
        purpose="study channel",
        seed=group.plan.seed,
        photograph=group.photograph,
        channel=str(group.channels[spelling]),
        trial=trial,
    )


def _blank(group: Group, index: int) -> Row:
    """Returns the row of a cell that nothing came out of."""
    channel, trial = group.plan.cells()[index]
    return Row(
        study=group.plan.name,
        photograph=group.photograph,
        codec=group.spelling,
        channel=channel,
        trial=trial,
        seed=group.plan.seed,
        flips=0,
        file_bytes=0,
        bpp=0.0,
        status=ERROR,
        psnr_db=None,
        psnr_all_db=None,
        encode_seconds=0.0,
        decode_seconds=0.0,
        repaired_bits=0,
        error="",
        version=__version__,
    )


def _row(group: Group, sent: _Sent, index: int, image: RgbImage | None, reason: str) -> Row:
    result = sent.results[index]
    gray = np.full_like(group.crop, GRAY)
    return replace(
        _blank(group, index),
        flips=_wrong_bits(sent.data, hard(sent.received[index])),
        file_bytes=len(sent.data),
        bpp=8 * len(sent.data) / (group.crop.shape[0] * group.crop.shape[1]),
        status=FAILED if image is None else str(result.status),
        psnr_db=None if image is None else psnr(image, group.crop),
        psnr_all_db=psnr(gray if image is None else image, group.crop),
        encode_seconds=sent.encode_seconds,
        decode_seconds=sent.decode_seconds,
        repaired_bits=result.damage.repaired_bits,
        error=_one_line(reason),
    )


def _shown(result: DecodeResult, crop: RgbImage) -> tuple[RgbImage | None, str]:
    """Returns the picture that counts and why there is none; a picture of another size is none."""
    if result.image is None or result.status is Status.FAILED:
        return None, result.error
    if result.image.shape != crop.shape:
        (height, width), (high, wide) = result.image.shape[:2], crop.shape[:2]
        return None, f"decoded to {width}x{height}, expected {wide}x{high}"
    return result.image, ""


def _wrong_bits(sent: bytes, received: bytes) -> int:
    """Counts the bits that differ where both files have some, and those that only one of them has."""
    common = min(len(sent), len(received))
    differing = np.frombuffer(sent[:common], np.uint8) ^ np.frombuffer(received[:common], np.uint8)
    return int(np.bitwise_count(differing).sum(dtype=np.int64)) + 8 * abs(len(sent) - len(received))


def _one_line(text: str) -> str:
    return " ".join(text.split())
