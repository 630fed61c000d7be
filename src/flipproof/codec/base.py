"""The contract of every codec."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any, ClassVar

from flipproof.errors import DecodeError, SpecError
from flipproof.image import ImageLike
from flipproof.result import DecodeResult, Status

__all__ = ["Codec"]


class Codec(ABC):
    """Image to bytes to image.

    Concrete codecs are frozen dataclasses whose fields are their parameters: equality, ``repr`` and the canonical
    spelling follow from the fields. Two codecs may share a name only if each decodes what the other encodes.

    Example:
        >>> from flipproof.codec.jpeg import JpegCodec
        >>> str(JpegCodec(quality=30))
        'jpeg[quality=30]'
    """

    name: ClassVar[str]

    @abstractmethod
    def encode(self, image: ImageLike) -> bytes:
        """Encodes a picture; equal pictures and parameters give equal bytes.

        Raises:
            ImageError: The picture cannot be coded.
            RateError: The asked rate cannot be reached.
        """

    @abstractmethod
    def decode_many(self, files: Sequence[bytes]) -> list[DecodeResult]:
        """Decodes files, in batches where that is faster; never raises for what the bytes are.

        Returns:
            One result per file; a file without a picture has the status ``failed``.
        """

    def decode(self, data: bytes) -> DecodeResult:
        """Decodes one file.

        Raises:
            DecodeError: The bytes hold no picture.
        """
        result = self.decode_many([data])[0]
        if result.status is Status.FAILED:
            raise DecodeError(result.error)
        return result

    def with_rate(self, bpp: float) -> Codec:
        """Returns the same codec at another rate in bits per pixel.

        Raises:
            SpecError: It has no parameter ``bpp``, or the rate is out of range.
        """
        if "bpp" not in {f.name for f in fields(self)}:  # type: ignore[arg-type]
            raise SpecError(f"{self.name} has no parameter 'bpp'")
        return replace(self, bpp=bpp)  # type: ignore[type-var]

    def get_config(self) -> dict[str, Any]:
        """Returns the name (under ``codec``) and the parameters, JSON-serialisable."""
        return {"codec": self.name} | {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]

    def __str__(self) -> str:
        """The canonical spelling: the name and every parameter that is not at its default."""
        changed = [
            f"{f.name}={getattr(self, f.name)}"
            for f in fields(self)  # type: ignore[arg-type]
            if getattr(self, f.name) != f.default
        ]
        return f"{self.name}[{','.join(changed)}]" if changed else self.name
