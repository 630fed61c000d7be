"""A tiny study, and codecs whose fate is known; importable by worker processes."""

from __future__ import annotations

import os
import signal
import time
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np

from flipproof.codec.base import Codec
from flipproof.codec.jpeg import JpegCodec
from flipproof.errors import RateError
from flipproof.received import hard
from flipproof.result import Damage, DecodeResult, Status
from flipproof.study.dataset.collection import Collection
from flipproof.study.dataset.picture import Picture
from flipproof.study.plan import Plan
from flipproof.study.run.engine import SerialEngine
from flipproof.study.run.runner import run
from flipproof.study.run.study import prepare
from flipproof.study.store.store import Store

SIDE = 16
CLEAN, MILD, SEVERE = CHANNELS = ("bsc[ber=0]", "bsc[ber=0.001]", "bsc[ber=0.01]")
TINY = Plan(
    name="tiny",
    seed=7,
    pictures=("made",),
    frame=f"centre[{SIDE}]",
    codecs=("raw", "jpeg[quality=50]"),
    channels=CHANNELS,
    trials=3,
)


@dataclass(frozen=True)
class RawCodec(Codec):
    """Stores samples behind a checksum: comes back exactly, or not at all."""

    name: ClassVar[str] = "raw"

    def encode(self, image, priority=None):
        samples = np.asarray(image)
        body = bytes(samples.shape[:2]) + samples.tobytes()
        return zlib.crc32(body).to_bytes(4, "big") + body

    def decode_many(self, files, upto=1.0):
        return [self._decode(hard(file)) for file in files]

    def _decode(self, data):
        if zlib.crc32(data[4:]) != int.from_bytes(data[:4], "big"):
            return DecodeResult(None, Status.FAILED, codec=self.name, error="checksum")
        image = np.frombuffer(data[6:], np.uint8).reshape(data[4], data[5], 3)
        return DecodeResult(image, Status.OK, Damage(repaired_bits=2), self.name)


@dataclass(frozen=True)
class CountingCodec(RawCodec):
    """Counts what it is asked, in this process."""

    name: ClassVar[str] = "counting"
    encoded: list[int] = field(default_factory=list)
    decoded: list[int] = field(default_factory=list)

    def __str__(self):
        return self.name

    def get_config(self):
        return {"codec": self.name}

    def encode(self, image, priority=None):
        self.encoded.append(1)
        return super().encode(image)

    def decode_many(self, files, upto=1.0):
        self.decoded.append(len(files))
        return super().decode_many(files)


@dataclass(frozen=True)
class WrongSizeCodec(RawCodec):
    """Decodes to a picture that is one row short."""

    name: ClassVar[str] = "wrong-size"

    def _decode(self, data):
        return DecodeResult(np.zeros((SIDE - 1, SIDE, 3), np.uint8), Status.DEGRADED, codec=self.name)


@dataclass(frozen=True)
class BrokenCodec(RawCodec):
    """Cannot encode."""

    name: ClassVar[str] = "broken"

    def encode(self, image, priority=None):
        raise RateError("broken: 0.1 bpp is\ntoo low")


@dataclass(frozen=True)
class DeadlyCodec(RawCodec):
    """Kills the process that encodes with it, as long as its lives last; a file counts them."""

    name: ClassVar[str] = "deadly"
    lives: str = ""
    most: int = 1000

    def encode(self, image, priority=None):
        with Path(self.lives).open("a") as file:
            file.write("x")
        if Path(self.lives).stat().st_size <= self.most:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().encode(image)


@dataclass(frozen=True)
class SlowCodec(RawCodec):
    """Takes a while to decode each file."""

    name: ClassVar[str] = "slow"
    seconds: float = 0.02

    def get_config(self):
        return {"codec": self.name}

    def decode_many(self, files, upto=1.0):
        time.sleep(self.seconds * len(files))
        return super().decode_many(files)


def pictures():
    ramp = np.linspace(0, 255, 24).astype(np.uint8)
    hill = np.stack(np.broadcast_arrays(ramp[:, None], ramp[None, :], np.uint8(90)), axis=2)
    noise = np.random.default_rng(1).integers(0, 256, (20, SIDE, 3), dtype=np.uint8)
    return {"hill": np.ascontiguousarray(hill[4:20, 4:20]), "noise": np.ascontiguousarray(noise[2:18])}


def collection(arrays=None):
    arrays = pictures() if arrays is None else arrays
    return Collection(tuple(Picture.of(name, image) for name, image in arrays.items()), ())


def codecs():
    return {"raw": RawCodec(), "jpeg[quality=50]": JpegCodec(quality=50)}


def study(plan=TINY, made=None, arrays=None, command=""):
    return prepare(plan, collection(arrays), command, codecs() if made is None else made)


def measured(folder, plan=TINY, made=None, engine=None, arrays=None, **options):
    """Runs a study and returns its rows as dictionaries."""
    store = Store(folder)
    run(study(plan, made, arrays), store, engine or SerialEngine(), **options)
    return store.table().to_pylist()


def but_times(rows):
    """Returns rows without what differs from run to run."""
    ignored = {"encode_seconds", "decode_seconds", "decode_batch", "created", "host"}
    return [{key: value for key, value in row.items() if key not in ignored} for row in rows]
