"""What the runner of studies costs, and what a study survives.

``workers``: cells per second against the number of workers of an engine, for real codecs (JPEG and tracks, 256x256) and
for one that does nothing worth mentioning (16x16), beside the same cells in the process itself; in brackets, the ratio.
Medians of three rounds. One thread each; each worker has used the codec before the clock starts, which takes seconds.

``overhead``: wall time of a whole run with 100,000 trivial cells, less that of a plain loop that encodes, damages,
decodes and measures the same cells; per cell.

``memory``: memory of the process that runs the study, sampled while 100,000 trivial cells go by: the slope of a
straight line through the second half of the samples, and the peak while the run puts its rows together at its end.

``kill``: a study in a process group of its own is killed (SIGKILL, all of the group) at random moments between its
start and its end, each time another; then it is run again. Rows are counted on disk before any duplicate would be
dropped, and must equal those of an undisturbed run in all but times.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from flipproof import registry
from flipproof.codec.base import Codec
from flipproof.image import RgbImage
from flipproof.metric.psnr import psnr
from flipproof.received import File, hard
from flipproof.result import DecodeResult, Status
from flipproof.seeds import generator
from flipproof.study.dataset.collection import Collection, Picture
from flipproof.study.plan import Plan, Trials
from flipproof.study.run.cluster import RayEngine
from flipproof.study.run.engine import Engine, Job, Result, SerialEngine
from flipproof.study.run.local import LocalEngine
from flipproof.study.run.progress import Progress
from flipproof.study.run.runner import run
from flipproof.study.run.study import Study, prepare
from flipproof.study.store.store import Store

SIDE = 16
CHANNELS = ("bsc[ber=0.0001]", "bsc[ber=0.01]")
REPEATS = 3
TIMES = {"encode_seconds", "decode_seconds", "decode_batch", "created", "host"}
"""Columns that may differ from run to run."""


@dataclass(frozen=True)
class RawCodec(Codec):
    """Stores samples behind a checksum: comes back exactly, or not at all."""

    name: ClassVar[str] = "raw"

    def encode(self, image: RgbImage, priority: None = None) -> bytes:  # noqa: D102 (inherited)
        samples = np.asarray(image).tobytes()
        return zlib.crc32(samples).to_bytes(4, "big") + samples

    def decode_many(self, files: Sequence[File], upto: float = 1.0) -> list[DecodeResult]:  # noqa: D102 (inherited)
        return [self._decode(hard(file)) for file in files]

    def _decode(self, data: bytes) -> DecodeResult:
        if zlib.crc32(data[4:]) != int.from_bytes(data[:4], "big"):
            return DecodeResult(None, Status.FAILED, codec=self.name, error="checksum")
        return DecodeResult(np.frombuffer(data[4:], np.uint8).reshape(SIDE, SIDE, 3), Status.OK, codec=self.name)


@dataclass
class Watch:
    """Cells that were done, and the memory of this process then."""

    samples: list[tuple[int, int]] = field(default_factory=list)

    def __call__(self, progress: Progress) -> None:
        """Takes a sample."""
        self.samples.append((progress.done, memory()))

    def slope(self) -> float:
        """Bytes per cell, over the second half of the cells."""
        points = [(done, size) for done, size in self.samples if done > self.samples[-1][0] // 2]
        return float(np.polyfit(*zip(*points, strict=True), 1)[0])


@dataclass(frozen=True, eq=False)
class WarmJob(Job):
    """Uses a codec once, and stays long enough for each worker to get one."""

    codec: Codec
    image: RgbImage

    @property
    def label(self) -> str:  # noqa: D102 (inherited)
        return "warming up"

    def run(self) -> Result:  # noqa: D102 (inherited)
        self.codec.decode_many([self.codec.encode(self.image)])
        time.sleep(1)
        return Result()

    def give_up(self, reason: str) -> Result:  # noqa: D102 (inherited)
        raise RuntimeError(reason)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--what", choices=["workers", "overhead", "memory", "kill", "all"], default="all")
    parser.add_argument("--cells", type=int, default=100_000, help="trivial cells of overhead and memory")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--workers", default="1,2,4", help="numbers of workers to compare")
    parser.add_argument("--engine", choices=["local", "ray"], default="local", help="engine of the comparison")
    parser.add_argument("--child", type=Path, help="run the study that is to be killed, in this folder")
    arguments = parser.parse_args()
    if arguments.child:
        run(frail_study(), Store(arguments.child), LocalEngine(2, 1))
        return
    measures: dict[str, Callable[[], None]] = {
        "workers": lambda: measure_workers(list(map(int, arguments.workers.split(","))), arguments.engine),
        "overhead": lambda: measure_overhead(arguments.cells),
        "memory": lambda: measure_memory(arguments.cells),
        "kill": lambda: measure_kills(arguments.kills),
    }
    for name, measure in measures.items():
        if arguments.what in (name, "all"):
            measure()


def measure_workers(numbers: Sequence[int], engine: str) -> None:
    make: Callable[[int], Engine] = {
        "local": lambda number: LocalEngine(number, 1),
        "ray": lambda number: RayEngine(workers=number),
    }[engine]
    studies = {
        "jpeg[quality=50], 256x256": real_study("jpeg[quality=50]", pictures=60, trials=50),
        "tracks[bpp=0.1], 256x256": real_study("tracks[bpp=0.1]", pictures=12, trials=8),
        "raw, 16x16": trivial_study(40_000),
    }
    print("| codec | cells | " + " | ".join(["this process", *(f"{number} workers" for number in numbers)]) + " |")
    for name, study in studies.items():
        rounds = [
            [rate_of(study, SerialEngine()), *(rate_of(study, make(number)) for number in numbers)]
            for _ in range(REPEATS)
        ]
        rates = [statistics.median(each) for each in zip(*rounds, strict=True)]
        ratios = [statistics.median(each[index] / each[0] for each in rounds) for index in range(len(rates))]
        shown = " | ".join(f"{rate:.4g} ({ratio:.2f})" for rate, ratio in zip(rates, ratios, strict=True))
        print(f"| {name} | {cells_of(study)} | {shown} |", flush=True)


def rate_of(study: Study, engine: Engine) -> float:
    """Returns cells per second, from the first job to the last row, with workers that are warm."""
    for _ in range(2 * engine.workers):
        engine.submit(WarmJob(next(iter(study.codecs.values())), study.pictures[0].load()))
    ended = 0
    while ended < 2 * engine.workers:
        ended += len(engine.collect())
    with tempfile.TemporaryDirectory() as folder:
        return cells_of(study) / seconds_of(partial(run, study, Store(folder), engine))


def measure_overhead(cells: int) -> None:
    """Prints the overhead with many cells to a file, as in studies of damage, and with two, as in those of rate."""
    for trials, share in ((1000, 1), (1, 20)):
        study = trivial_study(cells // share, trials)
        count = cells_of(study)
        plain = seconds_of(partial(plain_loop, study))
        print(f"{count} cells, {trials * len(CHANNELS)} to a file; plain loop: {1e3 * plain / count:.3f} ms per cell")
        engines: dict[str, Callable[[], Engine]] = {
            "serial": SerialEngine,
            "local, 2 workers": lambda: LocalEngine(2, 1),
            "ray, 2 workers": lambda: RayEngine(workers=2),
        }
        for name, make in engines.items():
            with tempfile.TemporaryDirectory() as folder:
                took = seconds_of(partial(run, study, Store(folder), make()))
                again = seconds_of(partial(run, study, Store(folder), SerialEngine()))
                size = sum(path.stat().st_size for path in Path(folder).glob("rows/*"))
            print(
                f"  {name}: {1e3 * took / count:.3f} ms per cell, {1e3 * (took - plain) / count:.3f} ms more than the "
                f"loop; {size / count:.0f} bytes of rows per cell; running it again when all is done: {again:.1f} s",
                flush=True,
            )


def plain_loop(study: Study) -> None:
    """Does what the cells of a study ask for, and nothing else."""
    record = study.record
    channels = {name: registry.channel(name) for name in record.channels}
    for picture in study.pictures:
        image = picture.load()
        for entry in record.codecs:
            codec = study.codecs[entry.spelling]
            data = codec.encode(image)
            for name, channel in channels.items():
                for trial in range(record.plan.trials_of(name)):
                    random = np.random.Generator(np.random.Philox(key=trial))
                    [result] = codec.decode_many([channel.send(data, random)])
                    if result.image is not None:
                        psnr(result.image, image)


def measure_memory(cells: int) -> None:
    study, watch = trivial_study(cells), Watch()
    with tempfile.TemporaryDirectory() as folder:
        run(study, Store(folder), LocalEngine(2, 1), watch)
    begun, ended = (watch.samples[index][1] / 2**20 for index in (0, -1))
    after, peak = memory() / 2**20, peak_memory() / 2**20
    print(
        f"memory over {cells} cells: {begun:.0f} MiB at the start, {ended:.0f} MiB after the last cell, "
        f"{watch.slope():.0f} bytes per cell; {after:.0f} MiB at the end, peak {peak:.0f} MiB",
        flush=True,
    )


def measure_kills(kills: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "whole"
        lasted = seconds_of(partial(finish, whole))
        expected = rows_of(whole)
        counts = []
        for index in range(kills):
            moment = float(generator(purpose="kill", index=index).uniform(0, lasted))
            counts.append(kill_and_resume(Path(folder) / str(index), moment, expected))
            print(f"killed after {moment:.2f} s with {counts[-1]} of {len(expected)} rows on disk", flush=True)
    print(f"{kills} kills within {lasted:.1f} s: rows kept {sum(counts)}, lost none, twice none, all as undisturbed")


def kill_and_resume(folder: Path, moment: float, expected: list[dict[str, object]]) -> int:
    """Returns how many rows were on disk when the study was killed.

    Raises:
        RuntimeError: A row was lost or is there twice, or has another value.
    """
    process = start(folder)
    time.sleep(moment)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    kept = keys_on_disk(folder)
    finish(folder)
    keys = keys_on_disk(folder)
    if len(set(kept)) != len(kept) or len(set(keys)) != len(keys):
        raise RuntimeError(f"{folder}: rows are there twice")
    if not set(kept) <= set(keys):
        raise RuntimeError(f"{folder}: rows that were on disk are gone")
    if rows_of(folder) != expected:
        raise RuntimeError(f"{folder}: rows differ from those of an undisturbed run")
    return len(kept)


def start(folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(Path(__file__)), "--child", str(folder)]
    return subprocess.Popen(command, start_new_session=True)


def finish(folder: Path) -> None:
    process = start(folder)
    if process.wait():
        raise RuntimeError(f"{folder}: the study ended with {process.returncode}")


def keys_on_disk(folder: Path) -> list[str]:
    """Returns the keys in all part-files, those twice too."""
    parts = (pq.read_table(part, columns=["key"]) for part in sorted(folder.glob("rows/part-*.parquet")))
    return [key for part in parts for key in part["key"].to_pylist()]


def rows_of(folder: Path) -> list[dict[str, object]]:
    return [{key: value for key, value in row.items() if key not in TIMES} for row in Store(folder).table().to_pylist()]


def trivial_study(cells: int, trials: int = 1000) -> Study:
    return study_of({"raw": RawCodec()}, noise(cells // (len(CHANNELS) * trials), SIDE), trials)


def real_study(spelling: str, pictures: int, trials: int) -> Study:
    return study_of({spelling: registry.codec(spelling)}, smooth(pictures, 256), trials)


def frail_study() -> Study:
    """A study of some seconds with many pictures, files and jobs."""
    codecs = {"raw": RawCodec(), "jpeg[quality=50]": registry.codec("jpeg[quality=50]")}
    return study_of(codecs, noise(40, SIDE), trials=100)


def study_of(codecs: Mapping[str, Codec], arrays: Sequence[RgbImage], trials: int) -> Study:
    plan = Plan(
        name="benchmark",
        pictures=("made",),
        codecs=tuple(codecs),
        channels=CHANNELS,
        trials=Trials(least=trials),
    )
    pictures = tuple(Picture.of(f"{index:04d}", array) for index, array in enumerate(arrays))
    return prepare(plan, Collection(pictures, ()), codecs=codecs)


def noise(count: int, side: int) -> list[RgbImage]:
    random = generator(purpose="benchmark", kind="noise")
    return [random.integers(0, 256, (side, side, 3), np.uint8) for _ in range(count)]


def smooth(count: int, side: int) -> list[RgbImage]:
    """Noise enlarged, which codecs take for something like a photograph."""
    return [
        np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC)) for image in noise(count, 16)
    ]


def cells_of(study: Study) -> int:
    record = study.record
    return len(study.pictures) * len(study.codecs) * sum(map(record.plan.trials_of, record.channels))


def seconds_of(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def memory() -> int:
    """Resident memory of this process in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def peak_memory() -> int:
    """Largest resident memory of this process so far, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


if __name__ == "__main__":
    main()
