"""How a study came about: what its folder keeps beside the rows."""

from __future__ import annotations

from typing import Any

from flipproof.study.extras import needs_extra
from flipproof.study.plan import Plan

with needs_extra():
    from pydantic import BaseModel, ConfigDict

__all__ = ["SCHEMA", "CodecEntry", "MetricEntry", "PictureEntry", "Record", "Unreadable"]

SCHEMA = 3
"""Version of ``study.json`` and of the columns of the rows."""


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CodecEntry(_Entry):
    """A codec of a study.

    Attributes:
        spelling: Canonical.
        name: Without parameters.
        family: The spelling without its rate or quality: what one rate-distortion curve is made of.
        asked_bpp: The rate it is asked for; None if it has none.
        config: Its parameters.
        weights: Names and SHA-256 of the weights behind it, as ``name:digest``; empty if there are none.
        skipped: Why it is not measured, and what would mend that; empty if it is.
    """

    spelling: str
    name: str
    family: str
    asked_bpp: float | None
    config: dict[str, Any]
    weights: str
    skipped: str = ""


class PictureEntry(_Entry):
    """A picture of a study, as it is coded.

    Attributes:
        dataset: Where it comes from: the name of a data set, or the folder's or glob's text.
        name: Unique in the study.
        sha256: Of shape and samples after framing.
        height: After framing, in pixels.
        width: The same.
    """

    dataset: str
    name: str
    sha256: str
    height: int
    width: int


class Unreadable(_Entry):
    """A file of a data set that gives no picture."""

    dataset: str
    name: str
    reason: str


class MetricEntry(_Entry):
    """A metric of a study.

    Attributes:
        name: As in the registry.
        column: Of the rows, over files with a picture; with ``_all`` behind it, over all files.
        higher_is_better: Which way is better.
        skipped: Why it is not measured; empty if it is.
    """

    name: str
    column: str
    higher_is_better: bool
    skipped: str = ""


class Record(_Entry):
    """A study, resolved: the plan, and what it came to on this machine.

    Attributes:
        schema_version: Of the file; see :data:`SCHEMA`.
        plan: What was asked.
        codecs: Every codec at every rate, in order, those skipped too.
        channels: Canonical spellings, in order.
        pictures: In order.
        unreadable: Files that were left out.
        metrics: In order, PSNR first.
        versions: Of flipproof and what it stands on, by name.
        command: The command that repeats the study; empty if it was not started by one.
    """

    schema_version: int = SCHEMA
    plan: Plan
    codecs: tuple[CodecEntry, ...]
    channels: tuple[str, ...]
    pictures: tuple[PictureEntry, ...]
    unreadable: tuple[Unreadable, ...] = ()
    metrics: tuple[MetricEntry, ...]
    versions: dict[str, str]
    command: str = ""

    @property
    def measured_codecs(self) -> tuple[CodecEntry, ...]:
        """The codecs that are not skipped."""
        return tuple(codec for codec in self.codecs if not codec.skipped)

    @property
    def measured_metrics(self) -> tuple[MetricEntry, ...]:
        """The metrics that are not skipped."""
        return tuple(metric for metric in self.metrics if not metric.skipped)

    @property
    def datasets(self) -> tuple[str, ...]:
        """The data sets, each once, in order."""
        return tuple(dict.fromkeys(picture.dataset for picture in self.pictures))
