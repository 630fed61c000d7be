"""Archives that want more than they should get."""

from __future__ import annotations

import hashlib
import shutil
import stat

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archives import zipped
from flipproof.errors import DatasetError
from flipproof.study.dataset import unpack
from flipproof.study.dataset.unpack import unpack as take


def test_only_plain_pictures_are_taken_out(tmp_path):
    members = {
        "a/one.png": b"1",
        "../../two.PNG": b"2",
        "/etc/three.jpg": b"3",
        "..\\four.webp": b"4",
        "C:five.tif": b"5",
        "evil.sh": b"-",
        "a/.hidden.png": b"-",
        "__MACOSX/six.png": b"-",
        ".git/seven.png": b"-",
        "folder.png/": b"",
    }
    (tmp_path / "a.zip").write_bytes(zipped(members))
    (tmp_path / "deep" / "er").mkdir(parents=True)
    made = take(tmp_path / "a.zip", tmp_path / "deep" / "er" / "out")
    assert sorted(path.name for path in (tmp_path / "deep" / "er" / "out").iterdir()) == sorted(made)
    assert set(made) == {"one.png", "two.PNG", "three.jpg", "four.webp", "five.tif"}
    assert made["one.png"] == hashlib.sha256(b"1").hexdigest()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip", "deep"]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["er"]


def test_links_are_not_taken_out(tmp_path):
    link = zipped({"a.png": b"/etc/passwd"}, external_attr=(stat.S_IFLNK | 0o777) << 16)
    (tmp_path / "a.zip").write_bytes(link)
    with pytest.raises(DatasetError, match=r"expected pictures in .*, got none"):
        take(tmp_path / "a.zip", tmp_path / "out")


def test_two_members_of_one_name_are_refused(tmp_path):
    (tmp_path / "a.zip").write_bytes(zipped({"a/one.png": b"1", "b/ONE.png": b"2"}))
    with pytest.raises(DatasetError, match=r"expected one ONE\.png in"):
        take(tmp_path / "a.zip", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def test_archives_that_explode_are_refused(tmp_path):
    (tmp_path / "a.zip").write_bytes(zipped({"a.png": bytes(5 * 2**20)}))
    with pytest.raises(DatasetError, match=r"expected at most \d+ bytes of a\.png in .*, got more"):
        take(tmp_path / "a.zip", tmp_path / "out")
    (tmp_path / "a.zip").write_bytes(zipped({f"{index}.png": bytes(2**19) for index in range(5)}))
    with pytest.raises(DatasetError, match="got more"):
        take(tmp_path / "a.zip", tmp_path / "out")


def test_archives_of_too_many_files_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(unpack, "MOST_MEMBERS", 2)
    (tmp_path / "a.zip").write_bytes(zipped({f"{index}.txt": b"" for index in range(3)}))
    with pytest.raises(DatasetError, match=r"expected at most 2 files in .*, got 3"):
        take(tmp_path / "a.zip", tmp_path / "out")


def test_encrypted_archives_are_refused(tmp_path):
    data = bytearray(zipped({"a.png": b"1"}))
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        data[data.index(signature) + offset] |= 1
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(DatasetError, match=r"got a\.png encrypted"):
        take(tmp_path / "a.zip", tmp_path / "out")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.data())
def test_any_archive_is_unpacked_or_a_typed_error(tmp_path, data):
    whole = zipped({"a.png": b"12345" * 9, "b/c.jpg": b"6" * 50})
    at = data.draw(st.lists(st.integers(0, len(whole) - 1), max_size=4))
    cut = data.draw(st.integers(0, len(whole)))
    flipped = bytearray(whole)
    for index in at:
        flipped[index] ^= 1 << data.draw(st.integers(0, 7))
    path, out = tmp_path / "a.zip", tmp_path / "out"
    shutil.rmtree(out, ignore_errors=True)
    path.write_bytes(flipped[:cut])
    try:
        made = take(path, out)
    except DatasetError:
        assert not out.exists()
    else:
        assert set(made) == {path.name for path in out.iterdir()}
    assert {path.name for path in tmp_path.iterdir()} <= {"a.zip", "out"}
