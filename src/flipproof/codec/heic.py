"""HEIC through pillow-heif (libheif, x265, libde265); decoded in a process of its own."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from typing import Any, ClassVar

from PIL import Image

from flipproof.codec.foreign import ForeignCodec
from flipproof.codec.isolated import Isolated
from flipproof.codec.pillow import load_picture, setting
from flipproof.codec.salvage import pad_boxes
from flipproof.errors import ImageError
from flipproof.image import RgbImage, check_size
from flipproof.optional import load_optional

__all__ = ["HeicCodec", "conceal_heic", "read_heic"]

_PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo")
_CHROMA = ("420", "422", "444")
_ONE_THREAD = {"x265:pools": "none", "x265:frame-threads": "1"}
_INTRA_RATIO = 1.4


def read_heic(data: bytes) -> RgbImage:
    """Decodes a HEIC file in this process.

    Raises:
        DecodeError: libheif reports an error, or the picture is too large.
        MissingExtraError: pillow-heif is not installed.
    """
    library = _library()

    def opened() -> Image.Image:
        file = library.open_heif(io.BytesIO(data))
        check_size(file.size[1], file.size[0])
        picture: Image.Image = file.to_pillow()
        return picture

    with setting(library.options, "DECODE_THREADS", 1):
        return load_picture(opened, "HEIC")


def conceal_heic(data: bytes) -> RgbImage:
    """Decodes a HEIC file in this process; zeros are read past its end.

    Raises:
        DecodeError: libheif reports an error, or the picture is too large.
        MissingExtraError: pillow-heif is not installed.
    """
    return read_heic(pad_boxes(data))


def _library() -> Any:  # noqa: ANN401 (a module without types)
    return load_optional("pillow_heif", "classical", "pillow-heif")


@dataclass(frozen=True)
class HeicCodec(ForeignCodec):
    """HEIC: an intra frame of HEVC by x265, on one thread so that files are repeatable.

    A ``bpp`` is met by qualities in tenths: between x265's whole rate factors by the ratio of intra and inter frames
    (the preset ``ultrafast`` has no adaptive quantisation, so there files differ by a whole quantiser).

    Strict decoding refuses what libheif calls an error and files that end early; libde265 reports little of the damage
    to the arithmetic code. Concealing decoding reads zeros past the end.

    Attributes:
        quality: 0 (smallest) to 100; rate factors are whole numbers, so every second one gives another file.
        preset: x265's effort, ``ultrafast`` to ``placebo``.
        chroma: ``420``, ``422`` or ``444``: how densely chroma is sampled.
    """

    name: ClassVar[str] = "heic"
    signature: ClassVar[re.Pattern[bytes] | None] = re.compile(rb"....ftyphe[iv][cxms]", re.DOTALL)
    reader: ClassVar[Isolated] = Isolated(read_heic)
    concealer: ClassVar[Isolated] = Isolated(conceal_heic)
    quality: int = 50
    preset: str = "slow"
    chroma: str = "420"

    def __post_init__(self) -> None:
        self.check_parameters(
            ("quality", 0 <= self.quality <= 100, "from 0 to 100"),
            ("preset", self.preset in _PRESETS, " or ".join(_PRESETS)),
            ("chroma", self.chroma in _CHROMA, " or ".join(_CHROMA)),
        )
        super().__post_init__()

    @property
    def levels(self) -> range:
        """Qualities in tenths."""
        return range(1001)

    @property
    def level(self) -> int:
        """The quality in tenths, an even one."""
        return 10 * (self.quality - self.quality % 2)

    def save(self, rgb: RgbImage, level: int) -> bytes:  # noqa: D102 (inherited)
        library = _library()
        whole = level // 20 * 2
        ratio = _INTRA_RATIO * 2 ** ((level / 10 - whole) / 2 / 6)
        parameters = {"preset": self.preset, "x265:ipratio": f"{ratio:.5f}", **_ONE_THREAD}
        buffer = io.BytesIO()
        picture = library.from_bytes("RGB", (rgb.shape[1], rgb.shape[0]), rgb.tobytes())
        try:
            picture.save(buffer, quality=whole, chroma=int(self.chroma), enc_params=parameters)
        except (OSError, ValueError, RuntimeError) as error:
            raise ImageError(f"x265 cannot encode this picture: {error}") from error
        return buffer.getvalue()

    def require_reader(self) -> None:  # noqa: D102 (inherited)
        _library()
