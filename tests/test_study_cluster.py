"""Ray: a study on two nodes of a cluster, of which one loses a worker or dies; and what the engine promises."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import flipproof
import studies
from cluster import (
    PATIENCE,
    DevicesJob,
    DyingJob,
    FaultyJob,
    NoteJob,
    NotingCodec,
    descendants,
    kill,
    loopback,
    running,
    wait_until,
)
from flipproof.codec.jpeg import JpegCodec
from flipproof.errors import MissingExtraError, SpecError, WorkerError
from flipproof.study.plan import Trials
from flipproof.study.run import cluster as ray_engine
from flipproof.study.run.cluster import RayEngine
from flipproof.study.run.local import LocalEngine
from flipproof.study.run.runner import run
from flipproof.study.store.store import Store
from studies import SIDE, TINY, RawCodec, but_times

pytestmark = pytest.mark.slow


def test_a_missing_ray_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"ray is not installed; run: pip install 'flipproof\[cluster\]'"):
        RayEngine()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"workers": 0}, "at least 1 of workers, got 0"),
        ({"cpus": 0}, "cpus as a fraction of one or a whole number, got 0"),
        ({"cpus": 1.5}, "cpus as a fraction of one or a whole number, got 1.5"),
        ({"gpus": -1}, "gpus as zero, a fraction of one or a whole number, got -1"),
        ({"gpus": float("nan")}, "gpus as zero, a fraction of one or a whole number, got nan"),
    ],
)
def test_impossible_shares_are_refused(options, expected):
    with pytest.raises(SpecError, match=expected):
        RayEngine(**options)


@pytest.fixture(scope="module")
def cluster():
    pytest.importorskip("ray")
    with loopback(), running() as cluster:
        yield cluster


@pytest.fixture
def second(cluster):
    with cluster.another() as node:
        yield node


@pytest.fixture(autouse=True)
def left():
    """Leaves Ray after a test that failed: Ray ends processes whose cluster has gone."""
    yield
    if (ray := sys.modules.get("ray")) and ray.is_initialized():
        ray.shutdown()


class CountingStore(Store):
    """Counts the rows that are given to it."""

    def __init__(self, folder):
        super().__init__(folder)
        self.given = []

    def append(self, rows):
        self.given += [row.key for row in rows]
        super().append(rows)


class RecordingEngine(RayEngine):
    """Waits for all its workers, and keeps the reasons why jobs were lost."""

    def __init__(self, address, workers):
        super().__init__(address, workers)
        self.lost = []
        wait_until(lambda: self.collect() == [] and len(self._idle) == workers)

    def collect(self):
        outcomes = super().collect()
        self.lost += [outcome.lost for outcome in outcomes if outcome.lost]
        return outcomes


def measure(store, engine, progress=lambda _: None):
    rng = np.random.default_rng(5)
    arrays = {f"noise{index}": rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8) for index in range(8)}
    codecs = {"noting": NotingCodec(), "raw": RawCodec(), "jpeg[quality=50]": JpegCodec(quality=50)}
    plan = TINY.model_copy(update={"trials": Trials(least=10)})
    run(studies.study(plan, codecs, arrays), store, engine, progress)
    return store.table().to_pylist()


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    return but_times(measure(Store(tmp_path_factory.mktemp("local")), LocalEngine(1)))


def measure_with_a_death(cluster, second, folder, strike):
    """Runs a study on two nodes and strikes once, while the second is at a job after a third of the study.

    Returns its rows, and the reasons of lost jobs; none may be missing or be there twice.
    """
    store, engine, due = CountingStore(folder), RecordingEngine(cluster.address, 2), threading.Event()

    def progress(state):
        if state.done >= state.total // 3:
            due.set()

    def strike_when_due():
        assert due.wait(PATIENCE)
        cluster.noted()
        wait_until(lambda: second.process.pid in {session for session, _ in cluster.noted()})
        strike()
        cluster.noted()

    with ThreadPoolExecutor(1) as pool:
        death = pool.submit(strike_when_due)
        rows = measure(store, engine, progress)
        death.result()
    assert len(store.given) == len(set(store.given)) == len(rows)
    return but_times(rows), engine.lost


def test_a_study_outlives_a_worker(cluster, second, expected, tmp_path):
    rows, lost = measure_with_a_death(cluster, second, tmp_path, lambda: kill(second.workers()))
    assert rows == expected
    assert len(lost) == 1


def test_a_study_outlives_all_its_workers(cluster, second, expected, tmp_path):
    killed = []

    def strike():
        killed.extend([*cluster.head.workers(), *second.workers()])
        kill(killed)

    rows, lost = measure_with_a_death(cluster, second, tmp_path, strike)
    assert rows == expected
    assert len(killed) == 2
    assert lost
    assert not {process for _, process in cluster.noted()} & set(killed)


def test_a_study_outlives_a_node(cluster, second, expected, tmp_path):
    rows, lost = measure_with_a_death(cluster, second, tmp_path, second.kill)
    assert rows == expected
    assert len(lost) == 1
    assert {session for session, _ in cluster.noted()} == {cluster.head.process.pid}


def jobs(count, kind=NoteJob, **options):
    return [kind(number, np.zeros(3), **options) for number in range(count)]


def outcomes_of(engine, submitted):
    for job in submitted:
        engine.submit(job)
    ended = []
    while len(ended) < len(submitted):
        ended += engine.collect()
    return ended


def notes(outcomes):
    """Number, process and session of each job that ended well."""
    return [tuple(map(int, outcome.result.file.data.split())) for outcome in outcomes if outcome.result]


def test_every_job_comes_back_once(cluster):
    submitted = jobs(20)
    with RayEngine(cluster.address) as engine:
        assert engine.workers == 1
        ended = outcomes_of(engine, submitted)
        assert engine.collect() == []
    assert {id(outcome.job) for outcome in ended} == {id(job) for job in submitted}
    assert sorted(number for number, _, _ in notes(ended)) == list(range(20))
    assert [outcome.result.file.seconds for outcome in ended] == [outcome.job.number for outcome in ended]
    assert {session for _, _, session in notes(ended)} == {cluster.head.process.pid}
    assert all((outcome.job.array == 0).all() for outcome in ended)


def test_closing_ends_the_workers_and_leaves_the_cluster(cluster):
    with RayEngine(cluster.address) as engine:
        outcomes_of(engine, jobs(1))
        assert cluster.head.workers()
        engine.submit(*jobs(1, seconds=PATIENCE))
    wait_until(lambda: not cluster.head.workers())
    with RayEngine(cluster.address) as engine:
        assert len(notes(outcomes_of(engine, jobs(3)))) == 3


def test_a_job_that_kills_its_worker_is_lost_alone(cluster):
    with RayEngine(cluster.address) as engine:
        ended = outcomes_of(engine, [*jobs(2), *jobs(1, DyingJob), *jobs(5)])
    lost = [outcome for outcome in ended if outcome.lost]
    assert [type(outcome.job) for outcome in lost] == [DyingJob]
    assert all(outcome.result is None for outcome in lost)
    assert len({process for _, process, _ in notes(ended)}) == 2


def test_a_defect_is_raised(cluster):
    with RayEngine(cluster.address) as engine, pytest.raises(ZeroDivisionError, match="job 0"):
        outcomes_of(engine, jobs(1, FaultyJob))


def test_a_worker_of_another_version_is_refused(cluster, monkeypatch):
    monkeypatch.setattr(ray_engine, "__version__", "0.0.7")
    with (
        RayEngine(cluster.address) as engine,
        pytest.raises(WorkerError, match=rf"expected flipproof 0.0.7 on every node, got {flipproof.__version__} on"),
    ):
        outcomes_of(engine, jobs(1))


def test_a_worker_without_room_is_not_waited_for_for_ever(cluster):
    with (
        RayEngine(cluster.address, workers=1, gpus=1, patience=0.5) as engine,
        pytest.raises(WorkerError, match=r"a worker on the cluster within 0.5 s, got none; free are [01] CPUs"),
    ):
        outcomes_of(engine, jobs(1))


def test_workers_without_room_hold_nothing_up(cluster):
    with RayEngine(cluster.address, workers=3) as engine:
        assert len(notes(outcomes_of(engine, jobs(6)))) == 6


def test_workers_get_the_devices_they_asked_for(cluster):
    with RayEngine(cluster.address, workers=1) as engine:
        [outcome] = outcomes_of(engine, jobs(1, DevicesJob))
        assert outcome.result.file.data.split()[:2] == [b"1", b"none"]
    with (
        cluster.another("--num-cpus=4", "--num-gpus=1") as node,  # Ray takes our word for it
        RayEngine(cluster.address, cpus=2, gpus=0.5) as engine,
    ):
        assert engine.workers == 2
        [outcome] = outcomes_of(engine, jobs(1, DevicesJob))
        assert outcome.result.file.data.split() == [b"2", b"0", str(node.process.pid).encode()]


def test_a_cluster_without_room_is_refused(cluster):
    with pytest.raises(SpecError, match="expected a node with 1 CPUs and 1 GPUs, got 1 and 0"):
        RayEngine(cluster.address, gpus=1)


def test_a_ray_of_its_own_ends_with_the_engine(cluster):
    before = descendants()
    with RayEngine(workers=3, cpus=0.5) as engine:
        assert len({process for _, process, _ in notes(outcomes_of(engine, jobs(30, seconds=0.1)))}) > 1
    wait_until(lambda: descendants() <= before)


def test_nothing_listens(cluster):
    with pytest.raises(WorkerError, match=r"expected a Ray cluster at 127\.0\.0\.1:1: "):
        RayEngine("127.0.0.1:1")
