"""Running studies: what is measured, and what a rerun keeps."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

import studies
from flipproof.channel.judge import GRAY
from flipproof.codec.jpeg import JpegCodec
from flipproof.errors import MissingExtraError, StoreError
from flipproof.metric.psnr import psnr
from flipproof.study.plan import Trials
from flipproof.study.run.engine import Engine, Outcome, SerialEngine
from flipproof.study.run.runner import run
from flipproof.study.run.study import family, prepare
from flipproof.study.store.row import ERROR, FAILED
from flipproof.study.store.store import Store
from studies import CLEAN, MILD, SEVERE, SIDE, TINY, BrokenCodec, CountingCodec, RawCodec, WrongSizeCodec, but_times


def changed(**values):
    return TINY.model_copy(update=values)


def test_there_is_one_row_per_cell_in_the_order_of_the_plan(tmp_path):
    rows = studies.measured(tmp_path)
    cells = [(CLEAN, 0), *[(channel, trial) for channel in (MILD, SEVERE) for trial in range(3)]]
    expected = [(p, c, *cell) for p in ("hill", "noise") for c in ("raw", "jpeg[quality=50]") for cell in cells]
    assert [(row["picture"], row["codec"], row["channel"], row["trial"]) for row in rows] == expected
    assert len({row["key"] for row in rows}) == len(rows)


def test_rows_measure_the_whole_file_and_say_how_they_came_about(tmp_path):
    rows = studies.measured(tmp_path)
    hill = studies.pictures()["hill"]
    data = JpegCodec(quality=50).encode(hill)
    row = next(row for row in rows if (row["picture"], row["codec"]) == ("hill", "jpeg[quality=50]"))
    assert (row["file_bytes"], row["flips"], row["status"]) == (len(data), 0, "ok")
    assert row["bpp"] == 8 * len(data) / SIDE**2
    assert row["psnr"] == row["psnr_all"] == psnr(JpegCodec().decode(data).image, hill)
    assert row["header_bits"] + row["index_bits"] + row["sign_bits"] + row["parity_bits"] == 8 * len(data)
    assert json.loads(row["codec_config"])["quality"] == 50
    assert json.loads(row["versions"])["flipproof"]
    assert (row["device"], row["seed"], row["height"], row["width"]) == ("cpu", 7, SIDE, SIDE)
    assert row["encode_seconds"] > 0
    assert row["decode_seconds"] > 0
    raw = next(row for row in rows if row["codec"] == "raw")
    assert (raw["psnr"], raw["repaired_bits"], raw["file_bytes"]) == (math.inf, 2, 6 + 3 * SIDE**2)


def test_files_of_equal_length_meet_equal_flips(tmp_path):
    rows = studies.measured(tmp_path, changed(channels=(SEVERE,)), {"a": RawCodec(), "b": RawCodec()})
    flips = {name: [row["flips"] for row in rows if row["codec"] == name] for name in "ab"}
    assert flips["a"] == flips["b"]
    assert len(set(flips["a"])) > 1
    assert len({row["channel_seed"] for row in rows}) == len(rows) / 2


def test_flips_depend_on_the_seed_and_on_what_the_picture_is(tmp_path):
    first, other = (studies.measured(tmp_path / str(seed), changed(seed=seed)) for seed in (0, 1))
    assert [row["flips"] for row in first] != [row["flips"] for row in other]
    renamed = {"hillock": studies.pictures()["hill"]}
    again = studies.measured(tmp_path / "renamed", changed(seed=0), arrays=renamed)
    assert [row["flips"] for row in again] == [row["flips"] for row in first if row["picture"] == "hill"]


def test_a_rerun_does_nothing_again(tmp_path):
    codec = CountingCodec()
    first = studies.measured(tmp_path, made={"counting": codec})
    assert studies.measured(tmp_path, made={"counting": codec}) == first
    assert (len(codec.encoded), len(codec.decoded)) == (2, 2)


class Failing(SerialEngine):
    """An engine that fails after some jobs."""

    def __init__(self, jobs, error=KeyboardInterrupt):
        super().__init__()
        self.left, self.error = jobs, error

    def collect(self):
        if not self.left:
            raise self.error
        self.left -= 1
        return super().collect()


@pytest.mark.parametrize(("jobs", "rows"), list(enumerate([0, 0, 0, 7, 14, 14, 14, 21])))
def test_a_stopped_run_goes_on_with_what_is_missing(tmp_path, jobs, rows):
    expected = studies.measured(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        studies.measured(tmp_path / "stopped", engine=Failing(jobs))
    assert Store(tmp_path / "stopped").table().num_rows == rows
    assert but_times(studies.measured(tmp_path / "stopped")) == but_times(expected)


def test_encoded_files_are_kept(tmp_path):
    codec = CountingCodec()
    with pytest.raises(KeyboardInterrupt):
        studies.measured(tmp_path, made={"counting": codec}, engine=Failing(1))
    rows = studies.measured(tmp_path, made={"counting": codec})
    assert len(codec.encoded) == 2
    assert all(row["encode_seconds"] > 0 for row in rows)


def test_another_plan_is_refused_unless_it_may_extend(tmp_path):
    first = studies.measured(tmp_path)
    with pytest.raises(StoreError, match="differs in trials"):
        studies.measured(tmp_path, changed(trials=Trials(least=4)))
    more = studies.measured(tmp_path, changed(trials=Trials(least=4)), extend=True)
    assert [row for row in more if row["trial"] < 3] == first
    assert len(more) == 2 * 2 * 9
    fewer = studies.measured(tmp_path, changed(trials=Trials(least=1), channels=(MILD,)), extend=True)
    assert fewer == [row for row in first if row["channel"] == MILD and row["trial"] == 0]
    for values in ({"seed": 8}, {"name": "other"}):
        with pytest.raises(StoreError, match=r"choose another folder$"):
            studies.measured(tmp_path, changed(**values), extend=True)


def test_other_pictures_of_the_same_names_are_another_study(tmp_path):
    studies.measured(tmp_path)
    arrays = studies.pictures()
    with pytest.raises(StoreError, match="the pictures"):
        studies.measured(tmp_path, arrays=arrays | {"hill": arrays["noise"].copy() // 2})


def test_results_of_another_version_are_refused(tmp_path):
    studies.measured(tmp_path)
    store = Store(tmp_path)
    record = store.record()
    store.write(record.model_copy(update={"versions": record.versions | {"flipproof": "0.0"}}))
    with pytest.raises(StoreError, match=r"got those of 0\.0"):
        studies.measured(tmp_path)


def test_a_failed_file_counts_as_mid_gray(tmp_path):
    rows = [row for row in studies.measured(tmp_path) if row["status"] == FAILED]
    assert any(row["codec"] == "raw" for row in rows)
    for row in rows:
        picture = studies.pictures()[row["picture"]]
        assert row["psnr"] is None
        assert row["psnr_all"] == psnr(np.full_like(picture, GRAY), picture)
        assert row["error"]


def test_a_picture_of_another_size_counts_as_failed(tmp_path):
    rows = studies.measured(tmp_path, made={"short": WrongSizeCodec()})
    assert {(row["status"], row["error"]) for row in rows} == {(FAILED, "decoded to 16x15, expected 16x16")}


def test_a_codec_that_cannot_encode_gives_error_rows_and_is_tried_again(tmp_path):
    rows = studies.measured(tmp_path, made={"broken": BrokenCodec()})
    assert {(row["status"], row["error"]) for row in rows} == {(ERROR, "broken: 0.1 bpp is too low")}
    assert not Store(tmp_path).keys()
    mended = studies.measured(tmp_path, made={"broken": RawCodec()})
    assert len(mended) == len(rows)
    assert {row["key"] for row in mended} == {row["key"] for row in rows}
    assert ERROR not in {row["status"] for row in mended}


class Defective(RawCodec):
    name = "defective"

    def decode_many(self, files, upto=1.0):
        raise RuntimeError("out of\nmemory")


def test_a_defect_of_a_codec_costs_its_own_cells_only(tmp_path):
    rows = studies.measured(tmp_path, made={"defective": Defective(), "raw": RawCodec()})
    errors = {(row["codec"], row["error"]) for row in rows if row["status"] == ERROR}
    assert errors == {("defective", "RuntimeError: out of memory")}
    assert len(rows) == 28
    assert len(Store(tmp_path).keys()) == 14


def test_progress_counts_cells_and_failures(tmp_path):
    states = []
    rows = studies.measured(tmp_path, progress=states.append)
    assert (states[-1].done, states[-1].total, states[-1].earlier) == (len(rows), len(rows), 0)
    assert states[-1].failures == sum(row["status"] == FAILED for row in rows)
    studies.measured(tmp_path, progress=states.append)
    assert states[-1].earlier == len(rows)


def test_metrics_that_are_not_defined_for_a_picture_are_empty(tmp_path):
    rows = studies.measured(tmp_path, changed(metrics=("psnr", "ms-ssim")))
    assert {row["ms_ssim"] for row in rows} == {None}
    assert all(row["psnr_all"] is not None for row in rows)


def test_pictures_of_the_gallery_and_the_worst_ones_are_kept(tmp_path):
    rows = studies.measured(tmp_path, changed(gallery=1))
    store = Store(tmp_path)
    assert store.original("hill")
    assert store.original("noise") is None
    for row in rows:
        if row["trial"] == 0:
            kept = store.decoded(row["picture"], row["codec"], row["channel"])
            assert (kept is not None) == (row["picture"] == "hill" and row["status"] != FAILED)
    found = [row for row in rows if row["channel"] == MILD and row["codec"] != "raw" and row["psnr"] is not None]
    key, png = store.worst("jpeg[quality=50]", MILD)
    assert key == min(found, key=lambda row: row["psnr"])["key"]
    assert png.startswith(b"\x89PNG")


class Losing(Engine):
    """Loses the worker of a chosen job some times."""

    def __init__(self, times, crowd):
        self.workers, self.times, self.crowd = crowd, times, crowd
        self.waiting, self.alone = [], []

    def submit(self, job):
        self.waiting.append(job)

    def collect(self):
        jobs, self.waiting = self.waiting, []
        deadly = [job for job in jobs if "raw" in job.label and "hill" in job.label and "encodes" in job.label]
        if deadly and self.times:
            self.times -= 1
            self.alone.append(len(jobs))
            return [Outcome(job, None, "killed") for job in jobs]
        return [Outcome(job, job.run()) for job in jobs]

    def close(self):
        pass


def test_a_job_that_loses_its_worker_is_tried_again_alone(tmp_path):
    expected = studies.measured(tmp_path / "whole")
    engine = Losing(times=2, crowd=2)
    assert but_times(studies.measured(tmp_path / "lossy", engine=engine)) == but_times(expected)
    assert engine.alone[0] > 1
    assert engine.alone[1] == 1


def test_a_job_that_always_loses_its_worker_becomes_errors(tmp_path):
    rows = studies.measured(tmp_path, engine=Losing(times=99, crowd=2))
    wrong = [row for row in rows if row["status"] == ERROR]
    assert {(row["picture"], row["codec"]) for row in wrong} == {("hill", "raw")}
    assert {row["error"] for row in wrong} == {"the worker died 3 times: killed"}
    assert len(rows) == 28


RULE = Trials(least=2, most=40, until_db=4.0)
RARE = "bsc[ber=0.0002]"


def test_a_stopping_rule_asks_for_more_until_the_mean_is_known(tmp_path):
    plan = changed(trials=RULE, channels=(CLEAN, RARE))
    rows = studies.measured(tmp_path, plan, {"jpeg": JpegCodec()})
    counts = {channel: max(row["trial"] for row in rows if row["channel"] == channel) + 1 for channel in plan.channels}
    assert counts[CLEAN] == 1
    assert 2 < counts[RARE] < 40
    assert studies.measured(tmp_path, plan, {"jpeg": JpegCodec()}) == rows


def test_a_stopping_rule_is_satisfied_by_enough_failures(tmp_path):
    rule = Trials(least=1, most=30, until_failures=4)
    rows = studies.measured(tmp_path, changed(trials=rule, channels=(SEVERE,)), {"raw": RawCodec()})
    assert [row["status"] for row in rows].count(FAILED) == len(rows) == 4


def test_a_stopped_run_with_a_rule_ends_as_an_undisturbed_one(tmp_path):
    plan = changed(trials=RULE, channels=(RARE,))
    expected = studies.measured(tmp_path / "whole", plan)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            studies.measured(tmp_path / "stopped", plan, engine=Failing(4))
    assert but_times(studies.measured(tmp_path / "stopped", plan)) == but_times(expected)


class Needy(RawCodec):
    name = "needy"

    def require(self):
        raise MissingExtraError("nothing", "fec")


def test_a_codec_that_cannot_work_here_is_skipped_with_the_remedy(tmp_path):
    study = prepare(TINY, studies.collection(), "", {"raw": RawCodec(), "needy": Needy()})
    assert [codec.skipped for codec in study.record.codecs] == [
        "",
        "nothing is not installed; run: pip install 'flipproof[fec]'",
    ]
    run(study, Store(tmp_path), SerialEngine())
    assert set(Store(tmp_path).table()["codec"].to_pylist()) == {"raw"}


@pytest.mark.parametrize(
    ("spelling", "expected"),
    [
        ("jpeg[quality=30]", "jpeg"),
        ("jpeg[bpp=0.5,restart=8]", "jpeg[restart=8]"),
        ("tracks[bpp=0.1,protect=none]", "tracks[protect=none]"),
        ("tracks[bpp=0.1]+fec[bch,t=20,m=10]", "tracks+fec[bch,t=20,m=10]"),
        ("jpeg+fec[bch,t=20,m=10,bpp=0.3]", "jpeg+fec[bch,t=20,m=10]"),
    ],
)
def test_a_family_is_a_codec_without_its_rate(spelling, expected):
    from flipproof import registry

    assert family(registry.codec(spelling)) == expected
