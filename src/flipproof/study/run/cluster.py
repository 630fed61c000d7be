"""Jobs on a Ray cluster: one actor for each worker, each with models of its own.

Workers need flipproof at the version of this process, and no file system in common: what they measure travels back
here, and only this process writes. Ray restarts an actor whose process or node died wherever there is room; the job
that it was at is reported as lost, once, and an actor is given work only after it has said that it is there. So nodes
may come and go while a study runs, and actors that find no room hold nothing up.
"""

from __future__ import annotations

import copy
import logging
import math
import os
import platform
import socket
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from flipproof._version import __version__
from flipproof.errors import MissingExtraError, SpecError, WorkerError
from flipproof.study.run.engine import Engine, Job, Outcome, Result
from flipproof.study.run.local import cores

__all__ = ["RayEngine"]

_WAIT_SECONDS = 0.2
_REACH_SECONDS = 10
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class _Share:
    """What of a node one worker takes: processors, which are also its threads, and GPUs."""

    cpus: float
    gpus: float

    def __post_init__(self) -> None:
        if not (self.cpus > 0 and _countable(self.cpus)):
            raise SpecError(f"study: expected cpus as a fraction of one or a whole number, got {self.cpus}")
        if not (self.gpus >= 0 and _countable(self.gpus)):
            raise SpecError(f"study: expected gpus as zero, a fraction of one or a whole number, got {self.gpus}")

    def options(self) -> dict[str, Any]:
        """Returns what Ray is to know of an actor: it restarts for ever, and its threads are its processors."""
        variables = dict.fromkeys(_THREADS, str(max(1, int(self.cpus))))
        if not self.gpus:  # Ray leaves all of a node's GPUs to an actor that asked for none
            variables["CUDA_VISIBLE_DEVICES"] = ""
        return {
            "num_cpus": self.cpus,
            "num_gpus": self.gpus,
            "max_restarts": -1,
            "runtime_env": {"env_vars": variables},
        }

    def fits(self, resources: Mapping[str, float]) -> int:
        """Returns how many workers a node with these resources has room for."""
        needs = {"CPU": self.cpus, "GPU": self.gpus}
        return min(int(resources.get(name, 0) / need + 1e-6) for name, need in needs.items() if need)


class RayEngine(Engine):
    """Runs jobs on a Ray cluster, and goes on with what is left of it when workers or nodes die.

    Arguments:
        address: Of the cluster, as ``host:port`` or ``auto``; this machine must be a node of it. None starts a Ray of
            its own on this machine, which ends with the engine.
        workers: Number of actors; None for as many as the nodes have room for.
        cpus: Processors of each, which are also its threads; below 1, actors share one.
        gpus: GPUs of each; without one an actor sees none. Below 1, actors share one.
        patience: Seconds without any worker after which it gives up.

    Raises:
        SpecError: A number is out of range, or no node has room for a worker.
        WorkerError: There is no cluster at the address that this process can join.
        MissingExtraError: Ray is not installed.
    """

    isolates = True

    def __init__(
        self,
        address: str | None = None,
        workers: int | None = None,
        cpus: float = 1,
        gpus: float = 0,
        patience: float = 120,
    ) -> None:
        share = _Share(cpus, gpus)
        if workers is not None and workers < 1:
            raise SpecError(f"study: expected at least 1 of workers, got {workers}")
        self._ray = _import_ray()
        self._patience = patience
        self._waiting: deque[Job] = deque()
        self._running: dict[Any, tuple[int, Job]] = {}
        self._greeting: dict[Any, int] = {}
        self._idle: deque[int] = deque()
        self._actors: list[Any] = []
        self._joined = _join(self._ray, address, math.ceil((workers or 0) * cpus))
        try:
            self.workers = self._room(share) if workers is None else workers
            actor = self._ray.remote(**share.options())(_Worker)
            self._actors = [actor.remote() for _ in range(self.workers)]
            self._seen = time.monotonic()
            for index in range(self.workers):
                self._greet(index)
        except BaseException:
            self.close()
            raise

    def submit(self, job: Job) -> None:  # noqa: D102 (inherited)
        self._waiting.append(job)
        self._hand_out()

    def collect(self) -> list[Outcome]:  # noqa: D102 (inherited)
        outcomes = []
        for reference in self._ended():
            if reference in self._greeting:
                self._welcome(reference)
            else:
                outcomes.append(self._settle(reference))
        self._hand_out()
        self._check_seen()
        return outcomes

    def close(self) -> None:  # noqa: D102 (inherited)
        for held in (self._waiting, self._running, self._greeting, self._idle):
            held.clear()
        if not self._ray.is_initialized():
            return
        while self._actors:
            self._ray.kill(self._actors.pop(), no_restart=True)
        if self._joined:
            _leave(self._ray)

    def _room(self, share: _Share) -> int:
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        room = sum(map(share.fits, nodes))
        if room == 0:
            held = [f"{node.get('CPU', 0):g} and {node.get('GPU', 0):g}" for node in nodes]
            raise SpecError(
                f"study: expected a node with {share.cpus:g} CPUs and {share.gpus:g} GPUs, got {', '.join(held)}"
            )
        return room

    def _greet(self, index: int) -> None:
        """Asks a worker who it is; the answer comes when Ray has (re)started it somewhere."""
        question = self._actors[index].greeting.options(max_task_retries=-1)
        self._greeting[question.remote()] = index

    def _welcome(self, reference: Any) -> None:  # noqa: ANN401 (an ObjectRef)
        index = self._greeting.pop(reference)
        try:
            version, host = self._ray.get(reference)
        except self._ray.exceptions.ActorUnavailableError:
            self._greet(index)
            return
        except self._ray.exceptions.RayError as error:
            raise WorkerError(f"study: a worker of the cluster cannot start: {_one_line(error)}") from error
        if version != __version__:
            raise WorkerError(f"study: expected flipproof {__version__} on every node, got {version} on {host}")
        self._idle.append(index)

    def _hand_out(self) -> None:
        """Gives each idle worker one job, so that it is known whose job is lost with it."""
        while self._waiting and self._idle:
            index, job = self._idle.popleft(), self._waiting.popleft()
            reference = self._actors[index].run.remote(job)
            self._running[reference] = (index, job)

    def _ended(self) -> list[Any]:
        references = [*self._running, *self._greeting]
        if not references:
            return []
        ended, _ = self._ray.wait(references, num_returns=1, timeout=_WAIT_SECONDS)
        if ended:
            ended, _ = self._ray.wait(references, num_returns=len(references), timeout=0)
        return list(ended)

    def _settle(self, reference: Any) -> Outcome:  # noqa: ANN401 (an ObjectRef)
        index, job = self._running.pop(reference)
        try:
            outcome = Outcome(job, self._ray.get(reference))
        except self._ray.exceptions.RayTaskError as error:
            raise (error.cause or error) from None
        except self._ray.exceptions.LocalRayletDiedError as error:
            raise WorkerError("study: this machine is no longer a node of the cluster") from error
        except self._ray.exceptions.RayError as error:
            self._greet(index)
            return Outcome(job, None, _one_line(error))
        self._idle.append(index)
        return outcome

    def _check_seen(self) -> None:
        if self._idle or self._running:
            self._seen = time.monotonic()
        elif time.monotonic() - self._seen > self._patience:
            free = self._ray.available_resources()
            raise WorkerError(
                f"study: expected a worker on the cluster within {self._patience:g} s, got none; "
                f"free are {free.get('CPU', 0):g} CPUs and {free.get('GPU', 0):g} GPUs"
            )


class _Worker:
    """What runs on the cluster: a process that does one job after the other."""

    def greeting(self) -> tuple[str, str]:
        """Returns the version of flipproof here, and the name of the machine."""
        return __version__, platform.node()

    def run(self, job: Job) -> Result:
        """Runs a copy of a job: Ray hands over arrays as read-only views, and codecs may write to their own."""
        return copy.deepcopy(job).run()


def _import_ray() -> ModuleType:
    try:
        import ray
        import ray.exceptions
    except ModuleNotFoundError as error:
        raise MissingExtraError("ray", "cluster") from error
    return ray


def _join(ray: ModuleType, address: str | None, cpus: int) -> bool:
    """Connects this process to a cluster; returns False if it already was."""
    if ray.is_initialized():
        return False
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    _print_worker_messages(ray, False)
    try:
        if address is None:
            # A cluster of one's own reports nothing about its use to anyone.
            with _environment(RAY_USAGE_STATS_ENABLED="0"):
                ray.init(address="local", num_cpus=max(cpus, cores()), include_dashboard=False, **quiet)
        else:
            _reach(address)
            ray.init(address=address, **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        _print_worker_messages(ray, True)
        place = address or "this machine"
        raise WorkerError(f"study: expected a Ray cluster at {place}: {_one_line(error)}") from error
    return True


def _leave(ray: ModuleType) -> None:
    ray.shutdown()
    _print_worker_messages(ray, True)


def _reach(address: str) -> None:
    """Checks that something listens, which Ray takes half a minute and many lines to find out.

    Raises:
        ConnectionError: Nothing does.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host, int(port)), timeout=_REACH_SECONDS).close()
    except OSError as error:
        raise ConnectionError(str(error)) from error


def _print_worker_messages(ray: ModuleType, wanted: bool) -> None:
    """Ray prints deaths of workers, which are expected here, in the midst of whatever is on the terminal."""
    ray._private.worker._worker_logs_enabled = wanted


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _countable(number: float) -> bool:
    return number < 1 or float(number).is_integer()


def _one_line(error: object) -> str:
    return " ".join(str(error).split())
