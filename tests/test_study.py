"""Studies: what is measured, and what a rerun keeps."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import studies
from flipproof import registry
from flipproof.channel.judge import GRAY
from flipproof.codec.jpeg import JpegCodec
from flipproof.errors import SpecError, UnknownNameError
from flipproof.metric.psnr import psnr
from flipproof.study import photos, report
from flipproof.study.cli import app
from flipproof.study.plan import Plan, preset, presets
from flipproof.study.run import channels_of, codecs_of, run
from flipproof.study.store import ERROR, FAILED, Store
from flipproof.study.summary import summarise
from studies import CLEAN, MILD, SEVERE, SIDE, TINY, BrokenCodec, RawCodec, WrongSizeCodec, but_seconds


@pytest.fixture(name="pictures")
def _pictures():
    return studies.pictures()


@pytest.fixture(name="codecs")
def _codecs():
    return studies.codecs()


def test_presets_name_photographs_and_codecs_that_exist():
    for name in presets():
        plan = preset(name)
        assert name in ("kodak", "channels") or set(plan.photographs) <= set(photos.names())
        assert list(codecs_of(plan)) == list(plan.codecs)
        assert [str(channel) for channel in channels_of(plan).values()] == list(plan.channels)


def test_unknown_preset_is_an_error():
    with pytest.raises(UnknownNameError, match="quick"):
        preset("slow")


@pytest.mark.parametrize(
    "change",
    [
        {"name": "a/b"},
        {"photographs": ()},
        {"codecs": ("jpeg", "jpeg")},
        {"codecs": ("jpeg[",)},
        {"channels": ()},
        {"channels": (CLEAN, CLEAN)},
        {"channels": ("bsc[ber",)},
        {"channels": ("bsc",)},
        {"trials": 0},
        {"crop": 0},
        {"seed": -1},
    ],
)
def test_plans_out_of_range_are_errors(change):
    with pytest.raises(SpecError, match="expected"):
        replace(TINY, **change)


def test_plan_survives_json():
    assert Plan.from_config(json.loads(json.dumps(TINY.get_config()))) == TINY
    with pytest.raises(SpecError, match="attributes"):
        Plan.from_config({"name": "tiny"})


def test_there_is_one_row_per_cell_in_the_order_of_the_plan(tmp_path, pictures, codecs):
    rows = run(TINY, pictures, codecs, tmp_path)
    cells = [(CLEAN, 0), *[(channel, trial) for channel in (MILD, SEVERE) for trial in range(3)]]
    expected = [(p, c, *cell) for p in TINY.photographs for c in TINY.codecs for cell in cells]
    assert [(row.photograph, row.codec, row.channel, row.trial) for row in rows] == expected
    assert Store(tmp_path).rows() == rows


def test_rows_measure_the_whole_file(tmp_path, pictures, codecs):
    rows = run(TINY, pictures, codecs, tmp_path)
    crop = photos.centre_crop(pictures["hill"], SIDE)
    data = JpegCodec(quality=50).encode(crop)
    row = next(row for row in rows if (row.photograph, row.codec) == ("hill", "jpeg[quality=50]"))
    assert (row.file_bytes, row.flips, row.status) == (len(data), 0, "ok")
    assert row.bpp == 8 * len(data) / SIDE**2
    assert row.psnr_db == psnr(JpegCodec().decode(data).image, crop)
    raw = next(row for row in rows if row.codec == "raw")
    assert (raw.psnr_db, raw.repaired_bits, raw.file_bytes) == (math.inf, 2, 4 + 3 * SIDE**2)


def test_files_of_equal_length_meet_equal_flips(tmp_path, pictures):
    plan = replace(TINY, codecs=("a", "b"), channels=(SEVERE,))
    rows = run(plan, pictures, {"a": RawCodec(), "b": RawCodec()}, tmp_path)
    flips = {name: [row.flips for row in rows if row.codec == name] for name in plan.codecs}
    assert flips["a"] == flips["b"]
    assert len(set(flips["a"])) > 1


def test_flips_depend_on_the_seed(tmp_path, pictures, codecs):
    rows = [run(replace(TINY, seed=seed), pictures, codecs, tmp_path / str(seed)) for seed in (0, 1)]
    assert [row.flips for row in rows[0]] != [row.flips for row in rows[1]]


def test_a_rerun_does_nothing_again(tmp_path, pictures, codecs):
    first = run(TINY, pictures, codecs, tmp_path)
    assert run(TINY, pictures, codecs, tmp_path) == first
    assert len(codecs["raw"].calls) == 2


def test_a_stopped_run_goes_on_with_the_first_unfinished_group(tmp_path, pictures, codecs):
    first = run(TINY, pictures, codecs, tmp_path)
    text = (tmp_path / "rows.csv").read_text()
    (tmp_path / "rows.csv").write_text(text[: text.index(f"noise,raw,{SEVERE}") + 20])
    again = run(TINY, pictures, codecs, tmp_path)
    assert len(codecs["raw"].calls) == 3
    assert but_seconds(again) == but_seconds(first)
    assert Store(tmp_path).rows() == again


def test_another_plan_starts_afresh_and_sets_the_old_rows_aside(tmp_path, pictures, codecs):
    run(TINY, pictures, codecs, tmp_path)
    plan = replace(TINY, trials=1)
    assert len(run(plan, pictures, codecs, tmp_path)) == 2 * 2 * 3
    assert len(codecs["raw"].calls) == 4
    assert len(list(tmp_path.glob("rows.*.csv"))) == 1


def test_other_pictures_of_the_same_names_start_afresh(tmp_path, pictures, codecs):
    run(TINY, pictures, codecs, tmp_path)
    run(TINY, pictures | {"hill": pictures["noise"]}, codecs, tmp_path)
    assert len(codecs["raw"].calls) == 4


def test_a_failed_file_counts_as_mid_gray(tmp_path, pictures, codecs):
    rows = [row for row in run(TINY, pictures, codecs, tmp_path) if row.status == FAILED]
    assert any(row.codec == "raw" for row in rows)
    for row in rows:
        crop = photos.centre_crop(pictures[row.photograph], SIDE)
        assert row.psnr_db is None
        assert row.psnr_all_db == psnr(np.full_like(crop, GRAY), crop)
        assert row.error


def test_a_picture_of_another_size_counts_as_failed(tmp_path, pictures):
    plan = replace(TINY, codecs=("short",))
    rows = run(plan, pictures, {"short": WrongSizeCodec()}, tmp_path)
    assert {(row.status, row.error) for row in rows} == {(FAILED, "decoded to 16x15, expected 16x16")}


def test_a_codec_that_cannot_encode_gives_error_rows_and_is_tried_again(tmp_path, pictures):
    plan, broken = replace(TINY, codecs=("broken",)), BrokenCodec()
    rows = run(plan, pictures, {"broken": broken}, tmp_path)
    assert {(row.status, row.error) for row in rows} == {(ERROR, "broken: 0.1 bpp is too low")}
    run(plan, pictures, {"broken": broken}, tmp_path)
    assert len(broken.calls) == 4
    cell = summarise(rows, plan)[1]
    assert (cell.files, cell.errors, cell.failures, cell.psnr_all_db) == (0, 6, 0, None)


def test_progress_counts_groups_and_failures(tmp_path, pictures, codecs):
    states = []
    rows = run(TINY, pictures, codecs, tmp_path, progress=states.append)
    assert [state.done for state in states] == [0, 1, 2, 3, 4]
    assert {state.total for state in states} == {4}
    assert states[-1].failures == sum(row.status == FAILED for row in rows)


def test_a_picture_that_is_not_given_is_an_error(tmp_path, pictures, codecs):
    with pytest.raises(SpecError, match="noise"):
        run(TINY, {"hill": pictures["hill"]}, codecs, tmp_path)


def test_damaged_rows_are_an_error(tmp_path, pictures, codecs):
    run(TINY, pictures, codecs, tmp_path)
    path = tmp_path / "rows.csv"
    path.write_text(path.read_text().replace(f"tiny,hill,raw,{CLEAN},0,", f"tiny,hill,raw,{CLEAN},zero,"))
    with pytest.raises(SpecError, match="line 2"):
        Store(tmp_path).rows()


def test_a_folder_without_a_study_is_an_error(tmp_path):
    with pytest.raises(SpecError, match=r"plan\.json"):
        report.write(tmp_path)


def test_the_command_runs_a_study_on_a_folder(tmp_path, pictures):
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    for name, image in pictures.items():
        Image.fromarray(image).save(data / f"{name}.png")
    arguments = ["run", "quick", "--data", str(data), "--out", str(out), "--trials", "1"]
    result = CliRunner().invoke(app, [*arguments, "--codec", "jpeg[quality=9]"], catch_exceptions=False)
    assert result.exit_code == 0
    assert f"report: {out / 'report.html'}" in result.stdout
    assert "jpeg[quality=9]" in result.stdout
    rows = Store(out).rows()
    assert {row.photograph for row in rows} == {"hill", "noise"}
    assert len(rows) == 2 * len(preset("quick").channels)
    assert "--codec 'jpeg[quality=9]'" in Store(out).record().command


def test_a_misspelled_codec_stops_the_command_before_anything_is_written(tmp_path):
    arguments = ["run", "quick", "--out", str(tmp_path / "out"), "--codec", "jpeg", "--codec", "jpg"]
    with pytest.raises(UnknownNameError, match="jpg"):
        CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert not (tmp_path / "out").exists()


def test_every_codec_of_a_plan_is_built_from_its_spelling():
    assert codecs_of(replace(TINY, codecs=("jpeg[quality=5]",))) == {
        "jpeg[quality=5]": registry.codec("jpeg[quality=5]")
    }
