"""Running a study: cells that are not done yet become jobs, jobs become rows, rows go to disk.

Each file is encoded once, kept, and sent through its cells in batches as large as its codec decodes at once. Rows are
on disk at most half a second after the job that made them ended; what a killed run was doing is done again by the next.
"""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from flipproof.errors import FlipproofError
from flipproof.image import RgbImage, to_png
from flipproof.study.dataset.picture import Picture
from flipproof.study.run.cell import Cell, Subject, cells
from flipproof.study.run.engine import Engine, Job, Outcome
from flipproof.study.run.job import DecodeJob, EncodeJob
from flipproof.study.run.progress import Progress
from flipproof.study.run.study import Study
from flipproof.study.run.tally import wanted_trials
from flipproof.study.run.writer import Writer
from flipproof.study.store.file import EncodedFile
from flipproof.study.store.store import Store

__all__ = ["run"]

BATCH_PIXELS = 2**22
"""Pixels of the files that one job decodes."""
MOST_CELLS = 256
"""Cells of one job, however small the picture."""
MOST_LOSSES = 2
"""Times that a job may lose its worker while nothing else runs; after that, its cells are errors."""

_NOTHING = np.empty((0, 0, 3), np.uint8)


def run(
    study: Study,
    store: Store,
    engine: Engine,
    progress: Callable[[Progress], None] = lambda _: None,
    *,
    extend: bool = False,
) -> None:
    """Runs a study, or the part of it that its folder does not hold yet.

    But for times, a row is a pure function of picture, codec, weights, channel, seed, trial and version, whatever
    engine runs it and in whatever order.

    Arguments:
        study: What to measure.
        store: Where rows and pictures go.
        engine: What runs the jobs; it is closed at the end.
        progress: Called a few times a second.
        extend: Whether results of another plan may be kept where both plans have them.

    Raises:
        StoreError: The folder holds another study, another run is at work in it, or it cannot be written.
        WorkerError: No worker is left.
    """
    with engine, store.alone():
        store.begin(study.record, extend=extend)
        while True:
            table = store.table()
            trials = wanted_trials(study.record, table)
            total = sum(
                trials[picture.dataset, codec, channel]
                for picture in study.pictures
                for codec in study.codecs
                for channel in study.record.channels
            )
            _Round(study, engine, trials, Writer(store, table, total, progress)).run()
            if not study.record.plan.trials.stops or wanted_trials(study.record, store.table()) == trials:
                break
        store.compact()


@dataclass(frozen=True)
class _Group:
    """A file that is needed, and its cells that are not done."""

    picture: Picture
    subject: Subject
    cells: tuple[Cell, ...]


class _Round:
    """Does all cells that are known to be needed.

    Arguments:
        study: What to measure.
        engine: What runs the jobs.
        trials: Of each data set, codec and channel.
        writer: Takes what comes of it.
    """

    def __init__(self, study: Study, engine: Engine, trials: dict[tuple[str, str, str], int], writer: Writer) -> None:
        self.study, self.engine, self.trials, self.writer = study, engine, trials, writer
        self.versions = json.dumps(study.record.versions, sort_keys=True)
        self.metrics = tuple(metric.name for metric in study.record.measured_metrics)
        self.gallery = {picture.name for picture in study.pictures[: study.record.plan.gallery]}
        self.ready: deque[Job] = deque()
        self.alone: deque[Job] = deque()
        self.quiet = False
        self.losses: Counter[Job] = Counter()
        self.outstanding = 0
        self.image: tuple[str, RgbImage] | None = None

    def run(self) -> None:
        groups = self._groups()
        try:
            while self._feed(groups) or self.outstanding:
                for outcome in self.engine.collect():
                    self.outstanding -= 1
                    self._settle(outcome)
                self.writer.flush_when_due()
        finally:
            self.writer.flush()

    def _groups(self) -> Iterator[_Group]:
        """Pictures outside, codecs inside, so that the first pictures foretell the time of the rest."""
        record, finished = self.study.record, self.writer.finished
        entries = {entry.spelling: entry for entry in record.codecs}
        for picture in self.study.pictures:
            for spelling in self.study.codecs:
                subject = Subject(record.plan.name, record.plan.seed, picture.entry, entries[spelling])
                trials = [range(self.trials[picture.dataset, spelling, channel]) for channel in record.channels]
                missing = tuple(cell for cell in cells(subject, record.channels, trials) if cell.key not in finished)
                if missing:
                    yield _Group(picture, subject, missing)

    def _feed(self, groups: Iterator[_Group]) -> bool:
        """Gives the engine what it has room for; jobs that lost their worker run while nothing else does.

        Returns:
            Whether there may be more to give.
        """
        self.quiet &= self.outstanding > 0
        while self.outstanding < 2 * self.engine.workers and not self.quiet:
            if self.alone:
                if self.outstanding == 0:
                    self._submit(self.alone.popleft())
                    self.quiet = True
                break
            while not self.ready:
                group = next(groups, None)
                if group is None:
                    return False
                self.ready.extend(self._begin(group))
            self._submit(self.ready.popleft())
        return True

    def _submit(self, job: Job) -> None:
        self.outstanding += 1
        self.engine.submit(job)

    def _begin(self, group: _Group) -> list[Job]:
        """Returns the first jobs of a group: one that encodes, or those that decode where the file is kept."""
        codec = self.study.codecs[group.subject.codec.spelling]
        job = EncodeJob(group.subject, _NOTHING, codec, group.cells, self.versions)
        try:
            job = replace(job, image=self._image(group.picture))
        except FlipproofError as error:  # the file has changed or gone since the study began
            self.writer.take(job.give_up(str(error)), job.label)
            return []
        kept = self.writer.store.load_file(group.subject.key)
        return [job] if kept is None else self._decodes(job, kept)

    def _image(self, picture: Picture) -> RgbImage:
        if self.image is None or self.image[0] != picture.name:
            self.image = (picture.name, picture.load())
            if picture.name in self.gallery:
                self.writer.store.save_original(picture.name, to_png(self.image[1]))
        return self.image[1]

    def _decodes(self, job: EncodeJob, file: EncodedFile) -> list[Job]:
        subject = job.subject
        size = max(1, min(MOST_CELLS, BATCH_PIXELS // (subject.picture.height * subject.picture.width)))
        return [
            DecodeJob(
                subject,
                job.image,
                job.codec,
                job.cells[start : start + size],
                job.versions,
                file,
                self.metrics,
                subject.picture.name in self.gallery,
                self.writer.worst_of(subject.codec.spelling),
            )
            for start in range(0, len(job.cells), size)
        ]

    def _settle(self, outcome: Outcome) -> None:
        job, result = outcome.job, outcome.result
        if result is None:
            self._lost(job, outcome.lost)
        elif result.file is not None and isinstance(job, EncodeJob):
            self.writer.store.save_file(job.subject.key, result.file)
            self.ready.extend(self._decodes(job, result.file))
        else:
            self.writer.take(result, job.label)

    def _lost(self, job: Job, reason: str) -> None:
        """Tries a job again, with nothing beside it where that tells it from those that died of another's fault."""
        self.losses[job] += 1
        if self.losses[job] > MOST_LOSSES:
            self.writer.take(job.give_up(f"the worker died {self.losses[job]} times: {reason}"), job.label)
        elif self.engine.isolates:
            self.ready.appendleft(job)
        else:
            self.alone.append(job)
