"""MS-ILLM, a learned codec with a generator that was trained to look real at low rates."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from flipproof.codec.base import Codec
from flipproof.codec.ladder import MOST_RATE, encode_at_rate
from flipproof.errors import DecodeError, ImageError, RateError
from flipproof.image import ImageLike, RgbImage, to_rgb
from flipproof.learned.envelope import Envelope
from flipproof.learned.illm_model import IllmModel, load_model
from flipproof.learned.illm_weights import QUALITIES, Quality, find, here, locate
from flipproof.prior.load import check_device
from flipproof.received import File, hard
from flipproof.result import Damage, DecodeResult, Status

if TYPE_CHECKING:
    from flipproof.codec.target import Priority

__all__ = ["MOST_PIXELS", "MsIllmCodec"]

MOST_PIXELS = 2**22
"""Largest picture; decoding takes about 1.2 KiB of memory for each of its pixels, and 1.6 GiB for the networks."""

_MAGIC = b"FPMI"


@dataclass(frozen=True)
class MsIllmCodec(Codec):
    """MS-ILLM with the networks of its authors, see :mod:`flipproof.learned.illm`.

    A file is an :class:`~flipproof.learned.envelope.Envelope` of two streams, hyper-latents and latents, unprotected.
    Any streams decode to some picture, so only damage to the first 10 or 11 bytes can leave none. A wrong bit changes
    all that follows it in its stream; one in the first stream also changes how the second is read. The authors keep the
    same streams in a Python pickle, in which a wrong bit mostly costs the picture.

    Files may not decode on other kinds of machines than the encoder's; :mod:`flipproof.learned.illm_model` says what is
    done about it.

    Attributes:
        quality: The model: vlo1, vlo2, or 1 to 6 (0.00218, 0.00438, 0.035, 0.07, 0.14, 0.3, 0.45 and 0.9 bits per pixel
            on average). Files say with which they were made.
        bpp: Whole-file rate in bits per pixel: the best quality whose weights are here and whose file fits, instead of
            ``quality``.
        weights: A checkpoint, taken for ``quality``; or a folder of checkpoints with their published names; None for
            those in the cache folder.
        device: Where to compute: cpu or cuda.
    """

    name: ClassVar[str] = "ms-illm"
    signature: ClassVar[re.Pattern[bytes] | None] = re.compile(_MAGIC)
    quality: str = "2"
    bpp: float | None = None
    weights: str | None = None
    device: str = "cpu"

    def __post_init__(self) -> None:
        object.__setattr__(self, "quality", str(self.quality))
        names = [quality.name for quality in QUALITIES]
        self.check_parameters(
            ("quality", self.quality in names, f"one of {', '.join(names)}"),
            ("bpp", self.bpp is None or 0 < self.bpp <= MOST_RATE, f"above 0, at most {MOST_RATE:g}"),
        )
        check_device(self.device)

    def encode(self, image: ImageLike, priority: Priority | None = None) -> bytes:
        """Encodes a picture.

        Raises:
            SpecError: There is a priority.
            ImageError: The picture has more than 2^22 pixels.
            RateError: It takes more than the asked rate at the lowest quality whose weights are here.
            WeightsError: The weights are missing or unreadable.
        """
        self.check_parameters(("priority", priority is None, "none, it has no way to follow a map"), priority="a map")
        rgb = to_rgb(image)
        _check_pixels(*rgb.shape[:2])
        if self.bpp is None:
            return self._save(rgb, find(self.quality))
        ladder = here(find(self.quality), self.weights)
        pixels = rgb.shape[0] * rgb.shape[1]
        try:
            return encode_at_rate(
                self.name, lambda level: self._save(rgb, ladder[level]), range(len(ladder)), self.bpp, pixels
            )
        except RateError as error:
            raise RateError(f"{error} (weights are here of quality {_listed(ladder)})") from error

    def decode_many(self, files: Sequence[File], upto: float = 1.0) -> list[DecodeResult]:
        """Decodes files, one after the other.

        Raises:
            WeightsError: The weights are missing or unreadable, which says nothing about the files.
            SpecError: A part of a file is asked for.
        """
        self.check_parameters(("upto", upto == 1, "1, its files do not show in part"), upto=upto)
        ladder = here(find(self.quality), self.weights)
        return [self._load(hard(file), ladder) for file in files]

    def _save(self, rgb: RgbImage, quality: Quality) -> bytes:
        streams = self._model(quality).compress(rgb)
        height, width, _ = rgb.shape
        return Envelope(height, width, QUALITIES.index(quality), streams).pack(_MAGIC)

    def _load(self, data: bytes, ladder: Sequence[Quality]) -> DecodeResult:
        try:
            envelope = Envelope.unpack(data, _MAGIC, streams=2)
            _check_pixels(envelope.height, envelope.width)
            quality = _quality(envelope.level, ladder)
        except (DecodeError, ImageError) as error:
            return DecodeResult(None, Status.FAILED, codec=self.name, error=str(error))
        first, last = envelope.streams
        picture = self._model(quality).decompress((first, last), envelope.height, envelope.width)
        return DecodeResult(picture, Status.OK, Damage(), self.name)

    def _model(self, quality: Quality) -> IllmModel:
        return load_model(locate(quality, self.weights), self.device)


def _check_pixels(height: int, width: int) -> None:
    if height * width > MOST_PIXELS:
        raise ImageError(f"ms-illm: expected at most {MOST_PIXELS} pixels, got {width}x{height}")


def _quality(level: int, ladder: Sequence[Quality]) -> Quality:
    if level < len(QUALITIES) and QUALITIES[level] in ladder:
        return QUALITIES[level]
    found = f"quality {QUALITIES[level].name}" if level < len(QUALITIES) else f"level {level}, which there is not"
    raise DecodeError(f"expected a file of quality {_listed(ladder)}, whose weights are here, got one of {found}")


def _listed(ladder: Sequence[Quality]) -> str:
    return ", ".join(quality.name for quality in ladder)
