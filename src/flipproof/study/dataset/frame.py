"""What part of a picture is coded: all of it, a centred rectangle, or a centred square of a given size.

Example:
    >>> frame = parse("centre[512x768]")
    >>> frame
    Centre(height=512, width=768)
    >>> str(parse("centre[512x512]"))
    'centre[512]'
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from PIL import Image

from flipproof.errors import SpecError, UnknownNameError
from flipproof.image import MAX_SIDE, RgbImage

__all__ = ["Centre", "Fit", "Frame", "Full", "parse"]

_SPELLING = re.compile(r"\s*([A-Za-z]+)\s*(?:\[\s*([0-9]{1,9})\s*(?:x\s*([0-9]{1,9})\s*)?\])?\s*", re.ASCII)
_FORMS = ["full", "centre", "fit"]
MOST_FITTED = 2**12
"""Longest side that ``fit`` makes: the square has as many pixels as a picture may have."""


class Frame(ABC):
    """A part of a picture; ``str`` gives the canonical spelling."""

    @abstractmethod
    def apply(self, image: RgbImage) -> RgbImage:
        """Returns the part.

        Arguments:
            image: Array with shape (H, W, 3), uint8.

        Returns:
            Array with shape (h, w, 3), uint8, contiguous.
        """


@dataclass(frozen=True)
class Full(Frame):
    """The whole picture; spelled ``full``."""

    def apply(self, image: RgbImage) -> RgbImage:  # noqa: D102 (inherited)
        return np.ascontiguousarray(image)

    def __str__(self) -> str:
        return "full"


@dataclass(frozen=True)
class Centre(Frame):
    """The middle of the picture; spelled ``centre[512]`` or ``centre[HEIGHTxWIDTH]``.

    A picture smaller than that along an axis stays whole along it; an odd margin is one pixel smaller at top and left.

    Attributes:
        height: In pixels, from 1 to 2^14 - 1.
        width: The same.

    Raises:
        SpecError: A side is out of range.
    """

    height: int
    width: int

    def __post_init__(self) -> None:
        _check_side(self.height, MAX_SIDE)
        _check_side(self.width, MAX_SIDE)

    def apply(self, image: RgbImage) -> RgbImage:  # noqa: D102 (inherited)
        top, left = max(image.shape[0] - self.height, 0) // 2, max(image.shape[1] - self.width, 0) // 2
        return np.ascontiguousarray(image[top : top + self.height, left : left + self.width])

    def __str__(self) -> str:
        return f"centre[{self.height}]" if self.height == self.width else f"centre[{self.height}x{self.width}]"


@dataclass(frozen=True)
class Fit(Frame):
    """The largest square in the middle, resized by Pillow's Lanczos filter; spelled ``fit[512]``.

    That is the middle of the picture resized so that its short side fits. Pixels around the square count in the filter.

    Attributes:
        side: In pixels, from 1 to 2^12.

    Raises:
        SpecError: The side is out of range.
    """

    side: int

    def __post_init__(self) -> None:
        _check_side(self.side, MOST_FITTED)

    def apply(self, image: RgbImage) -> RgbImage:  # noqa: D102 (inherited)
        height, width = image.shape[:2]
        short = min(height, width)
        top, left = (height - short) // 2, (width - short) // 2
        box = (left, top, left + short, top + short)
        return np.array(Image.fromarray(image).resize((self.side, self.side), Image.Resampling.LANCZOS, box=box))

    def __str__(self) -> str:
        return f"fit[{self.side}]"


def parse(text: str) -> Frame:
    """Reads ``full``, ``centre[512]``, ``centre[512x768]`` (height x width) or ``fit[512]``.

    Raises:
        SpecError: It is none of these, or a side is out of range.
    """
    match = _SPELLING.fullmatch(text)
    if match and match[1] not in _FORMS:
        raise UnknownNameError("frame", match[1], _FORMS)
    form = match[1] if match else ""
    sides = [int(side) for side in match.groups()[1:] if side] if match else []
    if form == "full" and not sides:
        return Full()
    if form == "centre" and sides:
        return Centre(sides[0], sides[-1])
    if form == "fit" and len(sides) == 1:
        return Fit(sides[0])
    raise SpecError(f"frame: expected full, centre[512], centre[512x768] or fit[512], got {text!r}")


def _check_side(side: int, most: int) -> None:
    if not 1 <= side <= most:
        raise SpecError(f"frame: expected sides from 1 to {most} pixels, got {side}")
