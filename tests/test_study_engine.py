"""Studies in worker processes: the same rows, whatever dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

import studies
from flipproof.errors import SpecError, UnknownNameError
from flipproof.study.run.engines import Placement, make_engine
from flipproof.study.run.local import LocalEngine
from flipproof.study.store.row import ERROR
from flipproof.study.store.store import Store
from studies import TINY, DeadlyCodec, RawCodec, SlowCodec, but_times

TESTS = Path(__file__).parent


@pytest.mark.slow
def test_worker_processes_measure_the_same_rows(tmp_path):
    expected = studies.measured(tmp_path / "here")
    rows = studies.measured(tmp_path / "there", engine=LocalEngine(2))
    assert but_times(rows) == but_times(expected)


@pytest.mark.slow
def test_a_worker_that_dies_costs_nothing(tmp_path):
    made = {"deadly": DeadlyCodec(lives=str(tmp_path / "lives"), most=2), "raw": RawCodec()}
    rows = studies.measured(tmp_path / "study", made=made, engine=LocalEngine(2))
    assert ERROR not in {row["status"] for row in rows}
    assert set(Counter(row["key"] for row in rows).values()) == {1}
    assert len(rows) == 28


@pytest.mark.slow
def test_a_codec_that_always_kills_its_worker_becomes_errors(tmp_path):
    made = {"deadly": DeadlyCodec(lives=str(tmp_path / "lives")), "raw": RawCodec()}
    rows = studies.measured(tmp_path / "study", made=made, engine=LocalEngine(2), arrays=one_picture())
    assert Counter((row["codec"], row["status"] == ERROR) for row in rows) == {("deadly", True): 7, ("raw", False): 7}
    assert "the worker died 3 times" in rows[0]["error"]


def one_picture():
    return {"hill": studies.pictures()["hill"]}


PROGRAM = """
import sys
sys.path.insert(0, {tests!r})
import studies
from flipproof.study.plan import Trials
from flipproof.study.run.local import LocalEngine
if __name__ == "__main__":
    plan = studies.TINY.model_copy(update={{"trials": Trials(least=40)}})
    studies.measured({folder!r}, plan, {{"slow": studies.SlowCodec()}}, LocalEngine(2))
"""


@pytest.mark.slow
def test_a_run_that_is_killed_with_all_its_workers_goes_on(tmp_path):
    folder = tmp_path / "study"
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.format(tests=str(TESTS), folder=str(folder)))
    process = subprocess.Popen([sys.executable, str(program)], start_new_session=True)
    while process.poll() is None and not list(folder.glob("rows/part-*")):
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    kept = len(Store(folder).keys())
    plan = TINY.model_copy(update={"trials": studies.TINY.trials.model_copy(update={"least": 40})})
    rows = studies.measured(folder, plan, {"slow": SlowCodec(seconds=0)}, extend=False)
    assert 0 < kept <= len(rows) == 162
    assert set(Counter(row["key"] for row in rows).values()) == {1}
    assert but_times(rows) == but_times(studies.measured(tmp_path / "whole", plan, {"slow": SlowCodec(seconds=0)}))


def test_engines_have_names_and_options_that_fit():
    assert make_engine("serial", Placement()).workers == 1
    with pytest.raises(UnknownNameError, match="slurm"):
        make_engine("slurm", Placement())
    with pytest.raises(SpecError, match="--gpus"):
        make_engine("local", Placement(gpus=1))
    with pytest.raises(SpecError, match="workers"):
        LocalEngine(0)
