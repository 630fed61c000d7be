"""The contract of every codec."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from flipproof.codec.split import Split
from flipproof.errors import DecodeError, SpecError
from flipproof.image import ImageLike
from flipproof.received import File
from flipproof.registry import spelled
from flipproof.result import DecodeResult, Status

if TYPE_CHECKING:
    from flipproof.codec.target import Priority

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
    signature: ClassVar[re.Pattern[bytes] | None] = None
    """How files of this codec begin, if no other's do; ``.flip`` files have a header that says more."""

    @abstractmethod
    def encode(self, image: ImageLike, priority: Priority | None = None) -> bytes:
        """Encodes a picture; equal pictures and parameters give equal bytes.

        Arguments:
            image: What to encode.
            priority: How much each pixel matters, (H, W), 0 or more; costs no bits. Only some codecs can.

        Raises:
            SpecError: The codec knows no priorities.
            ImageError: The picture cannot be coded.
            RateError: The asked rate cannot be reached.
        """

    @abstractmethod
    def decode_many(self, files: Sequence[File], upto: float = 1.0) -> list[DecodeResult]:
        """Decodes files, in batches where that is faster; never raises for what the bytes are.

        Arguments:
            files: The files, as bytes or with what is known about each bit.
            upto: Leading share of each file to use, from 0 to 1. Only some codecs can show a part.

        Returns:
            One result per file; a file without a picture has the status ``failed``.
        """

    def decode(self, data: File, upto: float = 1.0) -> DecodeResult:
        """Decodes one file, or its leading share.

        Raises:
            DecodeError: The bytes hold no picture.
            SpecError: The codec cannot show a part of a file.
        """
        result = self.decode_many([data], upto)[0]
        if result.status is Status.FAILED:
            raise DecodeError(result.error)
        return result

    def split(self, data: bytes) -> Split:
        """Tells how a file divides, without decoding its picture; here, all of it carries the picture.

        Arguments:
            data: A file as this codec made it.

        Raises:
            DecodeError: It is no such file.
        """
        return Split(indices=8 * len(data))

    def require(self) -> None:  # noqa: B027 (most codecs need nothing)
        """Checks that this codec can work here: libraries, weights and device. Loads and downloads nothing large.

        Raises:
            MissingExtraError: A library is not installed; says how to install it.
            WeightsError: Weights are not on this machine; says how to get them.
            SpecError: There is no such device.
        """

    def digests(self) -> str:
        """Returns names and SHA-256 of the weights behind this codec as ``name:digest``, with commas between.

        Empty for codecs without weights. Files are read once as long as they do not change.

        Raises:
            WeightsError: Weights are not on this machine.
        """
        return ""

    def with_rate(self, bpp: float) -> Self:
        """Returns the same codec at another rate in bits per pixel.

        Raises:
            SpecError: It has no parameter ``bpp``, or the rate is out of range.
        """
        return self.with_parameters(bpp=bpp)

    def with_parameters(self, **parameters: object) -> Self:
        """Returns the same codec with other parameters.

        Raises:
            SpecError: It has no such parameter, or a value is out of range.
        """
        known = [f.name for f in fields(self)]  # type: ignore[arg-type]
        for name in parameters:
            if name not in known:
                raise SpecError(f"{self.name} has no parameter {name!r}; it has: {', '.join(known) or 'none'}")
        return replace(self, **parameters)  # type: ignore[type-var]

    def check_parameters(self, *rules: tuple[str, bool, str], **values: object) -> None:
        """Checks parameters.

        Arguments:
            rules: Name of a parameter, whether its value is legal, what is expected.
            values: Values that are not attributes.

        Raises:
            SpecError: A value is not legal.
        """
        for name, legal, expected in rules:
            if not legal:
                got = values[name] if name in values else getattr(self, name)
                raise SpecError(f"{self.name}: expected {name} {expected}, got {got}")

    def get_config(self) -> dict[str, Any]:
        """Returns the name (under ``codec``) and the parameters, JSON-serialisable."""
        return {"codec": self.name} | {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]

    def __str__(self) -> str:
        """The canonical spelling: the name and every parameter that is not at its default."""
        changed = [
            f"{f.name}={spelled(getattr(self, f.name))}"
            for f in fields(self)  # type: ignore[arg-type]
            if getattr(self, f.name) != f.default
        ]
        return f"{self.name}[{','.join(changed)}]" if changed else self.name
