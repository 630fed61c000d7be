"""A small learned codec, entropy-coded and trained for this package: what a wrong bit does to that class of codecs."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from flipproof.codec.ladder import MOST_RATE
from flipproof.codec.learned import LearnedCodec
from flipproof.errors import WeightsError
from flipproof.image import RgbImage
from flipproof.learned.envelope import Envelope
from flipproof.learned.weights import HYPERPRIOR_SHA256
from flipproof.prior.load import check_device
from flipproof.weights.digest import file_digest

if TYPE_CHECKING:
    from flipproof.learned.frozen import FrozenHyperprior

__all__ = ["HyperpriorCodec"]


@dataclass(frozen=True)
class HyperpriorCodec(LearnedCodec):
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
    magic: ClassVar[bytes] = b"FPHY"
    signature: ClassVar[re.Pattern[bytes] | None] = re.compile(magic)
    streams: ClassVar[int] = 2
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

    @property
    def levels(self) -> range:
        """All qualities."""
        return range(256)

    @property
    def level(self) -> int:
        """The quality."""
        return self.quality

    def compressor(self, rgb: RgbImage) -> Callable[[int], tuple[bytes, ...]]:  # noqa: D102 (inherited)
        model = self.model
        latents = model.analysed(rgb)
        return lambda level: model.compressed(latents, level)

    def decompress(self, envelope: Envelope) -> RgbImage:  # noqa: D102 (inherited)
        model, (first, second) = self.model, envelope.streams
        latents = model.decompressed((first, second), envelope.height, envelope.width, envelope.level)
        return model.synthesised(latents, envelope.height, envelope.width)

    def require_reader(self) -> None:
        """Loads the network.

        Raises:
            WeightsError: The weights are missing or unreadable.
        """
        _ = self.model

    def require(self) -> None:  # noqa: D102 (inherited)
        check_device(self.device)
        if self.weights is not None and not Path(self.weights).is_file():
            raise WeightsError(
                f"cannot read the weights {self.weights}: no such file; those of the package need no parameter weights"
            )

    def digests(self) -> str:  # noqa: D102 (inherited)
        digest = HYPERPRIOR_SHA256 if self.weights is None else file_digest(Path(self.weights))
        return f"{self.name}:{digest}"
