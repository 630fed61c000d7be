"""StableCodec (https://arxiv.org/abs/2506.21977): one-step diffusion at 0.005 to 0.035 bits per pixel."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from flipproof.codec.ladder import MOST_RATE
from flipproof.codec.learned import LearnedCodec
from flipproof.errors import DecodeError, ImageError, WeightsError
from flipproof.image import RgbImage
from flipproof.learned.envelope import Envelope
from flipproof.learned.stablecodec_read import RATE_WEIGHTS, auxiliary_file, available, checkpoint_file
from flipproof.weights.digest import file_digest, folder_digest

__all__ = ["MAGIC", "MOST_PIXELS", "StableCodec"]

MAGIC = b"FPSC"
MOST_PIXELS = 2**22
"""Largest picture, after its sides were rounded up to multiples of 256; bounds memory and time."""


@dataclass(frozen=True)
class StableCodec(LearnedCodec):
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
    magic: ClassVar[bytes] = MAGIC
    signature: ClassVar[re.Pattern[bytes] | None] = re.compile(magic)
    streams: ClassVar[int] = 1
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

    @property
    def levels(self) -> list[int]:
        """Weights of the rate whose files are here, the largest first."""
        return sorted(available(self.weights) or [self.rate_weight], reverse=True)

    @property
    def level(self) -> int:
        """The weight of the rate."""
        return self.rate_weight

    def compressor(self, rgb: RgbImage) -> Callable[[int], tuple[bytes, ...]]:  # noqa: D102 (inherited)
        from flipproof.learned.stablecodec import load_sender

        height, width = rgb.shape[:2]
        if not _fits(height, width):
            limit = f"{MOST_PIXELS} pixels with sides rounded up to multiples of 256"
            raise ImageError(f"{self.name}: expected at most {limit}, got {width}x{height}")
        return lambda level: (load_sender(self.weights, self.base, level, self.device, self.precision).encode(rgb),)

    def decompress(self, envelope: Envelope) -> RgbImage:  # noqa: D102 (inherited)
        from flipproof.learned.stablecodec import load_receiver

        height, width = envelope.height, envelope.width
        if not _fits(height, width):
            raise DecodeError(f"damaged header: {width}x{height} is larger than {MOST_PIXELS} pixels")
        if envelope.level != self.rate_weight:
            self._check_level(envelope.level)
        receiver = load_receiver(self.weights, self.base, envelope.level, self.device, self.precision)
        return receiver.decode(envelope.streams[0], height, width)

    def require(self) -> None:
        """Looks for the weights of the model, or of any with a rate, and for SD-Turbo.

        Raises:
            SpecError: There is no such device.
            MissingExtraError: The diffusers library or a companion is not installed.
            WeightsError: Weights are not here; says how to get them.
        """
        from flipproof.prior.load import check_device

        check_device(self.device)
        self._used()
        auxiliary_file(self.weights)
        self._base_files()

    def digests(self) -> str:
        """Returns names and SHA-256 of the model, or with a rate of all that are here, and of what it stands on.

        Raises:
            WeightsError: Weights are not here.
        """
        files = [checkpoint_file(self.weights, rate_weight) for rate_weight in self._used()]
        files.append(auxiliary_file(self.weights))
        base = folder_digest(*self._base_files())
        return ",".join([*(f"{file.stem}:{file_digest(file)}" for file in files), f"base:{base}"])

    def _used(self) -> list[int]:
        """Returns the weights of the rate that files may be made with."""
        used = self.levels if self.bpp is not None else [self.rate_weight]
        checkpoint_file(self.weights, used[0])
        return used

    def _base_files(self) -> tuple[Path, list[str]]:
        """Returns the directory of SD-Turbo on this machine, and its files."""
        from flipproof.learned.stablecodec_base import DEFAULT_BASE
        from flipproof.prior.checkpoint import local_files

        return local_files(self.base or DEFAULT_BASE, self.precision)

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
