from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from flipproof.errors import ImageError
from flipproof.image import MAX_SIDE, to_rgb


@pytest.mark.parametrize(
    ("mode", "color", "expected"),
    [
        ("RGB", (10, 20, 30), (10, 20, 30)),
        ("L", 77, (77, 77, 77)),
        ("1", 1, (255, 255, 255)),
        ("LA", (50, 0), (255, 255, 255)),
        ("RGBA", (10, 20, 30, 0), (255, 255, 255)),
        ("RGBA", (10, 20, 30, 255), (10, 20, 30)),
        ("CMYK", (0, 255, 255, 0), (255, 0, 0)),
        ("I;16", 0x8001, (128, 128, 128)),
        ("I", 0xFFFF, (255, 255, 255)),
        ("F", 99.5, (99, 99, 99)),
        ("P", 0, (0, 0, 0)),
    ],
)
def test_every_mode_becomes_rgb(mode, color, expected):
    array = to_rgb(Image.new(mode, (7, 5), color))
    assert array.shape == (5, 7, 3)
    assert array.dtype == np.uint8
    assert tuple(array[2, 3]) == expected


def test_half_transparency_is_laid_over_white():
    assert tuple(to_rgb(Image.new("RGBA", (1, 1), (0, 0, 0, 128)))[0, 0]) == (127, 127, 127)


def test_animations_give_their_first_frame(tmp_path):
    frames = [Image.new("RGB", (4, 4), c) for c in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert tuple(to_rgb(tmp_path / "a.gif")[0, 0]) == (255, 0, 0)


def test_exif_orientation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (8, 4)).save(tmp_path / "a.jpg", exif=exif)
    assert to_rgb(tmp_path / "a.jpg").shape == (8, 4, 3)


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (np.zeros((4, 4), np.uint8), r"got uint8 \(4, 4\)"),
        (np.zeros((4, 4, 4), np.uint8), r"got uint8 \(4, 4, 4\)"),
        (np.zeros((4, 4, 3)), "got float64"),
        (np.zeros((0, 4, 3), np.uint8), "got 4x0"),
        (np.zeros((1, MAX_SIDE + 1, 3), np.uint8), f"got {MAX_SIDE + 1}x1"),
        (np.broadcast_to(np.uint8(0), (5000, 5000, 3)), "at most 16777216 pixels, got 5000x5000"),
    ],
)
def test_other_arrays_are_refused(array, text):
    with pytest.raises(ImageError, match=text):
        to_rgb(array)


def test_unreadable_files_say_why(tmp_path):
    with pytest.raises(ImageError, match="No such file"):
        to_rgb(tmp_path / "none.png")
    with pytest.raises(ImageError, match="Is a directory"):
        to_rgb(tmp_path)
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(ImageError, match="no picture that Pillow can read"):
        to_rgb(tmp_path / "text.png")
    (tmp_path / "empty.png").write_bytes(b"")
    with pytest.raises(ImageError, match="no picture"):
        to_rgb(tmp_path / "empty.png")
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64)).save(buffer, "PNG")
    (tmp_path / "cut.png").write_bytes(buffer.getvalue()[:60])
    with pytest.raises(ImageError, match="cannot read"):
        to_rgb(tmp_path / "cut.png")


def test_other_things_are_refused(tmp_path):
    closed = Image.new("RGB", (4, 4))
    closed.close()
    for thing in (None, 3, [1, 2], closed):
        with pytest.raises(ImageError):
            to_rgb(thing)


def test_huge_claims_are_refused_before_decoding(tmp_path):
    header = io.BytesIO()
    Image.new("1", (16000, 16000)).save(header, "PNG")
    (tmp_path / "huge.png").write_bytes(header.getvalue())
    with pytest.raises(ImageError, match=r"got 16000x16000|exceeds limit"):
        to_rgb(tmp_path / "huge.png")
