"""Running a study: every codec on every photograph, each as soon as the one before is on disk."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from flipproof import registry
from flipproof._version import __version__
from flipproof.channel.base import Channel
from flipproof.codec.base import Codec
from flipproof.errors import SpecError
from flipproof.image import RgbImage
from flipproof.prior import SMALL_SHA256
from flipproof.study.group import Group, Measured, measure
from flipproof.study.photos import centre_crop
from flipproof.study.plan import Plan
from flipproof.study.store import ERROR, FAILED, Record, Row, Store

__all__ = ["Progress", "channels_of", "codecs_of", "run"]

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


def codecs_of(plan: Plan) -> dict[str, Codec]:
    """Builds the codecs of a plan, by its spellings.

    Raises:
        SpecError: A spelling names no codec, or has a bad parameter.
    """
    return {spelling: registry.codec(spelling) for spelling in plan.codecs}


def channels_of(plan: Plan) -> dict[str, Channel]:
    """Builds the channels of a plan, by its spellings.

    Raises:
        SpecError: A spelling names no channel, or has a bad parameter.
    """
    return {spelling: registry.channel(spelling) for spelling in plan.channels}


def run(
    plan: Plan,
    pictures: Mapping[str, RgbImage],
    codecs: Mapping[str, Codec],
    folder: Path,
    command: str = "",
    progress: Callable[[Progress], None] = lambda _: None,
    channels: Mapping[str, Channel] | None = None,
) -> list[Row]:
    """Runs a study, or the part of it that is not yet in its folder.

    But for its seconds, a row is a pure function of the plan, the pictures and the version: damage is drawn
    from (seed, photograph, channel, trial) and not from the codec, so files of equal length meet equal noise.

    Arguments:
        plan: What to measure.
        pictures: Arrays (H, W, 3), uint8, one for each photograph of the plan.
        codecs: One for each spelling of the plan, as from :func:`codecs_of`.
        folder: Where rows and pictures go; see :class:`flipproof.study.store.Store`.
        command: The command that repeats the study, for the report.
        progress: Called before and after each group.
        channels: One for each spelling of the plan; None builds them with :func:`channels_of`.

    Returns:
        One row per file received, in the plan's order.

    Raises:
        SpecError: A picture, codec or channel of the plan was not given.
    """
    groups = _groups(plan, pictures, codecs, channels_of(plan) if channels is None else channels)
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


def _groups(
    plan: Plan,
    pictures: Mapping[str, RgbImage],
    codecs: Mapping[str, Codec],
    channels: Mapping[str, Channel],
) -> list[Group]:
    """Photographs outside, codecs inside, so that the time of the first photograph foretells the rest."""
    missing = [name for name in plan.photographs if name not in pictures]
    missing += [spelling for spelling in plan.codecs if spelling not in codecs]
    missing += [spelling for spelling in plan.channels if spelling not in channels]
    if missing:
        raise SpecError(f"study: expected a picture, codec or channel for each of {missing}, got none")
    crops = {name: centre_crop(pictures[name], plan.crop) for name in plan.photographs}
    return [
        Group(plan, name, crops[name], spelling, codecs[spelling], channels)
        for name in plan.photographs
        for spelling in plan.codecs
    ]


def _record(plan: Plan, groups: Sequence[Group], command: str) -> Record:
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


def _measure(group: Group, store: Store) -> list[Row]:
    """Runs a group and keeps its rows and the pictures of its first trials."""
    store.save_picture(store.original_path(group.photograph), group.crop)
    measured = measure(group)
    _keep_pictures(measured, store)
    store.append(measured.rows)
    return measured.rows


def _keep_pictures(measured: Measured, store: Store) -> None:
    for row, image in zip(measured.rows, measured.images, strict=True):
        if row.trial:
            continue
        path = store.picture_path(row.photograph, row.codec, row.channel)
        if image is None:
            path.unlink(missing_ok=True)
        else:
            store.save_picture(path, image)
