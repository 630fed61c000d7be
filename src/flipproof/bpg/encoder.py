"""BPG files out, through x265.

Colour and chroma are converted as the reference encoder does it. x265 codes one intra picture of constant quantisation
and one slice, in one thread, so equal pictures give equal files with one version of x265. Of what it writes, the video
and sequence parameter sets are left out: a BPG file has the few fields that it needs of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from flipproof.bpg.chroma import downsample_columns, downsample_rows
from flipproof.bpg.colour import Samples, from_rgb
from flipproof.bpg.header import ColorSpace, Header, PixelFormat
from flipproof.bpg.sequence import Sequence, read_sequence
from flipproof.bpg.syntax import START_CODE, Unit, split_units
from flipproof.bpg.tree import SEQUENCE_PARAMETER_SET
from flipproof.errors import ImageError
from flipproof.image import RgbImage
from flipproof.optional import load_optional

if TYPE_CHECKING:
    from av import VideoFrame

__all__ = ["Settings", "write"]

_PICTURE_PARAMETER_SET = 34
_CHECKSUM = 40
_FORMATS = {PixelFormat.YUV420: "yuv420p", PixelFormat.YUV422: "yuv422p", PixelFormat.YUV444: "yuv444p"}
_PRESET = "placebo"
_PARAMETERS = (
    "tu-intra-depth=3:tu-inter-depth=3:ipratio=1:aq-mode=0:cutree=0:psy-rd=0:psy-rdoq=0:keyint=1:min-keyint=1:"
    "bframes=0:scenecut=0:open-gop=0:rc-lookahead=0:frame-threads=1:pools=none:wpp=0:slices=1:repeat-headers=1:"
    "info=0:aud=0:log-level=none"
)
"""The reference encoder's settings of x265 (its slowest preset, nothing psychovisual), and one thread."""


@dataclass(frozen=True)
class Settings:
    """How to write a file.

    Attributes:
        qp: Quantisation parameter of the HEVC slice, 0 to 51; the reference encoder's option ``-q`` is 3 more.
        pixel_format: 4:2:0, 4:2:2 or 4:4:4, with chroma between samples of luma.
        color_space: Meaning of the planes.
        bit_depth: 8, 10 or 12.
        lossless: Whether the planes are coded without loss; the picture is, if they are RGB of 8 bits.
        limited_range: Whether samples have the range of video.
        checksum: Whether the file holds an MD5 hash of every plane, 58 bytes in all.
    """

    qp: int = 28
    pixel_format: PixelFormat = PixelFormat.YUV420
    color_space: ColorSpace = ColorSpace.YCBCR
    bit_depth: int = 8
    lossless: bool = False
    limited_range: bool = False
    checksum: bool = False


def write(rgb: RgbImage, settings: Settings) -> bytes:
    """Writes a picture as a BPG file.

    Arguments:
        rgb: Array with shape (H, W, 3), uint8.
        settings: How to.

    Raises:
        ImageError: x265 cannot code the picture, or not so that a BPG file could hold it.
        MissingExtraError: PyAV is not installed.
    """
    height, width = rgb.shape[:2]
    block = 4 if min(height, width) <= 8 else 3
    planes = [_pad(plane, index, block, settings) for index, plane in enumerate(_planes(rgb, settings))]
    units = split_units(_encode(planes, block, settings))
    sequence = _sequence(units)
    coded = (sequence.height, sequence.width, sequence.chroma, sequence.bit_depth)
    expected = (*planes[0].shape, settings.pixel_format.chroma, settings.bit_depth)
    if coded != expected:
        raise ImageError(f"expected x265 to code {expected}, got {coded}")
    kept = [unit.data for unit in units if unit.is_slice or unit.kind in (_PICTURE_PARAMETER_SET, _CHECKSUM)]
    header = Header(
        height=height,
        width=width,
        pixel_format=settings.pixel_format,
        color_space=settings.color_space,
        bit_depth=settings.bit_depth,
        limited_range=settings.limited_range,
    )
    return header.pack(sequence.tree.pack() + START_CODE.join(kept))


def _planes(rgb: RgbImage, settings: Settings) -> list[Samples]:
    """Converts to the planes of the file."""
    luma, *chroma = from_rgb(rgb, settings.color_space, settings.bit_depth, settings.limited_range)
    if settings.pixel_format == PixelFormat.YUV420:
        return [luma, *(downsample_rows(plane, settings.bit_depth) for plane in chroma)]
    if settings.pixel_format == PixelFormat.YUV422:
        return [luma, *(downsample_columns(plane, settings.bit_depth) for plane in chroma)]
    return [luma, *chroma]


def _pad(plane: Samples, index: int, block: int, settings: Settings) -> Samples:
    """Repeats the last row and column until the picture has whole blocks."""
    halved = (bool(index) and settings.pixel_format.chroma == 1, bool(index) and settings.pixel_format.chroma < 3)
    missing = [-size % (1 << block - half) for size, half in zip(plane.shape, halved, strict=True)]
    return np.pad(plane, [(0, count) for count in missing], mode="edge")


def _encode(planes: list[Samples], block: int, settings: Settings) -> bytes:
    """Runs x265 on planes that have whole blocks."""
    height, width = planes[0].shape
    tree = max(size for size in (16, 32, 64) if size <= max(16, min(height, width)))
    name = _FORMATS[settings.pixel_format] + (f"{settings.bit_depth}le" if settings.bit_depth > 8 else "")
    quality = "lossless=1" if settings.lossless else f"qp={settings.qp}"
    av = load_optional("av", "bpg")
    context = av.CodecContext.create("libx265", "w")
    context.width, context.height, context.pix_fmt = width, height, name
    context.time_base, context.framerate, context.thread_count = Fraction(1, 25), Fraction(25), 1
    parameters = f"{quality}:hash={settings.checksum:d}:ctu={tree}:min-cu-size={1 << block}:{_PARAMETERS}"
    context.options = {"preset": _PRESET, "x265-params": parameters}
    frame = av.VideoFrame(width, height, name)
    _fill(frame, planes, np.dtype("<u2" if settings.bit_depth > 8 else "u1"))
    try:
        packets = context.encode(frame) + context.encode(None)
    except av.FFmpegError as error:
        raise ImageError(f"x265 cannot code a picture of {width}x{height}: {error.strerror}") from error
    return b"".join(bytes(packet) for packet in packets)


def _fill(frame: VideoFrame, planes: list[Samples], kind: np.dtype[Any]) -> None:
    frame.pts = 0
    for target, plane in zip(frame.planes, planes, strict=True):
        rows = np.frombuffer(memoryview(target), kind).reshape(target.height, -1)
        rows[:, : plane.shape[1]] = plane


def _sequence(units: list[Unit]) -> Sequence:
    """Reads x265's sequence parameter set."""
    sets = [unit for unit in units if unit.kind == SEQUENCE_PARAMETER_SET]
    slices = [unit for unit in units if unit.is_slice]
    if len(sets) != 1 or len(slices) != 1:
        raise ImageError(f"expected one sequence parameter set and one slice, got {len(sets)} and {len(slices)}")
    return read_sequence(sets[0].payload)
