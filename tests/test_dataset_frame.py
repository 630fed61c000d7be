"""What part of a picture is coded."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from conftest import photograph
from flipproof.errors import SpecError, UnknownNameError
from flipproof.study.dataset.frame import Centre, Fit, Full, parse

sides = st.integers(1, 40)


@pytest.mark.parametrize(
    ("text", "frame", "spelling"),
    [
        ("full", Full(), "full"),
        ("centre[512]", Centre(512, 512), "centre[512]"),
        (" centre [ 512 x 512 ] ", Centre(512, 512), "centre[512]"),
        ("centre[512x768]", Centre(512, 768), "centre[512x768]"),
        ("centre[16383x1]", Centre(16383, 1), "centre[16383x1]"),
        ("fit[512]", Fit(512), "fit[512]"),
        ("fit[4096]", Fit(4096), "fit[4096]"),
    ],
)
def test_spellings(text, frame, spelling):
    assert parse(text) == frame
    assert str(frame) == spelling
    assert parse(str(frame)) == frame
    assert pickle.loads(pickle.dumps(frame)) == frame


@pytest.mark.parametrize(
    "text",
    ["", "centre", "fit", "full[3]", "fit[3x4]", "centre[]", "centre[1x]", "centre[-1]", "centre[1.5]", "centre[1x2x3]",
     "centre[9999999999]", "512", "centre[٣]"],
)  # fmt: skip
def test_other_spellings_are_an_error(text):
    with pytest.raises(SpecError, match="frame: expected full, centre"):
        parse(text)


@pytest.mark.parametrize("text", ["centre[0]", "centre[16384]", "centre[5x0]", "fit[0]", "fit[4097]", "fit[999999999]"])
def test_impossible_sides_are_an_error(text):
    with pytest.raises(SpecError, match="frame: expected sides from 1 to"):
        parse(text)


def test_an_unknown_frame_is_an_error_with_a_hint():
    with pytest.raises(UnknownNameError, match="did you mean 'centre'"):
        parse("center[5]")


@given(st.text(max_size=20))
def test_any_text_is_a_frame_or_a_typed_error(text):
    try:
        frame = parse(text)
    except SpecError:
        return
    assert parse(str(frame)) == frame


@given(sides, sides, sides, sides)
def test_the_centre_is_in_the_middle_and_no_larger_than_the_picture(height, width, tall, wide):
    rows, columns = np.mgrid[0:height, 0:width]
    image = np.stack([rows, columns, rows], axis=-1).astype(np.uint8)
    part = Centre(tall, wide).apply(image)
    assert part.shape == (min(height, tall), min(width, wide), 3)
    top, left = int(part[0, 0, 0]), int(part[0, 0, 1])
    assert (part == image[top : top + tall, left : left + wide]).all()
    assert 0 <= height - part.shape[0] - 2 * top <= 1
    assert 0 <= width - part.shape[1] - 2 * left <= 1
    assert part.flags["C_CONTIGUOUS"]


def test_all_of_a_picture_is_itself():
    image = photograph(9, 7)
    assert (Full().apply(image[:, ::-1]) == image[:, ::-1]).all()
    assert Full().apply(image[:, ::-1]).flags["C_CONTIGUOUS"]


@pytest.mark.parametrize("shape", [(128, 192), (192, 128), (96, 96)])
@pytest.mark.parametrize("factor", [0.5, 0.25, 2, 1])
def test_fitting_is_resizing_the_whole_and_cropping(shape, factor):
    """Wherever the resized picture has whole pixels, the two are the same to the last bit."""
    image = photograph(*shape)
    short = min(shape)
    side = int(short * factor)
    size = (int(shape[1] * factor), int(shape[0] * factor))
    resized = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))
    assert (Fit(side).apply(image) == Centre(side, side).apply(resized)).all()


@given(sides, sides, st.integers(1, 50))
def test_fitting_gives_the_square_that_was_asked_for(height, width, side):
    part = Fit(side).apply(photograph(height, width))
    assert part.shape == (side, side, 3)
    assert part.dtype == np.uint8
    assert part.flags.writeable


def test_a_strip_does_not_become_huge():
    assert Fit(4096).apply(np.zeros((1, 16383, 3), np.uint8)).shape == (4096, 4096, 3)
