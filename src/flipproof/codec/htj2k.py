"""High-throughput JPEG 2000 through imagecodecs (OpenJPH), Pillow and PyAV; decoded in processes of their own."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, ClassVar

from flipproof.codec.foreign import ForeignCodec
from flipproof.codec.isolated import Isolated
from flipproof.codec.pillow import read_picture
from flipproof.codec.salvage import leading_packets
from flipproof.errors import DecodeError, ImageError
from flipproof.image import RgbImage, check_size
from flipproof.optional import load_optional

__all__ = ["Htj2kCodec", "conceal_htj2k"]

_OCTAVE = 100


def conceal_htj2k(data: bytes) -> RgbImage:
    """Decodes what there is of a codestream in this process, by FFmpeg's decoder of JPEG 2000.

    Raises:
        DecodeError: There is nothing, or the picture is too large.
        MissingExtraError: PyAV is not installed.
    """
    library = load_optional("av", "classical")
    reasons = []
    for part in leading_packets(data):
        try:
            return _read(library, part)
        except (library.FFmpegError, ImageError, ValueError, IndexError) as error:
            reasons.append(error)
    raise DecodeError(str(reasons[0]).partition("\n")[0] or type(reasons[0]).__name__) from reasons[0]


def _read(library: Any, data: bytes) -> RgbImage:  # noqa: ANN401 (a module without types)
    context = library.codec.CodecContext.create("jpeg2000", "r")
    context.thread_count = 1
    frames = [*context.decode(library.Packet(data)), *context.decode(None)]
    check_size(frames[0].height, frames[0].width)
    pixels: RgbImage = frames[0].to_ndarray(format="rgb24")
    return pixels


@dataclass(frozen=True)
class Htj2kCodec(ForeignCodec):
    """High-throughput JPEG 2000 (ITU-T T.814), irreversible colour transform and 9/7 wavelet, written by OpenJPH.

    Strict decoding is OpenJPEG's (in Pillow), which refuses nearly every damage and files that end early. Concealing
    decoding is FFmpeg's (in PyAV), which skips code-blocks that make no sense. Zeros are read past the end, and where
    FFmpeg gives up, in the place of the end of the file, from an eighth of the file to seven. OpenJPH's own decoder
    is not used: in imagecodecs it wraps around where values leave the range of a sample.

    Attributes:
        step: Base step of the quantiser relative to the range of a sample, 2^-12 (largest file) to 1, in hundredths of
            an octave.
    """

    name: ClassVar[str] = "htj2k"
    signature: ClassVar[re.Pattern[bytes] | None] = re.compile(rb"\xff\x4f\xff\x51..[\x40-\x7f\xc0-\xff]", re.DOTALL)
    reader: ClassVar[Isolated] = Isolated(read_picture, "JPEG2000")
    concealer: ClassVar[Isolated] = Isolated(conceal_htj2k, seconds=30)
    step: float = 2**-6

    def __post_init__(self) -> None:
        self.check_parameters(("step", 2**-12 <= self.step <= 1, "from 2^-12 to 1"))
        super().__post_init__()

    @property
    def levels(self) -> range:
        """Hundredths of an octave by which the step is below 1."""
        return range(12 * _OCTAVE + 1)

    @property
    def level(self) -> int:  # noqa: D102 (inherited)
        return round(-math.log2(self.step) * _OCTAVE)

    def save(self, rgb: RgbImage, level: int) -> bytes:  # noqa: D102 (inherited)
        library = load_optional("imagecodecs", "classical")
        return bytes(library.htj2k_encode(rgb, 2 ** (-level / _OCTAVE), reversible=False))

    def require(self) -> None:  # noqa: D102 (inherited)
        load_optional("imagecodecs", "classical")
        super().require()

    def require_reader(self) -> None:  # noqa: D102 (inherited)
        if self.decoding == "concealing":
            load_optional("av", "classical")
