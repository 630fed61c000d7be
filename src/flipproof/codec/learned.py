"""Codecs whose networks write entropy-coded streams: what they have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar

from flipproof.codec.base import Codec
from flipproof.codec.ladder import encode_at_rate
from flipproof.codec.split import Split
from flipproof.errors import DecodeError, ImageError
from flipproof.image import ImageLike, RgbImage, to_rgb
from flipproof.learned.envelope import Envelope
from flipproof.received import File, hard
from flipproof.result import Damage, DecodeResult, Status

if TYPE_CHECKING:
    from flipproof.codec.target import Priority

__all__ = ["LearnedCodec"]


class LearnedCodec(Codec):
    """A codec whose files are an :class:`~flipproof.learned.envelope.Envelope` of streams, without any protection.

    Attributes:
        magic: The first four bytes of its files.
        streams: How many streams they hold.
        bpp: Whole-file rate in bits per pixel, instead of a level; None without.
    """

    magic: ClassVar[bytes]
    streams: ClassVar[int]
    bpp: float | None

    @property
    @abstractmethod
    def levels(self) -> Sequence[int]:
        """Levels of the envelope that can be written here, in the order of growing files."""

    @property
    @abstractmethod
    def level(self) -> int:
        """The level where no rate is given."""

    @abstractmethod
    def compressor(self, rgb: RgbImage) -> Callable[[int], tuple[bytes, ...]]:
        """Returns what makes the streams of a picture at a level.

        Raises:
            ImageError: The picture is too large.
            WeightsError: The weights are missing or unreadable.
        """

    @abstractmethod
    def decompress(self, envelope: Envelope) -> RgbImage:
        """Returns the picture of a file.

        Raises:
            DecodeError: The header asks for what there is not, or the streams are such as no encoder writes.
            ImageError: The picture is too large.
            WeightsError: The weights are missing or unreadable, which says nothing about the file.
        """

    def require_reader(self) -> None:
        """Checks what decoding needs before a file is looked at.

        Raises:
            WeightsError: No file could be decoded.
        """

    def encode(self, image: ImageLike, priority: Priority | None = None) -> bytes:
        """Encodes a picture; equal pictures and parameters give equal bytes.

        Raises:
            SpecError: There is a priority, or no such device.
            ImageError: The picture cannot be read, or is too large.
            RateError: The smallest file takes more than the asked rate.
            WeightsError: The weights are missing or unreadable.
            MissingExtraError: A library is not installed.
        """
        self.check_parameters(("priority", priority is None, "none, it has no way to follow a map"), priority="a map")
        rgb = to_rgb(image)
        height, width, _ = rgb.shape
        compress = self.compressor(rgb)

        def save(level: int) -> bytes:
            return Envelope(height, width, level, compress(level)).pack(self.magic)

        if self.bpp is None:
            return save(self.level)
        return encode_at_rate(self.name, save, self.levels, self.bpp, height * width)

    def decode_many(self, files: Sequence[File], upto: float = 1.0) -> list[DecodeResult]:
        """Decodes files, one after the other; never raises for what the bytes are.

        Raises:
            SpecError: A part of a file is asked for, or there is no such device.
            WeightsError: The weights are missing or unreadable, which says nothing about the files.
            MissingExtraError: A library is not installed.
        """
        self.check_parameters(("upto", upto == 1, "1, its files do not show in part"), upto=upto)
        self.require_reader()
        return [self._load(hard(file)) for file in files]

    def split(self, data: bytes) -> Split:
        """Tells how a file divides: into the header, and streams that carry the picture.

        Raises:
            DecodeError: It is no file of this codec.
        """
        streams = 8 * sum(map(len, Envelope.unpack(data, self.magic, self.streams).streams))
        return Split(header=8 * len(data) - streams, indices=streams)

    def _load(self, data: bytes) -> DecodeResult:
        try:
            picture = self.decompress(Envelope.unpack(data, self.magic, self.streams))
        except (DecodeError, ImageError) as error:
            return DecodeResult(None, Status.FAILED, codec=self.name, error=str(error))
        return DecodeResult(picture, Status.OK, Damage(), self.name)
