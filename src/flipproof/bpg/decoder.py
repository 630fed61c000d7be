"""BPG files in, through libavcodec's decoder of HEVC.

The reference decoder is an older libavcodec, so the samples of intact files are the same, as HEVC prescribes them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from flipproof.bpg.header import Alpha, Header
from flipproof.bpg.picture import Picture, Plane
from flipproof.bpg.syntax import START_CODE, Unit, split_units
from flipproof.bpg.tree import CodingTree, parameter_sets
from flipproof.errors import DecodeError
from flipproof.image import RgbImage
from flipproof.optional import load_optional

if TYPE_CHECKING:
    from av import VideoFrame

__all__ = ["conceal", "conceal_bpg", "read", "read_bpg"]

_PICTURE_PARAMETER_SET = 34
_INFORMATION = (39, 40)
_ALPHA_LAYER = 1
_STRICT = {"err_detect": "crccheck+bitstream+buffer+explode"}
_LENIENT = {"err_detect": "ignore_err"}
_DEPTHS = (8, 9, 10, 12)
_ZERO_WORD = b"\0\0\3"
_MARGIN = 1024
_FORMATS = ("gray", "yuv420p", "yuv422p", "yuv444p")


def read_bpg(data: bytes) -> RgbImage:
    """Reads a file as :func:`read` does.

    Returns:
        Array with shape (H, W, 3), uint8; alpha is laid over white.
    """
    return read(data).rgb


def conceal_bpg(data: bytes) -> RgbImage:
    """Reads a file as :func:`conceal` does.

    Returns:
        Array with shape (H, W, 3), uint8; alpha is laid over white.
    """
    return conceal(data).rgb


def read(data: bytes) -> Picture:
    """Reads a file, the first frame of an animation.

    Arguments:
        data: The file.

    Raises:
        DecodeError: The file ends early, is damaged as far as libavcodec notices, has a depth that it does not know
            (11, 13 and 14 bits), or is too large.
        MissingExtraError: PyAV is not installed.
    """
    return _read(data, _STRICT)


def conceal(data: bytes) -> Picture:
    """Reads a file whatever libavcodec reports, as the reference decoder does, and also one that ends early.

    Raises:
        DecodeError: There is no picture at all.
        MissingExtraError: PyAV is not installed.
    """
    return _read(data, _LENIENT)


def _read(data: bytes, options: dict[str, str]) -> Picture:
    header, rest = Header.unpack(data)
    if options is _STRICT and header.length > len(rest):
        raise DecodeError(f"expected {header.length} bytes of picture data, got {len(rest)}")
    if header.bit_depth not in _DEPTHS:
        raise DecodeError(f"expected a bit depth of {', '.join(map(str, _DEPTHS))}, got {header.bit_depth}")
    trees = []
    for _ in range(1 + (header.alpha != Alpha.NONE)):
        tree, rest = CodingTree.unpack(rest)
        trees.append(tree)
    units = _first_frame(split_units(START_CODE + rest), layers=len(trees))
    alpha = None
    if header.alpha != Alpha.NONE:
        layer = [unit.on_base_layer() for unit in units if unit.layer == _ALPHA_LAYER]
        units = [unit for unit in units if unit.layer != _ALPHA_LAYER]
        (alpha,) = _decode(layer, trees[0], header, 0, options)
    return Picture(header, _decode(units, trees[-1], header, header.pixel_format.chroma, options), alpha)


def _first_frame(units: list[Unit], layers: int) -> list[Unit]:
    """Returns the units of the first frame that a decoder needs; other parameter sets than BPG has are left out."""
    started: set[bool] = set()
    kept = []
    for unit in units:
        if unit.starts_picture:
            if len(started) == layers:
                break
            started.add(layers > 1 and unit.layer == _ALPHA_LAYER)
        if unit.is_slice or unit.kind == _PICTURE_PARAMETER_SET or unit.kind in _INFORMATION:
            kept.append(unit)
    return kept


def _decode(
    units: list[Unit], tree: CodingTree, header: Header, chroma: int, options: dict[str, str]
) -> tuple[Plane, ...]:
    """Decodes one picture into its planes, without padding."""
    sets = parameter_sets(tree, header.height, header.width, chroma, header.bit_depth)
    zeros = _ZERO_WORD * (_MARGIN + header.height * header.width // 32)
    frame = _frame(b"".join(START_CODE + unit.data for unit in sets + _followed(units, zeros)), options)
    name = _FORMATS[chroma] + (f"{header.bit_depth}le" if header.bit_depth > 8 else "")
    expected = (name, tree.padded(header.width), tree.padded(header.height))
    if (got := (frame.format.name, frame.width, frame.height)) != expected:
        raise DecodeError(f"expected a frame of {expected}, got {got}")
    down, across = int(chroma == 1), int(chroma in (1, 2))
    sizes = [(header.height, header.width)]
    if chroma:
        sizes += 2 * [(header.height + down >> down, header.width + across >> across)]
    kind = np.dtype("<u2" if header.bit_depth > 8 else "u1")
    return tuple(
        np.frombuffer(memoryview(plane), kind).reshape(plane.height, -1)[:height, :width].astype(np.uint16)
        for plane, (height, width) in zip(frame.planes, sizes, strict=True)
    )


def _followed(units: list[Unit], zeros: bytes) -> list[Unit]:
    """Puts zero words after the last slice, as HEVC allows.

    A damaged slice may take more bits than it has, and libavcodec then reads whatever is in memory behind it.
    """
    last = max((index for index, unit in enumerate(units) if unit.is_slice), default=-1)
    return [Unit(unit.data + zeros * (index == last)) for index, unit in enumerate(units)]


def _frame(stream: bytes, options: dict[str, str]) -> VideoFrame:
    """Runs the decoder in one thread, so that damage looks the same every time."""
    av = load_optional("av", "bpg")
    context = av.CodecContext.create("hevc", "r")
    context.thread_count = 1
    context.options = options
    frames: list[VideoFrame] = []
    for packet in (av.Packet(stream), None):
        try:
            frames += context.decode(packet)
        except av.FFmpegError as error:
            if options is _STRICT:
                raise DecodeError(f"libavcodec: {error.strerror}") from error
    if not frames:
        raise DecodeError("libavcodec found no picture")
    if options is _STRICT and frames[0].is_corrupt:
        raise DecodeError("libavcodec marks the picture as corrupt")
    return frames[0]
