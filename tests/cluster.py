"""Ray clusters on the loopback address; jobs and a codec whose fate is known, importable by workers."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import ClassVar

import numpy as np
import pytest

from flipproof.codec.split import Split
from flipproof.study.run.engine import Job, Result
from flipproof.study.store.file import EncodedFile
from studies import SlowCodec

LOOPBACK = "127.0.0.1"
PATIENCE = 120
"""Seconds after which something that Ray does within a few is taken to be stuck."""

_NOTES = "FLIPPROOF_TEST_NOTES"

# Ray replaces the loopback address, where it is given one, by that of a network.
_LOOPBACK = "import ray._private.services as services; services.resolve_ip_for_localhost = str"
_START = f"{_LOOPBACK}; from ray.scripts.scripts import main; main()"
_SMALL = ("--num-cpus=1", "--num-gpus=0", f"--object-store-memory={80 * 2**20}", "--disable-usage-stats")
_PORTS = ("--min-worker-port=0", "--max-worker-port=0", f"--node-ip-address={LOOPBACK}")

# A node counts as dead after a second without a sign of life; Ray's defaults make it a quarter of a minute.
_ALERT = {"RAY_health_check_initial_delay_ms": "500", "RAY_health_check_period_ms": "200"}


@dataclass(frozen=True)
class Node:
    """A node of a cluster: ``ray start`` and all that came of it, which share its session."""

    process: subprocess.Popen[bytes]

    def pids(self) -> list[int]:
        return alive_in_session(self.process.pid)

    def workers(self) -> list[int]:
        """Processes of actors, which Ray names after their class."""
        return [pid for pid in self.pids() if b"ray::_Worker" in _command(pid)]

    def kill(self) -> None:
        """Ends all of it at once, as a power cut would."""
        while pids := self.pids():
            kill(pids)
            self.process.wait(PATIENCE)
            time.sleep(0.01)


class Cluster:
    """A cluster with one node, to which more can be added."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.notes = folder / "notes"
        self.notes.mkdir()
        self.nodes: list[Node] = []
        self.head = self.start("--head", "--port=0", "--include-dashboard=false", f"--temp-dir={folder / 'ray'}")
        address = folder / "ray" / "ray_current_cluster"
        wait_until(lambda: address.exists() and address.read_text().strip())  # written after it says that it started
        self.address = address.read_text().strip()

    @contextmanager
    def another(self, *options: str) -> Iterator[Node]:
        """Adds a node, and in the end kills it and waits until the cluster knows of it."""
        before = self.known()
        node = self.start(f"--address={self.address}", "--dashboard-agent-listen-port=0", *options)
        try:
            yield node
        finally:
            node.kill()
            wait_until(lambda: self.known() <= before)

    def known(self) -> int:
        """Number of nodes that the cluster takes to be alive, those that died a moment ago among them."""
        with joined(self.address) as ray:
            return sum(node["Alive"] for node in ray.nodes())

    def start(self, *options: str) -> Node:
        log = self.folder / f"{len(self.nodes)}.log"
        command = [sys.executable, "-c", _START, "start", *_SMALL, *_PORTS, "--block", *options]
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                stdout=output,
                stderr=output,
                env={**os.environ, **_ALERT, _NOTES: str(self.notes)},
                start_new_session=True,
            )
        self.nodes.append(Node(process))
        wait_until(lambda: process.poll() is not None or b"Ray runtime started" in log.read_bytes())
        assert process.poll() is None, log.read_text()
        return self.nodes[-1]

    def noted(self) -> set[tuple[int, int]]:
        """Sessions and processes that have decoded with :class:`NotingCodec` since this was asked last."""
        paths = list(self.notes.iterdir())
        for path in paths:
            path.unlink()
        return {tuple(map(int, path.name.split("-"))) for path in paths}

    def close(self) -> None:
        for node in reversed(self.nodes):
            node.kill()


@contextmanager
def loopback() -> Iterator[None]:
    """Keeps Ray, in this process and those it starts, on the loopback address, and lets workers find this module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setattr("ray._private.services.resolve_ip_for_localhost", str)
        yield


@contextmanager
def joined(address: str) -> Iterator[ModuleType]:
    """Connects this process to a cluster."""
    ray = pytest.importorskip("ray")
    ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    try:
        yield ray
    finally:
        ray.shutdown()


@contextmanager
def running() -> Iterator[Cluster]:
    """Starts a cluster of one node, and ends all of it whatever happens."""
    folder = Path(tempfile.mkdtemp(prefix="flipproof-"))  # short, for Ray makes sockets inside
    cluster = Cluster.__new__(Cluster)
    try:
        cluster.__init__(folder)
        yield cluster
    finally:
        cluster.close()
        shutil.rmtree(folder, ignore_errors=True)


def wait_until(reached) -> None:
    limit = time.monotonic() + PATIENCE
    while not reached():
        assert time.monotonic() < limit, "timed out"
        time.sleep(0.05)


def kill(pids: Iterable[int]) -> None:
    for pid in pids:
        with _gone():
            os.kill(pid, signal.SIGKILL)


def alive_in_session(session: int) -> list[int]:
    return [pid for pid in _processes() if _session(pid) == session]


def descendants() -> set[int]:
    """Processes that this one started, and those that they started."""
    parents = {pid: parent for pid in _processes() if (parent := _parent(pid)) is not None}
    found: set[int] = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {os.getpid()}


@dataclass(frozen=True)
class NotingCodec(SlowCodec):
    """Leaves a note of the session and the process that decode with it."""

    name: ClassVar[str] = "noting"

    def decode_many(self, files, upto=1.0):
        if _NOTES in os.environ:
            (Path(os.environ[_NOTES]) / f"{os.getsid(0)}-{os.getpid()}").touch()
        return super().decode_many(files)


@dataclass(frozen=True, eq=False)
class NoteJob(Job):
    """Answers with its number and its process, after writing to an array it was sent."""

    number: int
    array: np.ndarray
    seconds: float = 0.0

    @property
    def label(self):
        return str(self.number)

    def run(self):
        time.sleep(self.seconds)
        self.array[:] = self.number
        note = f"{self.number} {os.getpid()} {os.getsid(0)}".encode()
        return Result(file=EncodedFile(note, seconds=float(self.array[-1]), split=Split()))

    def give_up(self, reason):
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class DevicesJob(NoteJob):
    """Answers with the threads and GPUs that it may use, and its session."""

    def run(self):
        names = ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")
        note = " ".join([*(os.environ[name] or "none" for name in names), str(os.getsid(0))])
        return Result(file=EncodedFile(note.encode(), 0.0, Split()))


@dataclass(frozen=True, eq=False)
class DyingJob(NoteJob):
    """Ends the process that runs it."""

    def run(self):
        os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True, eq=False)
class FaultyJob(NoteJob):
    """Has a defect."""

    def run(self):
        raise ZeroDivisionError(f"job {self.number}")


def _processes() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]


def _command(pid: int) -> bytes:
    with _gone():
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def _session(pid: int) -> int | None:
    with _gone():
        return None if _state(pid)[0] == "Z" else int(_state(pid)[3])
    return None


def _parent(pid: int) -> int | None:
    with _gone():
        return None if _state(pid)[0] == "Z" else int(_state(pid)[1])
    return None


def _state(pid: int) -> list[str]:
    """State, parent, group, session of a process; see proc(5)."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _gone() -> suppress:
    return suppress(FileNotFoundError, ProcessLookupError)
