"""Jobs in processes of this machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool

from flipproof.errors import SpecError
from flipproof.study.run.engine import Engine, Job, Outcome, Result

__all__ = ["LocalEngine", "cores"]

_WAIT_SECONDS = 0.2


def cores() -> int:
    """Returns how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class LocalEngine(Engine):
    """Runs jobs in worker processes, each with models of its own and its share of the processors as threads.

    Arguments:
        workers: Number of processes; None for one on each processor.
        threads: Threads of each; None for an even share of the processors.

    Raises:
        SpecError: A number is below 1.
    """

    def __init__(self, workers: int | None = None, threads: int | None = None) -> None:
        self.workers = cores() if workers is None else workers
        self.threads = max(1, cores() // max(1, self.workers)) if threads is None else threads
        for name, value in (("workers", self.workers), ("threads", self.threads)):
            if value < 1:
                raise SpecError(f"study: expected at least 1 of {name}, got {value}")
        self._futures: dict[Future[Result], Job] = {}
        self._refused: list[Outcome] = []
        self._pool = self._new_pool()

    def submit(self, job: Job) -> None:  # noqa: D102 (inherited)
        try:
            self._futures[self._pool.submit(job.run)] = job
        except BrokenProcessPool as error:
            self._refused.append(Outcome(job, None, str(error)))

    def collect(self) -> list[Outcome]:  # noqa: D102 (inherited)
        done, _ = wait(self._futures, timeout=_WAIT_SECONDS, return_when=FIRST_COMPLETED)
        outcomes = [*self._refused, *(_outcome(self._futures.pop(future), future) for future in done)]
        reason = next((outcome.lost for outcome in outcomes if outcome.lost), "")
        if reason:  # the death of one process takes the pool and all that it was given along
            outcomes += [Outcome(job, None, reason) for job in self._futures.values()]
            self.close()
            self._pool = self._new_pool()
        return outcomes

    def close(self) -> None:  # noqa: D102 (inherited)
        self._futures.clear()
        self._refused.clear()
        _stop(self._pool)

    def _new_pool(self) -> ProcessPoolExecutor:
        # Forking a process with threads of PyTorch or CUDA in it is not safe, so each starts afresh.
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(self.workers, context, initializer=_prepare, initargs=(self.threads,))


def _outcome(job: Job, future: Future[Result]) -> Outcome:
    try:
        return Outcome(job, future.result())
    except BrokenProcessPool as error:
        return Outcome(job, None, str(error))


def _prepare(threads: int) -> None:
    """Readies a worker: its share of threads, and its end left to the process that started it, by Ctrl-C or death."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(threads)
    if "torch" in sys.modules:
        import torch

        torch.set_num_threads(threads)


def _end_with_parent() -> None:
    """Waits for the process that started this one; without it, a worker would wait for jobs for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _stop(pool: ProcessPoolExecutor) -> None:
    """Ends the processes of a pool without waiting for what they do."""
    processes = list((pool._processes or {}).values())
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.kill()
    for process in processes:
        process.join()
