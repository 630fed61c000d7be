"""Codecs whose files another library writes and reads: what they have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from flipproof.codec.base import Codec
from flipproof.codec.isolated import Isolated
from flipproof.codec.ladder import MOST_RATE, encode_at_rate
from flipproof.errors import DecodeError
from flipproof.image import ImageLike, RgbImage, to_rgb
from flipproof.received import File, hard
from flipproof.result import Damage, DecodeResult, Status

if TYPE_CHECKING:
    from flipproof.codec.target import Priority

__all__ = ["ForeignCodec"]


@dataclass(frozen=True)
class ForeignCodec(Codec):
    """A codec whose files another library writes, and reads in a process of its own.

    Ordinary formats say little about damage: ``ok`` means that the library read the file without complaint, not that
    the file is undamaged.

    Attributes:
        bpp: Whole-file rate in bits per pixel: the largest file that fits, instead of a quality.
        decoding: ``strict``: where the library reports an error or the data ends early, there is no picture.
            ``concealing``: then there is a picture of what could be read, with the status ``degraded``.
    """

    bpp: float | None = field(default=None, kw_only=True)
    decoding: str = field(default="strict", kw_only=True)

    reader: ClassVar[Isolated]
    """Reads whole files; raises DecodeError for everything the library reports."""
    concealer: ClassVar[Isolated | None] = None
    """Makes a picture of what there is; None where no library can."""

    def __post_init__(self) -> None:
        policies = ("strict",) if self.concealer is None else ("strict", "concealing")
        self.check_parameters(
            ("bpp", self.bpp is None or 0 < self.bpp <= MOST_RATE, f"above 0, at most {MOST_RATE:g}"),
            ("decoding", self.decoding in policies, " or ".join(policies)),
        )

    @property
    @abstractmethod
    def levels(self) -> range:
        """All levels of quality, in the order of growing files."""

    @property
    @abstractmethod
    def level(self) -> int:
        """The level where no rate is given."""

    @abstractmethod
    def save(self, rgb: RgbImage, level: int) -> bytes:
        """Makes the file of a level.

        Raises:
            ImageError: The format cannot hold the picture.
        """

    def encode(self, image: ImageLike, priority: Priority | None = None) -> bytes:  # noqa: D102 (inherited)
        self.check_parameters(("priority", priority is None, "none, it has no way to follow a map"), priority="a map")
        rgb = to_rgb(image)
        if self.bpp is None:
            return self.save(rgb, self.level)
        pixels = rgb.shape[0] * rgb.shape[1]
        return encode_at_rate(self.name, lambda level: self.save(rgb, level), self.levels, self.bpp, pixels)

    def decode_many(self, files: Sequence[File], upto: float = 1.0) -> list[DecodeResult]:  # noqa: D102 (inherited)
        self.check_parameters(("upto", upto == 1, "1, its files do not show in part"), upto=upto)
        self.require_reader()
        return [self._load(hard(file)) for file in files]

    def require(self) -> None:  # noqa: D102 (inherited)
        self.require_reader()

    def require_reader(self) -> None:
        """Imports what decoding needs, before a child process tries to.

        Raises:
            MissingExtraError: A library is not installed.
        """

    def _load(self, data: bytes) -> DecodeResult:
        try:
            return DecodeResult(self.reader(data), Status.OK, Damage(), self.name)
        except DecodeError as error:
            return self._conceal(data, str(error))

    def _conceal(self, data: bytes, reason: str) -> DecodeResult:
        if self.concealer is None or self.decoding == "strict":
            return DecodeResult(None, Status.FAILED, codec=self.name, error=reason)
        try:
            return DecodeResult(self.concealer(data), Status.DEGRADED, Damage(notes=(reason,)), self.name)
        except DecodeError as error:
            return DecodeResult(None, Status.FAILED, codec=self.name, error=str(error))
