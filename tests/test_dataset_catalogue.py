"""Data sets by name."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import fields

import pytest
from PIL import Image

from flipproof.errors import UnknownNameError
from flipproof.study.dataset import catalogue
from flipproof.study.dataset.collection import open_collection


def test_the_catalogue_is_consistent():
    for name in catalogue.names():
        one = catalogue.find(name)
        assert one.name == name
        assert all(getattr(one, item.name) for item in fields(one)[:4])
        assert all(one.picture(f"{picture}.png") == picture for picture in one.pictures)
        assert len(set(one.pictures)) == len(one.pictures)
        for what in one.downloads:
            assert re.fullmatch(r"https://[\w.]+/[\w./]+", what.address)
            assert re.fullmatch(r"[0-9a-f]{64}", what.sha256)
            assert 10**5 < what.size < 10**9
        for pinned in one.pinned:
            assert re.fullmatch(r"[0-9a-f]{64}", pinned.samples)
            assert one.samples(pinned.name) == pinned.samples
    kodak = catalogue.find("kodak24")
    assert len(kodak.pictures) == len(kodak.pinned) == 24
    assert kodak.pinned[6].download.address == "https://r0k.us/graphics/kodak/kodak/kodim07.png"
    assert [kodak.picture(name) for name in ("kodim03.png", "3.PNG", "25.png", "x03.png")] == ["03", "03", None, None]
    assert len({pinned.samples for pinned in kodak.pinned}) == 24
    assert len(catalogue.find("div2k-valid").pictures) == 100


def test_an_unknown_data_set_is_an_error():
    with pytest.raises(UnknownNameError, match="unknown data set 'kodak'; did you mean 'kodak24'"):
        catalogue.find("kodak")
    catalogue.check_name("./kodak")
    catalogue.check_name("kodak-24.png")
    with pytest.raises(UnknownNameError):
        catalogue.check_name("kodak")


def test_a_folder_that_is_called_like_nothing_known_is_a_folder(tmp_path, monkeypatch):
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (4, 3)).save(tmp_path / "photos" / "a.png")
    monkeypatch.chdir(tmp_path)
    catalogue.check_name("photos")
    assert [one.dataset for one in open_collection(["photos"]).pictures] == ["photos"]


def test_names_of_data_sets_are_known_without_torch_or_pydantic():
    code = (
        "import sys; from flipproof.study.dataset.catalogue import names; from flipproof.study.preset import presets\n"
        "print(len(names()) > 3, len(presets()) > 3, [m for m in ('torch', 'pydantic', 'skimage') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True True []\n"
