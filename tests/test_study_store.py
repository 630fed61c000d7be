"""The folder of a study: nothing half-written, nothing twice, nothing of another study."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import fsspec
import pytest

import studies
from flipproof.codec.split import Split
from flipproof.errors import StoreError
from flipproof.study.run import writer
from flipproof.study.store import store as module
from flipproof.study.store.file import EncodedFile
from flipproof.study.store.join import join
from flipproof.study.store.order import newest
from flipproof.study.store.row import ERROR, Row, Score, to_table
from flipproof.study.store.store import Store
from studies import MILD, TINY, RawCodec, but_times


def row(number=0, **values):
    plain = {
        "key": f"{number:032x}",
        "study": "tiny",
        "dataset": "made",
        "picture": "hill",
        "picture_sha256": "0",
        "height": 16,
        "width": 16,
        "codec": "raw",
        "codec_config": "{}",
        "weights": "",
        "asked_bpp": None,
        "channel": MILD,
        "trial": number,
        "seed": 7,
        "channel_seed": "0",
        "status": "ok",
        "created": 1.0,
        "scores": {"psnr": Score(30.0, 30.0)},
    }
    return Row(**(plain | values))


@pytest.fixture(name="folder", params=["local", "memory"])
def _folder(request, tmp_path):
    if request.param == "local":
        yield str(tmp_path / "study")
        return
    url = f"memory://{tmp_path.name}"
    yield url
    memory = fsspec.filesystem("memory")
    if memory.exists(f"/{tmp_path.name}"):
        memory.rm(f"/{tmp_path.name}", recursive=True)


def test_a_study_is_the_same_wherever_its_folder_is(folder, tmp_path):
    rows = studies.measured(folder)
    assert but_times(rows) == but_times(studies.measured(tmp_path / "other"))
    store = Store(folder)
    assert store.original("hill").startswith(b"\x89PNG")
    assert store.keys() == {each["key"] for each in rows}
    assert studies.measured(folder) == rows


def test_what_is_kept_comes_back(folder):
    store = Store(folder)
    assert (store.exists(), store.original("a/b"), store.load_file("0" * 32), store.worst("raw", MILD)) == (
        False,
        None,
        None,
        None,
    )
    store.save_original("a/b", b"one")
    store.save_original("a-b", b"two")
    file = EncodedFile(b"\n{}\n", 1.5, Split(header=8, indices=24))
    store.save_file("0" * 32, file)
    store.save_worst("raw", MILD, "1" * 32, b"bad")
    store.save_worst("raw", MILD, "0" * 32, b"worse")
    store.save_worst("raw", MILD + "x", "2" * 32, b"other")
    assert (store.original("a/b"), store.original("a-b")) == (b"one", b"two")
    assert store.load_file("0" * 32) == file
    assert store.worst("raw", MILD) == ("0" * 32, b"worse")


def test_of_rows_with_one_key_any_counts_before_an_error_and_else_the_later():
    rows = [
        row(0, status=ERROR, created=9.0),
        row(0, status="ok", created=1.0, flips=1),
        row(1, created=1.0, flips=2),
        row(1, created=2.0, flips=3),
        row(2, status=ERROR, created=1.0, flips=4),
    ]
    table = newest(to_table(rows, ["psnr"]))
    assert table["flips"].to_pylist() == [1, 3, 4]


def test_parts_are_put_together_without_what_was_replaced(folder):
    store = Store(folder)
    for number in range(module.MOST_PARTS + 1):
        store.append([row(number), row(0, created=2.0)])
    assert len(store.parts()) == module.MOST_PARTS + 1
    store.compact()
    assert len(store.parts()) == 1
    assert len(store.keys()) == module.MOST_PARTS + 1


def test_parts_with_other_metrics_go_together(tmp_path):
    store = Store(tmp_path)
    store.append([row(0)])
    store.append([row(1, scores={"psnr": Score(1.0, 1.0), "lpips-alex": Score(None, 0.5)})])
    studies_record = studies.study().record
    store.write(studies_record)
    table = store._parts_table()
    assert table["lpips_alex_all"].to_pylist().count(0.5) == 1
    assert table["lpips_alex"].to_pylist() == [None, None]


def test_a_write_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    store = Store(tmp_path)
    store.append([row(0)])

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module.os, "fsync", full)
    with pytest.raises(StoreError, match="No space left on device"):
        store.append([row(1)])
    monkeypatch.undo()
    assert store.keys() == {row(0).key}
    assert [path.name for path in (tmp_path / "rows").iterdir() if path.name.startswith(".")] == []


def test_a_full_disk_stops_a_run_that_then_goes_on(tmp_path, monkeypatch):
    expected = studies.measured(tmp_path / "whole")
    save, calls = Store.save, []

    def fills(self, name, data):
        calls.append(name)
        if len(calls) > 8:
            raise StoreError(f"{self.folder}: No space left on device")
        save(self, name, data)

    monkeypatch.setattr(Store, "save", fills)
    with pytest.raises(StoreError, match="No space left"):
        studies.measured(tmp_path / "full")
    monkeypatch.undo()
    assert but_times(studies.measured(tmp_path / "full")) == but_times(expected)


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="file"):
        studies.measured(tmp_path / "file" / "study")


def test_two_runs_do_not_share_a_folder(tmp_path):
    with Store(tmp_path).alone(), pytest.raises(StoreError, match="another run is at work"):
        studies.measured(tmp_path)
    assert studies.measured(tmp_path)


@pytest.mark.parametrize("url", ["nosuch://bucket/study", "s3://bucket/study"])
def test_file_systems_that_are_not_there_are_errors(url):
    with pytest.raises(StoreError, match=r"nosuch|s3fs"):
        Store(url)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "study.json of a study"),
        ("[]", "study.json of a study"),
        ('{"schema_version": 2}', "schema 3, got 2"),
        ('{"plan": {}}', "schema 3, got None"),
        ('{"schema_version": 3}', "whole study.json"),
    ],
)
def test_folders_with_something_else_are_errors(tmp_path, text, expected):
    with pytest.raises(StoreError, match=r"got no study\.json"):
        Store(tmp_path).record()
    (tmp_path / "study.json").write_text(text)
    with pytest.raises(StoreError, match=expected):
        Store(tmp_path).record()
    with pytest.raises(StoreError, match=expected):
        studies.measured(tmp_path)


def test_damaged_rows_are_an_error(tmp_path):
    studies.measured(tmp_path)
    part = Path(Store(tmp_path).parts()[0])
    part.write_bytes(part.read_bytes()[:-20])
    with pytest.raises(StoreError, match="expected rows of a study"):
        Store(tmp_path).table()


def test_a_record_survives_its_file(tmp_path):
    study = studies.study(command="flipproof study run tiny")
    store = Store(tmp_path)
    store.begin(study.record)
    assert store.record() == study.record
    assert json.loads((tmp_path / "study.json").read_text())["command"] == "flipproof study run tiny"


def halves(tmp_path):
    stores = []
    for name, image in studies.pictures().items():
        studies.measured(tmp_path / name, arrays={name: image})
        stores.append(Store(tmp_path / name))
    return stores


def test_studies_of_different_pictures_join_to_what_one_run_measures(tmp_path):
    whole = join(halves(tmp_path), Store(tmp_path / "joined"), "flipproof study join")
    assert but_times(whole.table().to_pylist()) == but_times(studies.measured(tmp_path / "whole"))
    assert whole.record().command == "flipproof study join"
    assert whole.decoded("noise", "jpeg[quality=50]", MILD) == Store(tmp_path / "noise").decoded(
        "noise", "jpeg[quality=50]", MILD
    )


def test_studies_that_differ_do_not_join(tmp_path):
    first, second = halves(tmp_path)
    studies.measured(tmp_path / "other", TINY.model_copy(update={"seed": 1}), {"raw": RawCodec()})
    for parts, expected in (
        ([first], "at least two"),
        ([first, Store(tmp_path / "other")], "seed"),
    ):
        with pytest.raises(StoreError, match=expected):
            join(parts, Store(tmp_path / "joined"))
    with pytest.raises(StoreError, match="without a study"):
        join([first, second], first)
    renamed = studies.measured(tmp_path / "renamed", arrays={"hill": studies.pictures()["noise"]})
    assert renamed
    with pytest.raises(StoreError, match="picture hill"):
        join([first, Store(tmp_path / "renamed")], Store(tmp_path / "joined"))


def test_a_long_run_puts_its_parts_together_on_the_way(tmp_path, monkeypatch):
    expected = studies.measured(tmp_path / "few")
    monkeypatch.setattr(writer, "FLUSH_SECONDS", 0)
    many = studies.measured(tmp_path / "many")
    assert len(Store(tmp_path / "many").parts()) == 4
    monkeypatch.setattr(writer, "MERGED_PARTS", 3)
    fewer = studies.measured(tmp_path / "fewer")
    assert len(Store(tmp_path / "fewer").parts()) == 2
    assert but_times(fewer) == but_times(many) == but_times(expected)
