"""The header of a BPG file.

    file_magic              4 bytes  42 50 47 fb
    pixel_format            3 bits
    alpha1_flag             1 bit
    bit_depth_minus_8       4 bits
    color_space             4 bits
    extension_present_flag  1 bit
    alpha2_flag             1 bit
    limited_range_flag      1 bit
    animation_flag          1 bit
    picture_width           ue7
    picture_height          ue7
    picture_data_length     ue7      0: up to the end of the file
    extension_data_length   ue7      only with extensions
    extension_data          ...      only with extensions
    picture data            ...

ue7 is a number in groups of 7 bits, most significant first, where all bytes but the last have their first bit set.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import TypeVar

from flipproof.errors import HeaderError, ImageError
from flipproof.image import check_size

__all__ = ["MAGIC", "Alpha", "ColorSpace", "Header", "PixelFormat", "read_ue7", "write_ue7"]

MAGIC = b"BPG\xfb"
MOST = 2**30 - 1
"""Largest length that the reference decoder accepts."""
_MOST_BYTES = 5
_MOST_DEPTH = 14
_ANIMATION_CONTROL = 5
_Kind = TypeVar("_Kind", bound=IntEnum)


class PixelFormat(IntEnum):
    """Which samples there are, and where those of chroma lie."""

    GRAY = 0
    YUV420 = 1
    YUV422 = 2
    YUV444 = 3
    YUV420_VIDEO = 4
    YUV422_VIDEO = 5

    @property
    def chroma(self) -> int:
        """The ``chroma_format_idc`` of HEVC: 0 gray, 1 4:2:0, 2 4:2:2, 3 4:4:4."""
        return self - 3 if self > PixelFormat.YUV444 else self

    @property
    def centred(self) -> bool:
        """Whether subsampled chroma lies between two samples of luma (JPEG), not on the left one (MPEG-2)."""
        return self <= PixelFormat.YUV444


class ColorSpace(IntEnum):
    """What the planes mean."""

    YCBCR = 0
    RGB = 1
    YCGCO = 2
    BT709 = 3
    BT2020 = 4


class Alpha(IntEnum):
    """What the fourth plane is; the two bits are ``alpha1_flag`` and ``alpha2_flag``."""

    NONE = 0b00
    WHITE = 0b01
    STRAIGHT = 0b10
    PREMULTIPLIED = 0b11


@dataclass(frozen=True)
class Header:
    """What a file says before its picture data.

    Attributes:
        height: In pixels.
        width: In pixels.
        pixel_format: Subsampling.
        color_space: Meaning of the planes.
        bit_depth: Of every plane, 8 to 14.
        alpha: Meaning of the fourth plane, if any.
        limited_range: Whether samples have the range of video, 16 to 235 (chroma to 240) at 8 bits.
        animated: Whether more frames follow the first.
        extensions: EXIF, ICC, XMP and the like, as in the file.
        length: Bytes of picture data, as read from a file; 0: up to its end. Headers are equal whatever it is.
    """

    height: int
    width: int
    pixel_format: PixelFormat = PixelFormat.YUV420
    color_space: ColorSpace = ColorSpace.YCBCR
    bit_depth: int = 8
    alpha: Alpha = Alpha.NONE
    limited_range: bool = False
    animated: bool = False
    extensions: bytes = b""
    length: int = field(default=0, compare=False)

    def pack(self, payload: bytes) -> bytes:
        """Returns the file with these picture data."""
        first = self.pixel_format << 5 | (self.alpha >> 1) << 4 | self.bit_depth - 8
        flags = bool(self.extensions) << 3 | (self.alpha & 1) << 2 | self.limited_range << 1 | self.animated
        lengths = [self.width, self.height, len(payload), *([len(self.extensions)] if self.extensions else [])]
        start = MAGIC + bytes([first, self.color_space << 4 | flags])
        return start + b"".join(map(write_ue7, lengths)) + self.extensions + payload

    @classmethod
    def unpack(cls, data: bytes) -> tuple[Header, bytes]:
        """Reads a file as far as its picture data, and returns those up to the end of the file.

        Bytes after the length that the header gives are left to the decoder, as in the reference software.

        Raises:
            HeaderError: No such header, or a size or length out of bounds.
        """
        if len(data) < 6 or data[:4] != MAGIC:
            raise HeaderError(f"expected a BPG header, got {data[:4].hex() or 'nothing'}")
        first, second = data[4], data[5]
        cursor = _Cursor(data, 6)
        width, height, length = (cursor.number(name) for name in ("picture width", "picture height", "data length"))
        extensions = cursor.take(cursor.number("extension length")) if second & 8 else b""
        header = cls(
            height=height,
            width=width,
            pixel_format=_member(PixelFormat, first >> 5),
            color_space=_member(ColorSpace, second >> 4),
            bit_depth=(first & 15) + 8,
            alpha=Alpha((first >> 4 & 1) << 1 | second >> 2 & 1),
            limited_range=bool(second & 2),
            animated=bool(second & 1),
            extensions=extensions,
            length=length,
        )
        header._check()
        return header, cursor.take(cursor.left)

    def _check(self) -> None:
        """Refuses what the reference decoder refuses, and pictures that are too large."""
        try:
            check_size(self.height, self.width)
        except ImageError as error:
            raise HeaderError(str(error)) from error
        if self.bit_depth > _MOST_DEPTH:
            raise HeaderError(f"expected at most {_MOST_DEPTH} bits per sample, got {self.bit_depth}")
        if self.pixel_format == PixelFormat.GRAY and (self.color_space or self.alpha == Alpha.WHITE):
            raise HeaderError(f"expected no colour space of a gray picture, got {self.color_space.name}")
        if self.animated and _ANIMATION_CONTROL not in _tags(self.extensions):
            raise HeaderError("expected the control data of an animation, got none")


class _Cursor:
    """Reads bytes one after another."""

    def __init__(self, data: bytes, position: int = 0) -> None:
        self._data, self._position = data, position

    @property
    def left(self) -> int:
        return len(self._data) - self._position

    def take(self, size: int) -> bytes:
        if size > self.left:
            raise HeaderError(f"header ends too early: expected {size} more bytes, got {self.left}")
        self._position += size
        return self._data[self._position - size : self._position]

    def number(self, name: str) -> int:
        value, size = read_ue7(self._data[self._position : self._position + _MOST_BYTES], name)
        self._position += size
        return value


def read_ue7(data: bytes, name: str = "a number") -> tuple[int, int]:
    """Reads the number at the start of some bytes.

    Returns:
        The number, and how many bytes it takes.

    Raises:
        HeaderError: The bytes end within it, it is not the shortest spelling, or it is 2^30 or more.

    Example:
        >>> read_ue7(bytes.fromhex("841e"))
        (542, 2)
    """
    value = 0
    for size, byte in enumerate(data, 1):
        value = value << 7 | byte & 0x7F
        if value > MOST or (byte == 0x80 and size == 1):
            raise HeaderError(f"expected {name} of less than 2^30, got {data[:size].hex()}...")
        if byte < 0x80:
            return value, size
    raise HeaderError(f"expected {name}, got {data.hex() or 'nothing'}")


def write_ue7(value: int) -> bytes:
    """Writes a number in its shortest spelling.

    Example:
        >>> write_ue7(728855).hex()
        'acbe17'
    """
    groups = [value & 0x7F]
    while value := value >> 7:
        groups.append(value & 0x7F | 0x80)
    return bytes(reversed(groups))


def _member(kind: type[_Kind], value: int) -> _Kind:
    try:
        return kind(value)
    except ValueError:
        raise HeaderError(f"expected a {kind.__name__} from 0 to {max(kind)}, got {value}") from None


def _tags(extensions: bytes) -> set[int]:
    """Returns which extensions there are."""
    tags, cursor = set(), _Cursor(extensions)
    while cursor.left:
        tags.add(cursor.number("extension tag"))
        cursor.take(cursor.number("extension length"))
    return tags
