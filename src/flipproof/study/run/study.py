"""A plan, resolved on this machine: which codecs and metrics can work, on which pictures, with which weights."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from importlib import metadata

from flipproof import registry
from flipproof._version import __version__
from flipproof.codec.base import Codec
from flipproof.errors import MissingExtraError, SpecError, WeightsError
from flipproof.metric.ready import higher_is_better, require_metric
from flipproof.study.dataset.collection import Collection
from flipproof.study.dataset.picture import Picture
from flipproof.study.plan import Plan
from flipproof.study.record import CodecEntry, MetricEntry, Record
from flipproof.study.store.row import column_of

__all__ = ["Study", "family", "prepare"]

_PACKAGES = ("torch", "numpy", "pillow", "scipy", "scikit-image", "av", "imagecodecs", "pillow-heif", "diffusers")
_RATES = ("bpp", "quality")


@dataclass(frozen=True)
class Study:
    """What is to be measured.

    Attributes:
        record: What the study's folder keeps about it.
        pictures: In the record's order.
        codecs: Those that can work, by canonical spelling, in the record's order.
    """

    record: Record
    pictures: tuple[Picture, ...]
    codecs: Mapping[str, Codec]


def prepare(plan: Plan, collection: Collection, command: str = "", codecs: Mapping[str, Codec] | None = None) -> Study:
    """Resolves a plan; a codec or metric that lacks a library or weights is noted with the reason, and skipped.

    Arguments:
        plan: What is asked.
        collection: The pictures.
        command: The command that repeats the study, for the record.
        codecs: Codecs by spelling to use instead of the plan's.

    Raises:
        SpecError: A spelling is wrong.
    """
    made = plan.all_codecs() if codecs is None else dict(codecs)
    entries = tuple(_codec_entry(spelling, codec) for spelling, codec in made.items())
    record = Record(
        plan=plan,
        codecs=entries,
        channels=plan.all_channels(),
        pictures=tuple(picture.entry for picture in collection.pictures),
        unreadable=collection.unreadable,
        metrics=tuple(map(_metric_entry, plan.metrics)),
        versions=_versions(),
        command=command,
    )
    ready = {entry.spelling: made[entry.spelling] for entry in record.measured_codecs}
    return Study(record, collection.pictures, ready)


def family(codec: Codec) -> str:
    """Returns the spelling of a codec without its rate or quality: what one rate-distortion curve is made of.

    Example:
        >>> from flipproof.codec.jpeg import JpegCodec
        >>> family(JpegCodec(bpp=0.5, restart=8))
        'jpeg[restart=8]'
    """
    return str(_unrated(codec))


def _unrated(codec: Codec) -> Codec:
    """Returns a codec with its rate, and that of a codec inside it, at their defaults."""
    own = {item.name: (item.default, getattr(codec, item.name)) for item in fields(codec)}  # type: ignore[arg-type]
    rates = {name: default for name, (default, _) in own.items() if name in _RATES}
    inside = {name: _unrated(value) for name, (_, value) in own.items() if isinstance(value, Codec)}
    return codec.with_parameters(**rates, **inside)


def _codec_entry(spelling: str, codec: Codec) -> CodecEntry:
    skipped = _obstacle(codec.require)
    config = {key: value for key, value in codec.get_config().items() if key != "codec"}
    return CodecEntry(
        spelling=spelling,
        name=registry.parse(str(codec))[0],
        family=family(codec),
        asked_bpp=getattr(codec, "bpp", None),
        config=config,
        weights="" if skipped else codec.digests(),
        skipped=skipped,
    )


def _metric_entry(name: str) -> MetricEntry:
    return MetricEntry(
        name=name,
        column=column_of(name),
        higher_is_better=higher_is_better(name),
        skipped=_obstacle(lambda: require_metric(name)),
    )


def _obstacle(require: Callable[[], None]) -> str:
    """Says why something cannot work here; empty if it can."""
    try:
        require()
    except (MissingExtraError, SpecError, WeightsError) as error:
        return " ".join(str(error).split())
    return ""


def _versions() -> dict[str, str]:
    versions = {"flipproof": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions | {"platform": f"{platform.system()} {platform.machine()}"}
