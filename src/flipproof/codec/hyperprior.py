"""A small learned codec, entropy-coded and trained for this package: what a wrong bit does to that class of codecs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from flipproof.codec.base import Codec
from flipproof.codec.ladder import MOST_RATE, encode_at_rate
from flipproof.errors import DecodeError
from flipproof.image import ImageLike, to_rgb
from flipproof.learned.envelope import Envelope
from flipproof.prior.load import check_device
from flipproof.received import File, hard
from flipproof.result import Damage, DecodeResult, Status

if TYPE_CHECKING:
    from flipproof.codec.target import Priority
    from flipproof.learned.frozen import FrozenHyperprior

__all__ = ["HyperpriorCodec"]

_MAGIC = b"FPHY"


@dataclass(frozen=True)
class HyperpriorCodec(Codec):
    """An autoencoder with a mean and scale hyperprior, see :mod:`flipproof.learned.hyperprior`.

    Named for what it is: a small network of its own, not one of the published models of the kind. A file is an
    :class:`~flipproof.learned.envelope.Envelope` of two streams, hyper-latents and latents, unprotected. Any streams
    decode to some picture, with the status ``ok``: nothing in the file tells that a bit is wrong. In the first stream,
    a wrong bit also changes how the second is read. What coder and decoder must agree on is computed in integers, so
    files decode alike on every machine, but for the last bits of the picture.

    Attributes:
        quality: 0 (smallest) to 255. A step changes the size of a file by about one per cent.
        bpp: Whole-file rate in bits per pixel: the highest quality that fits, instead of ``quality``.
        weights: A weights file; None for the one in the package. Files do not say which they were made with.
        device: Where to compute: cpu or cuda.
    """

    name: ClassVar[str] = "hyperprior"
    signature: ClassVar[re.Pattern[bytes] | None] = re.compile(_MAGIC)
    quality: int = 128
    bpp: float | None = None
    weights: str | None = None
    device: str = "cpu"

    def __post_init__(self) -> None:
        self.check_parameters(
            ("quality", 0 <= self.quality <= 255, "from 0 to 255"),
            ("bpp", self.bpp is None or 0 < self.bpp <= MOST_RATE, f"above 0, at most {MOST_RATE:g}"),
        )
        check_device(self.device)

    @property
    def model(self) -> FrozenHyperprior:
        """The network, loaded on first use.

        Raises:
            WeightsError: The weights are missing or unreadable.
        """
        from flipproof.learned.frozen import FrozenHyperprior

        return FrozenHyperprior.load(self.weights, self.device)

    def encode(self, image: ImageLike, priority: Priority | None = None) -> bytes:
        """Encodes a picture.

        Raises:
            SpecError: There is a priority.
            ImageError: The picture cannot be read, or is too large.
            RateError: The smallest file takes more than the asked rate.
            WeightsError: The weights are missing or unreadable.
        """
        self.check_parameters(("priority", priority is None, "none, it has no way to follow a map"), priority="a map")
        rgb, model = to_rgb(image), self.model
        height, width, _ = rgb.shape
        latents = model.analysed(rgb)

        def save(level: int) -> bytes:
            return Envelope(height, width, level, model.compressed(latents, level)).pack(_MAGIC)

        if self.bpp is None:
            return save(self.quality)
        return encode_at_rate(self.name, save, range(256), self.bpp, height * width)

    def decode_many(self, files: Sequence[File], upto: float = 1.0) -> list[DecodeResult]:
        """Decodes files, one after the other.

        Raises:
            WeightsError: The weights are missing or unreadable, which says nothing about the files.
            SpecError: A part of a file is asked for.
        """
        self.check_parameters(("upto", upto == 1, "1, its files do not show in part"), upto=upto)
        model = self.model
        return [self._load(hard(file), model) for file in files]

    def _load(self, data: bytes, model: FrozenHyperprior) -> DecodeResult:
        try:
            envelope = Envelope.unpack(data, _MAGIC, streams=2)
        except DecodeError as error:
            return DecodeResult(None, Status.FAILED, codec=self.name, error=str(error))
        first, second = envelope.streams
        latents = model.decompressed((first, second), envelope.height, envelope.width, envelope.level)
        picture = model.synthesised(latents, envelope.height, envelope.width)
        return DecodeResult(picture, Status.OK, Damage(), self.name)
