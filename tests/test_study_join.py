"""Studies that ran in parts, and folders of other versions."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from PIL import Image
from typer.testing import CliRunner

import studies
from flipproof.errors import SpecError
from flipproof.study import report
from flipproof.study.cli import app
from flipproof.study.join import join
from flipproof.study.run import run
from flipproof.study.store import SCHEMA, Store
from studies import TINY, but_seconds


@pytest.fixture(name="pictures")
def _pictures():
    return studies.pictures()


@pytest.fixture(name="codecs")
def _codecs():
    return studies.codecs()


def part(photograph, pictures, codecs, folder, **changes):
    run(replace(TINY, photographs=(photograph,), **changes), pictures, codecs, folder / photograph)
    return folder / photograph


@pytest.fixture(name="halves")
def _halves(tmp_path, pictures, codecs):
    return [part(photograph, pictures, codecs, tmp_path) for photograph in TINY.photographs]


def test_joined_parts_are_the_study_that_ran_at_once(tmp_path, pictures, codecs, halves):
    whole = run(TINY, pictures, codecs, tmp_path / "whole")
    joined = join(halves, tmp_path / "joined", "flipproof study join")
    assert but_seconds(joined.rows()) == but_seconds(whole)
    record = Store(tmp_path / "whole").record()
    assert joined.record() == replace(record, command="flipproof study join")
    assert joined.record().fingerprint == record.fingerprint
    assert _pictures_in(tmp_path / "joined") == _pictures_in(tmp_path / "whole")


def test_a_joined_study_has_nothing_left_to_do(tmp_path, pictures, codecs, halves):
    joined = join(halves, tmp_path / "joined")
    calls = len(codecs["raw"].calls)
    assert run(TINY, pictures, codecs, tmp_path / "joined") == joined.rows()
    assert len(codecs["raw"].calls) == calls


def test_parts_must_be_finished_and_agree(tmp_path, pictures, codecs, halves):
    out = tmp_path / "out"
    with pytest.raises(SpecError, match="two"):
        join(halves[:1], out)
    with pytest.raises(SpecError, match="photograph hill"):
        join([halves[0], halves[0]], out)
    with pytest.raises(SpecError, match="without a study"):
        join(halves, halves[0])
    other = part("noise", pictures, codecs, tmp_path / "other", trials=2)
    with pytest.raises(SpecError, match="trials"):
        join([halves[0], other], out)
    rows = halves[1] / "rows.csv"
    rows.write_text("".join(rows.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(SpecError, match="finished study of 14 rows, got 13"):
        join(halves, out)
    assert not out.exists()


def test_parts_of_other_weights_do_not_join(tmp_path, halves):
    path = halves[1] / "plan.json"
    config = json.loads(path.read_text())
    config["versions"]["small prior"] = "00000000"
    path.write_text(json.dumps(config))
    with pytest.raises(SpecError, match="versions"):
        join(halves, tmp_path / "out")


def test_a_folder_of_another_schema_says_so_and_is_set_aside(tmp_path, pictures, codecs):
    run(TINY, pictures, codecs, tmp_path)
    path = tmp_path / "plan.json"
    config = json.loads(path.read_text())
    assert config.pop("schema") == SCHEMA
    config["plan"]["bit_error_rates"] = [0.0, 1e-3]
    del config["plan"]["channels"]
    config["fingerprint"] = "0123456789abcdef"
    path.write_text(json.dumps(config))
    with pytest.raises(SpecError, match=f"expected a study of schema {SCHEMA}, got 1"):
        report.write(tmp_path)
    old = (tmp_path / "rows.csv").read_text()
    rows = run(TINY, pictures, codecs, tmp_path)
    assert len(codecs["raw"].calls) == 4
    assert Store(tmp_path).rows() == rows
    assert (tmp_path / "rows.0123456789abcdef.csv").read_text() == old


def test_the_command_runs_parts_and_joins_them(tmp_path, pictures):
    data = tmp_path / "data"
    data.mkdir()
    for name, image in pictures.items():
        Image.fromarray(image).save(data / f"{name}.png")
    options = ["--data", data, "--codec", "jpeg[quality=9]", "--ber", "0,1e-2", "--channel", "awgn[snr=6]"]
    for name in pictures:
        _invoke("run", "quick", *options, "--trials", 2, "--photographs", name, "--out", tmp_path / name)
    shown = _invoke("join", *(tmp_path / name for name in pictures), "--out", tmp_path / "all")
    assert "report: " in shown
    assert "other channels" in shown
    record = Store(tmp_path / "all").record()
    assert record.plan.photographs == ("hill", "noise")
    assert record.plan.channels == ("bsc[ber=0]", "bsc[ber=0.01]", "awgn[snr=6,modulation=bpsk,soft=false]")
    assert record.command.startswith(f"flipproof study join {tmp_path / 'hill'}")
    assert len(Store(tmp_path / "all").rows()) == 2 * (1 + 2 + 2)
    assert "--ber 0,1e-2" in Store(tmp_path / "hill").record().command


def test_photographs_that_are_not_there_stop_the_command(tmp_path, pictures):
    Image.fromarray(pictures["hill"]).save(tmp_path / "hill.png")
    with pytest.raises(SpecError, match="03"):
        _invoke("run", "kodak", "--data", tmp_path, "--photographs", "hill,03", "--out", tmp_path / "out")
    with pytest.raises(SpecError, match="--data"):
        _invoke("run", "kodak", "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def _invoke(*words):
    result = CliRunner().invoke(app, list(map(str, words)), catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def _pictures_in(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("pictures/**/*.png")}
