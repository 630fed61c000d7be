"""Running a study: encode once, corrupt the whole file many times, decode in a batch, measure."""

from __future__ import annotations

import hashlib
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np

from flipproof import registry, seeds
from flipproof._version import __version__
from flipproof.channel.bsc import BinarySymmetricChannel
from flipproof.codec.base import Codec
from flipproof.errors import FlipproofError, SpecError
from flipproof.image import RgbImage
from flipproof.metric.psnr import psnr
from flipproof.prior import SMALL_SHA256
from flipproof.result import DecodeResult, Status
from flipproof.study.photos import centre_crop
from flipproof.study.plan import Plan
from flipproof.study.store import ERROR, FAILED, Record, Row, Store

__all__ = ["GRAY", "Progress", "codecs_of", "run"]

GRAY = 128
"""The level of the picture that stands in for one that does not decode."""

_PACKAGES = ("numpy", "torch", "pillow", "scikit-image")


@dataclass(frozen=True)
class Progress:
    """Where a study stands.

    Attributes:
        done: Finished groups (photograph x codec).
        total: All groups.
        failures: Files so far without a picture, errors included.
        label: What is going on.
    """

    done: int
    total: int
    failures: int
    label: str


@dataclass(frozen=True)
class _Group:
    """One codec on one photograph."""

    plan: Plan
    photograph: str
    crop: RgbImage
    spelling: str
    codec: Codec


@dataclass(frozen=True)
class _Sent:
    """An encoded file, what became of it in each cell of the plan, and the seconds that took."""

    data: bytes
    received: list[bytes]
    results: list[DecodeResult]
    encode_seconds: float
    decode_seconds: float


def codecs_of(plan: Plan) -> dict[str, Codec]:
    """Builds the codecs of a plan, by its spellings.

    Raises:
        SpecError: A spelling names no codec, or has a bad parameter.
    """
    return {spelling: registry.codec(spelling) for spelling in plan.codecs}


def run(
    plan: Plan,
    pictures: Mapping[str, RgbImage],
    codecs: Mapping[str, Codec],
    folder: Path,
    command: str = "",
    progress: Callable[[Progress], None] = lambda _: None,
) -> list[Row]:
    """Runs a study, or the part of it that is not yet in its folder.

    But for its seconds, a row is a pure function of the plan, the pictures and the version: flips are drawn
    from (seed, photograph, bit error rate, trial) and not from the codec, so files of equal length meet equal
    flips.

    Arguments:
        plan: What to measure.
        pictures: Arrays (H, W, 3), uint8, one for each photograph of the plan.
        codecs: One for each spelling of the plan, as from :func:`codecs_of`.
        folder: Where rows and pictures go; see :class:`flipproof.study.store.Store`.
        command: The command that repeats the study, for the report.
        progress: Called before and after each group.

    Returns:
        One row per file received, in the plan's order.

    Raises:
        SpecError: A picture or a codec of the plan was not given.
    """
    groups = _groups(plan, pictures, codecs)
    store = Store(folder)
    rows = store.begin(_record(plan, groups, command))
    finished = {(row.photograph, row.codec) for row in rows}
    for group in groups:
        if (group.photograph, group.spelling) in finished:
            continue
        progress(_standing(rows, plan, f"{group.spelling} on {group.photograph}"))
        rows += _measure(group, store)
    progress(_standing(rows, plan, "done"))
    order = {(group.photograph, group.spelling): index for index, group in enumerate(groups)}
    return sorted(rows, key=lambda row: order[row.photograph, row.codec])


def _groups(plan: Plan, pictures: Mapping[str, RgbImage], codecs: Mapping[str, Codec]) -> list[_Group]:
    """Photographs outside, codecs inside, so that the time of the first photograph foretells the rest."""
    missing = [name for name in plan.photographs if name not in pictures]
    missing += [spelling for spelling in plan.codecs if spelling not in codecs]
    if missing:
        raise SpecError(f"study: expected a picture or codec for each of {missing}, got none")
    crops = {name: centre_crop(pictures[name], plan.crop) for name in plan.photographs}
    return [
        _Group(plan, name, crops[name], spelling, codecs[spelling])
        for name in plan.photographs
        for spelling in plan.codecs
    ]


def _record(plan: Plan, groups: Sequence[_Group], command: str) -> Record:
    digests = {
        group.photograph: hashlib.sha256(repr(group.crop.shape).encode() + group.crop.tobytes()).hexdigest()
        for group in groups
    }
    spellings = {group.spelling: str(group.codec) for group in groups}
    return Record(plan, spellings, digests, _versions(), command)


def _versions() -> dict[str, str]:
    versions = {"flipproof": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    platform_name = f"{platform.system()} {platform.machine()}"
    return versions | {"small prior": SMALL_SHA256[:8], "platform": platform_name}


def _standing(rows: Sequence[Row], plan: Plan, label: str) -> Progress:
    failures = sum(row.status in (FAILED, ERROR) for row in rows)
    return Progress(len(rows) // len(plan.cells()), len(plan.photographs) * len(plan.codecs), failures, label)


def _measure(group: _Group, store: Store) -> list[Row]:
    """Runs a group and keeps its rows and the pictures of its first trials."""
    store.save_picture(store.original_path(group.photograph), group.crop)
    try:
        sent = _send(group)
    except FlipproofError as error:
        rows = [_error_row(group, rate, trial, error) for rate, trial in group.plan.cells()]
    else:
        rows = [_row(group, sent, index) for index in range(len(sent.results))]
        _keep_pictures(group, rows, sent.results, store)
    store.append(rows)
    return rows


def _send(group: _Group) -> _Sent:
    started = time.perf_counter()
    data = group.codec.encode(group.crop)
    encoded = time.perf_counter()
    received = [_corrupt(group, data, rate, trial) for rate, trial in group.plan.cells()]
    corrupted = time.perf_counter()
    results = group.codec.decode_many(received)
    seconds = (time.perf_counter() - corrupted) / len(received)
    return _Sent(data, received, results, encoded - started, seconds)


def _corrupt(group: _Group, data: bytes, rate: float, trial: int) -> bytes:
    rng = seeds.generator(
        purpose="study flips",
        seed=group.plan.seed,
        photograph=group.photograph,
        bit_error_rate=float(rate),
        trial=trial,
    )
    return BinarySymmetricChannel(rate).corrupt(data, rng)


def _row(group: _Group, sent: _Sent, index: int) -> Row:
    rate, trial = group.plan.cells()[index]
    result = sent.results[index]
    image, reason = _shown(result, group.crop)
    gray = np.full_like(group.crop, GRAY)
    return Row(
        study=group.plan.name,
        photograph=group.photograph,
        codec=group.spelling,
        bit_error_rate=rate,
        trial=trial,
        seed=group.plan.seed,
        flips=_distance(sent.data, sent.received[index]),
        file_bytes=len(sent.data),
        bpp=8 * len(sent.data) / (group.crop.shape[0] * group.crop.shape[1]),
        status=FAILED if image is None else str(result.status),
        psnr_db=None if image is None else psnr(image, group.crop),
        psnr_all_db=psnr(gray if image is None else image, group.crop),
        encode_seconds=sent.encode_seconds,
        decode_seconds=sent.decode_seconds,
        repaired_bits=result.damage.repaired_bits,
        error=_one_line(reason),
        version=__version__,
    )


def _error_row(group: _Group, rate: float, trial: int, error: FlipproofError) -> Row:
    return Row(
        study=group.plan.name,
        photograph=group.photograph,
        codec=group.spelling,
        bit_error_rate=rate,
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
        error=_one_line(str(error)),
        version=__version__,
    )


def _shown(result: DecodeResult, crop: RgbImage) -> tuple[RgbImage | None, str]:
    """Returns the picture that counts and why there is none; a picture of another size is none."""
    if result.image is None or result.status is Status.FAILED:
        return None, result.error
    if result.image.shape != crop.shape:
        (height, width), (high, wide) = result.image.shape[:2], crop.shape[:2]
        return None, f"decoded to {width}x{height}, expected {wide}x{high}"
    return result.image, ""


def _keep_pictures(group: _Group, rows: Sequence[Row], results: Sequence[DecodeResult], store: Store) -> None:
    for row, result in zip(rows, results, strict=True):
        path = store.picture_path(group.photograph, group.spelling, row.bit_error_rate)
        if row.trial == 0 and row.status == FAILED:
            path.unlink(missing_ok=True)
        elif row.trial == 0 and result.image is not None:
            store.save_picture(path, result.image)


def _distance(sent: bytes, received: bytes) -> int:
    differing = np.frombuffer(sent, np.uint8) ^ np.frombuffer(received, np.uint8)
    return int(np.unpackbits(differing).sum())


def _one_line(text: str) -> str:
    return " ".join(text.split())
