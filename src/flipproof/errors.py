"""Every exception flipproof raises on purpose.

    FlipproofError
    ├── ImageError            the picture given cannot be coded
    ├── SpecError             a codec, channel or study spelled wrongly (ValueError)
    │   └── UnknownNameError  no such codec, channel, metric, prior, weights, study, data set or picture
    ├── RateError             the asked rate cannot be reached
    ├── DecodeError           the bytes hold no picture that can be shown
    │   ├── NotFlipError      nothing like a .flip magic at the start
    │   └── HeaderError       the header is damaged beyond repair, or claims the impossible
    ├── DamagedError          strict decoding met damage; carries the DecodeResult
    ├── WeightsError          weights are missing, or are not the ones the file asks for
    ├── WorkerError           a decoder's child process cannot be started
    ├── DatasetError          a data set cannot be had, or is not the one it should be
    ├── StoreError            a study's folder cannot be read, written or used for this study
    └── MissingExtraError     an optional dependency is not installed; says how to get it

Misuse and undecodable bytes are exceptions. Damage that still leaves a picture is a
:class:`flipproof.result.DecodeResult`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flipproof.result import DecodeResult

__all__ = [
    "DamagedError",
    "DatasetError",
    "DecodeError",
    "FlipproofError",
    "HeaderError",
    "ImageError",
    "MissingExtraError",
    "NotFlipError",
    "RateError",
    "SpecError",
    "StoreError",
    "UnknownNameError",
    "WeightsError",
    "WorkerError",
]


class FlipproofError(Exception):
    """Base of everything flipproof raises on purpose; its text is one line."""


class ImageError(FlipproofError):
    """The picture cannot be read, or its shape, type or size is out of range."""


class SpecError(FlipproofError, ValueError):
    """A specification such as ``trellis[bpp=0.1]`` is malformed or has a bad parameter."""


class UnknownNameError(SpecError):
    """No codec, channel, metric, prior, weights, study, data set or picture goes by this name.

    Example:
        >>> str(UnknownNameError("codec", "JPG", ["jpeg", "trellis"]))
        "unknown codec 'JPG'; did you mean 'jpeg'? known: jpeg, trellis"
    """

    def __init__(self, kind: str, name: str, known: list[str]) -> None:
        super().__init__(kind, name, known)
        self.name = name

    @property
    def closest(self) -> str | None:
        """The known name that looks most like this one; None where none does."""
        from difflib import get_close_matches

        _, name, known = self.args
        folded = {one.casefold(): one for one in known}
        close = get_close_matches(name[:100].casefold(), folded, n=1)
        return folded[close[0]] if close else None

    def __str__(self) -> str:
        kind, name, known = self.args
        hint = f"did you mean {self.closest!r}? " if self.closest else ""
        return f"unknown {kind} {name!r}; {hint}known: {', '.join(known)}"


class RateError(FlipproofError):
    """The asked rate lies outside what the codec can reach for this picture."""


class DecodeError(FlipproofError):
    """The bytes hold no picture that can be shown."""


class NotFlipError(DecodeError):
    """The bytes do not start with anything close to the ``.flip`` magic."""


class HeaderError(DecodeError):
    """The header is damaged beyond repair, or what it claims is out of bounds."""


class DamagedError(FlipproofError):
    """Strict decoding met damage; :attr:`result` holds what could be decoded."""

    def __init__(self, message: str, result: DecodeResult) -> None:
        super().__init__(message, result)
        self.result = result

    def __str__(self) -> str:
        return str(self.args[0])


class WeightsError(FlipproofError):
    """Weights are missing, fail their checksum, or are not the ones the file was made with."""


class WorkerError(FlipproofError):
    """The process that a decoder is to run in cannot be started; says nothing about the file."""


class DatasetError(FlipproofError):
    """A data set cannot be downloaded or found, or its files are not the pinned ones."""


class StoreError(FlipproofError):
    """The folder of a study cannot be read or written, or holds another study."""


class MissingExtraError(FlipproofError, ImportError):
    """An optional dependency is missing; the text names the exact install command."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(package, extra)

    def __str__(self) -> str:
        package, extra = self.args
        return f"{package} is not installed; run: pip install 'flipproof[{extra}]'"
