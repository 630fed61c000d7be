"""The photographs that come with scikit-image, and pictures of a folder as arrays."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from flipproof.errors import ImageError, UnknownNameError
from flipproof.study.dataset import bundled


@pytest.mark.parametrize("name", bundled.names())
def test_photographs_are_the_pinned_ones(name):
    image = bundled.load(name)
    assert image.dtype == np.uint8
    assert image.shape[2] == 3
    assert min(image.shape[:2]) >= 256


def test_an_unknown_photograph_is_an_error():
    with pytest.raises(UnknownNameError, match="chelsea"):
        bundled.load("lena")


def test_a_changed_or_missing_photograph_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(bundled, "_folder", lambda: tmp_path)
    with pytest.raises(ImageError, match="does not have"):
        bundled.load("coffee")
    Image.new("RGB", (4, 4)).save(tmp_path / "coffee.png")
    with pytest.raises(ImageError, match="SHA-256"):
        bundled.load("coffee")


def test_a_folder_gives_its_pictures_in_order(tmp_path):
    for name in ("b.png", "a.PNG", "c.jpg", "c.png"):
        Image.new("RGB", (4, 3)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    assert list(bundled.load_folder(tmp_path)) == ["a", "b", "c.jpg", "c.png"]


def test_a_folder_without_pictures_is_an_error(tmp_path):
    with pytest.raises(ImageError, match="none"):
        bundled.load_folder(tmp_path)
    with pytest.raises(ImageError, match="folder"):
        bundled.load_folder(tmp_path / "nowhere")


@pytest.mark.parametrize(("shape", "expected"), [((9, 20), (8, 8)), ((5, 20), (5, 8)), ((5, 6), (5, 6))])
def test_the_crop_is_central_and_no_larger_than_the_picture(shape, expected):
    image = np.zeros((*shape, 3), np.uint8)
    image[shape[0] // 2, shape[1] // 2] = 255
    crop = bundled.centre_crop(image, 8)
    assert crop.shape == (*expected, 3)
    assert crop[expected[0] // 2, expected[1] // 2, 0] == 255
