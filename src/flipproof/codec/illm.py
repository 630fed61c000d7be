"""MS-ILLM, a learned codec with a generator that was trained to look real at low rates."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from flipproof.codec.ladder import MOST_RATE
from flipproof.codec.learned import LearnedCodec
from flipproof.errors import DecodeError, ImageError, RateError
from flipproof.image import ImageLike, RgbImage
from flipproof.learned.envelope import Envelope
from flipproof.learned.illm_model import IllmModel, load_model
from flipproof.learned.illm_weights import QUALITIES, Quality, find, here, locate
from flipproof.prior.load import check_device
from flipproof.weights.digest import file_digest

if TYPE_CHECKING:
    from flipproof.codec.target import Priority

__all__ = ["MOST_PIXELS", "MsIllmCodec"]

MOST_PIXELS = 2**22
"""Largest picture; decoding takes about 1.2 KiB of memory for each of its pixels, and 1.6 GiB for the networks."""


@dataclass(frozen=True)
class MsIllmCodec(LearnedCodec):
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
    magic: ClassVar[bytes] = b"FPMI"
    signature: ClassVar[re.Pattern[bytes] | None] = re.compile(magic)
    streams: ClassVar[int] = 2
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

    @property
    def levels(self) -> list[int]:
        """Places in the list of qualities of those whose weights are here."""
        return [QUALITIES.index(quality) for quality in self._here()]

    @property
    def level(self) -> int:
        """Place of the quality in the list of all."""
        return QUALITIES.index(find(self.quality))

    def encode(self, image: ImageLike, priority: Priority | None = None) -> bytes:  # noqa: D102 (inherited)
        try:
            return super().encode(image, priority)
        except RateError as error:
            raise RateError(f"{error} (weights are here of quality {_listed(self._here())})") from error

    def compressor(self, rgb: RgbImage) -> Callable[[int], tuple[bytes, ...]]:  # noqa: D102 (inherited)
        _check_pixels(*rgb.shape[:2])
        return lambda level: self._model(QUALITIES[level]).compress(rgb)

    def decompress(self, envelope: Envelope) -> RgbImage:  # noqa: D102 (inherited)
        _check_pixels(envelope.height, envelope.width)
        model, (first, last) = self._model(_quality(envelope.level, self._here())), envelope.streams
        return model.decompress((first, last), envelope.height, envelope.width)

    def require_reader(self) -> None:
        """Looks for weights.

        Raises:
            WeightsError: There are none of any quality.
        """
        self._here()

    def require(self) -> None:
        """Looks for the weights of the quality; with a rate, of any.

        Raises:
            WeightsError: They are not here; says how to get them.
            SpecError: There is no such device.
        """
        check_device(self.device)
        self._used()

    def digests(self) -> str:
        """Returns name and SHA-256 of the checkpoint of the quality; with a rate, of all that are here.

        Raises:
            WeightsError: There is none.
        """
        files = ((quality, locate(quality, self.weights)) for quality in self._used())
        return ",".join(f"{self.name}-{quality.name}:{file_digest(file)}" for quality, file in files)

    def _used(self) -> list[Quality]:
        """Returns the qualities that files may be made with."""
        if self.bpp is not None:
            return self._here()
        locate(find(self.quality), self.weights)
        return [find(self.quality)]

    def _here(self) -> list[Quality]:
        return here(find(self.quality), self.weights)

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
