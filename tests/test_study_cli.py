"""The command ``flipproof study``."""

from __future__ import annotations

import json

import pytest
from PIL import Image
from typer.testing import CliRunner

import studies
from flipproof.cli import app
from flipproof.errors import FlipproofError, SpecError, StoreError, UnknownNameError
from flipproof.study import completion
from flipproof.study.preset import presets
from flipproof.study.run import runner
from flipproof.study.store.store import Store

CODEC = ["--codec", "jpeg[quality={9,50}]"]


def invoke(*arguments):
    return CliRunner().invoke(app, ["study", *map(str, arguments)], catch_exceptions=False)


@pytest.fixture(name="data")
def _data(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    for name, image in studies.pictures().items():
        Image.fromarray(image).save(folder / f"{name}.png")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    return folder


@pytest.fixture(name="results")
def _results(tmp_path, data):
    folder = tmp_path / "results"
    done = invoke(
        "run", "quick", "--data", data, "--out", folder, "--trials", 2, "--ber", "0,1e-3", "--engine", "serial",
        *CODEC, "--no-report",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "unreadable: broken" in done.stderr
    return folder


def test_the_command_runs_a_preset_on_a_folder(results):
    store = Store(results)
    rows = store.table().to_pylist()
    assert {row["picture"] for row in rows} == {"hill", "noise"}
    assert {row["codec"] for row in rows} == {"jpeg[quality=9]", "jpeg[quality=50]"}
    assert len(rows) == 2 * 2 * 3
    assert store.record().unreadable[0].name == "broken"


def test_status_report_and_join_speak_of_what_is_there(results, tmp_path, data):
    assert "2 pictures, 2 codecs, 2 channels; 12 cells done, 0 with errors" in invoke("status", results).stdout
    done = invoke("report", results)
    assert f"report: {results / 'report.html'}" in done.stdout
    assert "jpeg[quality=9]" in done.stdout
    both = []
    for name in ("hill", "noise"):
        both.append(tmp_path / name)
        invoke(
            "run", "quick", "--data", data, "--only", name, "--out", both[-1], "--trials", 2, "--ber", "0,1e-3",
            "--engine", "serial", *CODEC, "--no-report",
        )  # fmt: skip
    assert invoke("join", *both, "--out", tmp_path / "whole").exit_code == 0
    assert Store(tmp_path / "whole").keys() == Store(results).keys()


def test_rows_can_be_asked_and_exported(results, tmp_path):
    asked = invoke("sql", "select count(*) as files from rows", results, "--format", "json")
    assert json.loads(asked.stdout) == [{"files": 12}]
    for form in ("csv", "compressai", "codec-compare", "latex"):
        done = invoke("export", form, results, "--out", tmp_path / form)
        assert done.exit_code == 0
        assert list((tmp_path / form).iterdir())
    with pytest.raises(SpecError, match="nosuch"):
        invoke("sql", "select * from nosuch", results)
    with pytest.raises(UnknownNameError, match="csv"):
        invoke("export", "csvs", results, "--out", tmp_path / "no")


def test_a_cell_can_be_done_again(results, tmp_path):
    row = next(
        row
        for row in Store(results).table().to_pylist()
        if row["psnr"] is not None and row["flips"] and not row["trial"]
    )
    picture, file = tmp_path / "again.png", tmp_path / "received.jpg"
    done = invoke("replay", row["key"][:12], results, "--out", picture, "--file", file)
    assert done.exit_code == 0
    kept = Store(results).decoded(row["picture"], row["codec"], row["channel"])
    assert picture.read_bytes() == kept
    assert file.stat().st_size == row["file_bytes"]
    with pytest.raises(SpecError, match="0 cells"):
        invoke("replay", "nosuch", results)


def test_a_plan_file_is_written_edited_and_run(tmp_path, data, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert invoke("new").exit_code == 0
    with pytest.raises(SpecError, match=r"study\.toml"):
        invoke("new")
    arguments = [
        "--data",
        data,
        "--engine",
        "serial",
        "--trials",
        1,
        "--ber",
        "0",
        *CODEC,
        "--rate",
        "1",
        "--no-report",
    ]
    with pytest.raises(SpecError, match="rates"):
        invoke("run", "study.toml", *arguments)
    assert invoke("run", "study.toml", *arguments[:-3], "--codec", "jpeg", "--no-report").exit_code == 0
    assert invoke("status").stdout.startswith("my-study: 2 pictures")
    for name in presets():
        assert name in invoke("presets").stdout
    assert "kodak24" in invoke("datasets").stdout


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        (["run", "slow"], UnknownNameError, "quick"),
        (["run", "nosuch.toml"], SpecError, "nosuch"),
        (["run", "quick", "--codec", "jpg"], UnknownNameError, "jpg"),
        (["run", "quick", "--channel", "bscc"], UnknownNameError, "bscc"),
        (["run", "quick", "--metric", "psnrr"], UnknownNameError, "psnrr"),
        (["run", "quick", "--frame", "circle"], SpecError, "circle"),
        (["run", "quick", "--rate", "much"], SpecError, "much"),
        (["run", "quick", "--only", "nobody"], FlipproofError, "nobody"),
        (["run", "quick", "--data", "nosuch/*.png"], FlipproofError, "nosuch"),
        (["run", "quick", "--engine", "slurm"], UnknownNameError, "slurm"),
        (["status", "nosuch"], StoreError, "nosuch"),
        (["status"], StoreError, "out/"),
        (["fetch", "kodak25"], UnknownNameError, "kodak24"),
    ],
)
def test_what_is_wrong_stops_the_command_before_anything_is_written(tmp_path, monkeypatch, arguments, error, text):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=text):
        invoke(*arguments)
    assert not list(tmp_path.iterdir())


def test_ctrl_c_stops_with_a_word_on_how_to_go_on(tmp_path, data, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "run", interrupted)
    done = invoke("run", "quick", "--data", data, "--out", tmp_path / "out", "--engine", "serial", *CODEC)
    assert done.exit_code == 130
    assert "the same command goes on" in done.stderr


def test_names_complete():
    assert completion.complete_codecs("robust-t") == ["robust-turbo-ddcm"]
    assert completion.complete_presets("q") == ["quick"]
    assert "bsc" in completion.complete_channels("b")
    assert completion.complete_datasets("kod") == ["kodak24"]
    assert completion.complete_metrics("lpips-a") == ["lpips-alex"]
