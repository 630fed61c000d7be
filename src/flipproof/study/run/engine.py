"""What runs jobs: in this process, in processes of this machine, or on a cluster."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from flipproof.study.store.file import EncodedFile
from flipproof.study.store.row import Row

__all__ = ["Engine", "Job", "Outcome", "Result", "SerialEngine", "Snapshot"]


@dataclass(frozen=True)
class Snapshot:
    """A decoded picture to keep.

    Attributes:
        row: What it is a picture of.
        png: The picture.
        first: Whether it is for the gallery; else it is kept as the worst so far of its codec and channel.
    """

    row: Row
    png: bytes
    first: bool


@dataclass(frozen=True)
class Result:
    """What a job came to.

    Attributes:
        rows: Measured cells.
        snapshots: Pictures to keep.
        file: The encoded file, of a job that encodes and could.
    """

    rows: tuple[Row, ...] = ()
    snapshots: tuple[Snapshot, ...] = ()
    file: EncodedFile | None = None


class Job(ABC):
    """A piece of work that any process with flipproof can do; picklable.

    Attributes:
        label: What it is, for people.
    """

    @property
    @abstractmethod
    def label(self) -> str:
        """What it is, for people."""

    @abstractmethod
    def run(self) -> Result:
        """Does the work; errors become rows."""

    @abstractmethod
    def give_up(self, reason: str) -> Result:
        """Returns rows that say that the work could not be done."""


@dataclass(frozen=True)
class Outcome:
    """How a job ended.

    Attributes:
        job: The job that was submitted, the same object.
        result: What it came to; None if its worker was lost.
        lost: Why, then.
    """

    job: Job
    result: Result | None
    lost: str = ""


class Engine(ABC):
    """Runs jobs, in any order; a context manager that is closed at its end."""

    workers: int
    """Jobs that run at once."""
    isolates: bool = False
    """Whether a worker that dies takes no job along but its own."""

    @abstractmethod
    def submit(self, job: Job) -> None:
        """Takes a job and returns at once; the caller keeps no more than twice ``workers`` outstanding."""

    @abstractmethod
    def collect(self) -> list[Outcome]:
        """Waits a moment for jobs to end, and returns those that did; may be empty.

        Raises:
            WorkerError: No worker is left and none can be had.
        """

    @abstractmethod
    def close(self) -> None:
        """Stops at once; jobs that are not done are left."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class SerialEngine(Engine):
    """Runs jobs in this process, one after the other."""

    def __init__(self) -> None:
        self.workers = 1
        self._waiting: list[Job] = []

    def submit(self, job: Job) -> None:  # noqa: D102 (inherited)
        self._waiting.append(job)

    def collect(self) -> list[Outcome]:  # noqa: D102 (inherited)
        if not self._waiting:
            return []
        job = self._waiting.pop(0)
        return [Outcome(job, job.run())]

    def close(self) -> None:  # noqa: D102 (inherited)
        self._waiting.clear()
