"""StableCodec (https://arxiv.org/abs/2506.21977): one-step diffusion at 0.005 to 0.035 bits per pixel."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from flipproof.codec.base import Codec
from flipproof.codec.ladder import MOST_RATE, encode_at_rate
from flipproof.errors import DecodeError, ImageError, WeightsError
from flipproof.image import ImageLike, RgbImage, to_rgb
from flipproof.learned.stablecodec_read import RATE_WEIGHTS, available, checkpoint_file
from flipproof.received import File, hard
from flipproof.result import Damage, DecodeResult, Status

if TYPE_CHECKING:
    from flipproof.codec.target import Priority

__all__ = ["MAGIC", "MOST_PIXELS", "StableCodec"]

MAGIC = b"FPSC"
MOST_PIXELS = 2**22
"""Largest picture, after its sides were rounded up to multiples of 256; bounds memory and time."""


@dataclass(frozen=True)
class StableCodec(Codec):
    """StableCodec with SD-Turbo and the weights that its authors publish.

    Nothing in its files is protected: after a wrong bit most of the picture is of something else, or there is none.

    Attributes:
        rate_weight: Which model: what the rate weighed in its training, 2 (about 0.035 bits per pixel), 3, 4, 6, 8, 12,
            16, 24 or 32 (about 0.005).
        bpp: Whole-file rate in bits per pixel: of the models whose weights are here that with the largest file that
            fits, instead of ``rate_weight``.
        weights: Directory with the authors' ``stablecodec_ftN.pkl`` and ``elic_official.pth``, or one such ``.pkl``
            with the other beside it; None: ``weights/stablecodec`` in the cache of flipproof.
        base: SD-Turbo: a directory that diffusers wrote, or ``owner/name[@revision]`` of the Hugging Face hub; None:
            ``stabilityai/sd-turbo`` at a fixed revision.
        device: Where the networks compute but for the entropy model's, which always take the CPU.
        precision: Type of the large networks: float32, float16 or bfloat16.
    """

    name: ClassVar[str] = "stablecodec"
    signature: ClassVar[re.Pattern[bytes] | None] = re.compile(re.escape(MAGIC))
    rate_weight: int = 2
    bpp: float | None = None
    weights: str | None = None
    base: str | None = None
    device: str = field(default="cpu", kw_only=True)
    precision: str = field(default="float32", kw_only=True)

    def __post_init__(self) -> None:
        known = ", ".join(map(str, RATE_WEIGHTS))
        precisions = ("float32", "float16", "bfloat16")
        self.check_parameters(
            ("rate_weight", self.rate_weight in RATE_WEIGHTS, f"one of {known}"),
            ("bpp", self.bpp is None or 0 < self.bpp <= MOST_RATE, f"above 0, at most {MOST_RATE:g}"),
            ("precision", self.precision in precisions, ", ".join(precisions)),
        )

    def encode(self, image: ImageLike, priority: Priority | None = None) -> bytes:
        """Encodes a picture; equal pictures and parameters give equal bytes.

        Raises:
            SpecError: A map of priorities is given, or there is no such device.
            ImageError: The picture cannot be read, or is larger than 2^22 pixels after rounding up to multiples of 256.
            RateError: The asked rate cannot be reached.
            WeightsError: Weights are missing or unreadable; the text says where to get them.
            MissingExtraError: The diffusers library is not installed.
        """
        self.check_parameters(("priority", priority is None, "none, it has no way to follow a map"), priority="a map")
        rgb = to_rgb(image)
        height, width = rgb.shape[:2]
        if not _fits(height, width):
            limit = f"{MOST_PIXELS} pixels with sides rounded up to multiples of 256"
            raise ImageError(f"{self.name}: expected at most {limit}, got {width}x{height}")
        if self.bpp is None:
            return self._save(rgb, self.rate_weight)
        ladder = sorted(available(self.weights) or [self.rate_weight], reverse=True)

        def save(level: int) -> bytes:
            return self._save(rgb, ladder[level])

        return encode_at_rate(self.name, save, range(len(ladder)), self.bpp, height * width)

    def decode_many(self, files: Sequence[File], upto: float = 1.0) -> list[DecodeResult]:
        """Decodes files one after the other; never raises for what the bytes are.

        Raises:
            SpecError: A part of a file is asked for, or there is no such device.
            WeightsError: Weights are missing or unreadable; the text says where to get them.
            MissingExtraError: The diffusers library is not installed.
        """
        self.check_parameters(("upto", upto == 1, "1, its files do not show in part"), upto=upto)
        return [self._show(hard(file)) for file in files]

    def _show(self, data: bytes) -> DecodeResult:
        try:
            return DecodeResult(self._load(data), Status.OK, Damage(), self.name)
        except DecodeError as error:
            return DecodeResult(None, Status.FAILED, codec=self.name, error=str(error))

    def _save(self, rgb: RgbImage, rate_weight: int) -> bytes:
        from flipproof.learned.envelope import Envelope
        from flipproof.learned.stablecodec import load_sender

        sender = load_sender(self.weights, self.base, rate_weight, self.device, self.precision)
        return Envelope(rgb.shape[0], rgb.shape[1], rate_weight, (sender.encode(rgb),)).pack(MAGIC)

    def _load(self, data: bytes) -> RgbImage:
        from flipproof.learned.envelope import Envelope
        from flipproof.learned.stablecodec import load_receiver

        file = Envelope.unpack(data, MAGIC, streams=1)
        if not _fits(file.height, file.width):
            raise DecodeError(f"damaged header: {file.width}x{file.height} is larger than {MOST_PIXELS} pixels")
        if file.level != self.rate_weight:
            self._check_level(file.level)
        receiver = load_receiver(self.weights, self.base, file.level, self.device, self.precision)
        return receiver.decode(file.streams[0], file.height, file.width)

    def _check_level(self, level: int) -> None:
        """Raises DecodeError where the header asks for a model that is not here: damage, as like as not."""
        if level not in RATE_WEIGHTS:
            raise DecodeError(f"damaged header: expected rate_weight {', '.join(map(str, RATE_WEIGHTS))}, got {level}")
        try:
            checkpoint_file(self.weights, level)
        except WeightsError as error:
            checkpoint_file(self.weights, self.rate_weight)  # no weights at all is nothing about the file
            raise DecodeError(f"the header asks for the model of rate_weight {level}: {error}") from error


def _fits(height: int, width: int) -> bool:
    return (-(-height // 256) * 256) * (-(-width // 256) * 256) <= MOST_PIXELS
