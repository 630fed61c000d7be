"""What training programs have in common: steps by time, checkpoints to go on from, and a log."""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from flipproof.errors import WeightsError
from flipproof.train.checkpoint import prefixed, read_tensors, under, write_tensors
from flipproof.train.learner import Learner
from flipproof.train.pace import Pace

__all__ = ["CHECKPOINT", "Trainer", "train"]

CHECKPOINT = "checkpoint.safetensors"
"""Name of the checkpoint in a run's folder."""


class Trainer(ABC):
    """Everything that changes while a program trains.

    Arguments:
        pace: Learning rates, and the time to train for.
        learners: Networks in training, by the name that the checkpoint has for them.
        seed: Of every draw.

    Attributes:
        step: Steps taken.
        seconds: Time they took, checkpoints and checks not counted.
        rng: Source of every draw; checkpoints keep its state.
    """

    file: ClassVar[str]
    """Name of the weights file that the program makes."""

    def __init__(self, pace: Pace, learners: Mapping[str, Learner[Any]], seed: int) -> None:
        self.pace, self.learners = pace, learners
        self.step, self.seconds = 0, 0.0
        self.rng = np.random.default_rng([seed, 1])

    @property
    def done(self) -> bool:
        """Whether the time is spent."""
        return self.seconds >= self.pace.seconds

    @abstractmethod
    def take_step(self, rate: float) -> dict[str, float]:
        """Takes one step at a learning rate; returns numbers whose means the log is to have."""

    @abstractmethod
    def weights(self) -> dict[str, Tensor]:
        """Returns the averaged weights as they are shipped, on the CPU."""

    def memory(self) -> dict[str, Tensor]:
        """Returns what a checkpoint must hold beyond the learners."""
        return {}

    def recall(self, memory: dict[str, Tensor]) -> None:
        """Puts back what :meth:`memory` returned.

        Raises:
            WeightsError: It is of another recipe.
        """
        if memory:
            raise WeightsError(f"expected no tensors beyond the networks, got {min(memory)}")

    def advance(self) -> dict[str, float]:
        """Takes one step and its time; returns what the log is to average."""
        start = time.monotonic()
        row = self.take_step(self.pace.rate_at(self.step, self.seconds))
        self.step += 1
        self.seconds += time.monotonic() - start
        return row

    def save(self, path: Path) -> None:
        """Writes a checkpoint in one atomic move."""
        tensors = prefixed("memory", self.memory())
        for name, learner in self.learners.items():
            tensors |= prefixed(name, learner.tensors())
        rng = json.dumps(self.rng.bit_generator.state)
        write_tensors(path, tensors, {"step": str(self.step), "seconds": str(self.seconds), "rng": rng})

    def restore(self, path: Path) -> None:
        """Goes on from a checkpoint.

        Raises:
            WeightsError: The file is no checkpoint of this program and these networks.
        """
        try:
            tensors, header = read_tensors(path)
            for name, learner in self.learners.items():
                learner.restore(under(tensors, name))
            self.recall(under(tensors, "memory"))
            self.step, self.seconds = int(header["step"]), float(header["seconds"])
            self.rng.bit_generator.state = json.loads(header["rng"])
        except (WeightsError, KeyError, ValueError) as error:
            raise WeightsError(f"{path} is not a training checkpoint: {error}") from error


def train(
    trainer: Trainer,
    out: Path,
    report: Callable[[dict[str, Any]], None],
    check: Callable[[], Mapping[str, float]],
    every: float = 240,
) -> None:
    """Trains until the time is spent, with checkpoints and checks on the way and at the end.

    Arguments:
        trainer: Fresh or restored.
        out: Folder for the checkpoint, the weights and ``log.jsonl``.
        report: Receives each row of the log.
        check: Scores the averaged weights; its numbers join the row.
        every: Seconds of training between checkpoints.
    """
    out.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, float]] = []
    mark = trainer.seconds
    while not trainer.done:
        rows.append(trainer.advance())
        if trainer.seconds - mark >= every or trainer.done:
            mark = trainer.seconds
            trainer.save(out / CHECKPOINT)
            write_tensors(out / trainer.file, trainer.weights())
            row = {"step": trainer.step, "seconds": round(trainer.seconds), **_means(rows), **check()}
            with (out / "log.jsonl").open("a") as file:
                file.write(json.dumps(row) + "\n")
            report(row)
            rows.clear()


def _means(rows: list[dict[str, float]]) -> dict[str, float]:
    return {name: round(float(np.mean([row[name] for row in rows])), 4) for name in rows[0]}
