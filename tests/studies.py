"""A tiny study, and codecs whose fate is known."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from flipproof.codec.base import Codec
from flipproof.codec.jpeg import JpegCodec
from flipproof.errors import RateError
from flipproof.received import hard
from flipproof.result import Damage, DecodeResult, Status
from flipproof.study.plan import Plan

SIDE = 16
CLEAN, MILD, SEVERE = CHANNELS = ("bsc[ber=0]", "bsc[ber=0.001]", "bsc[ber=0.01]")
TINY = Plan(
    name="tiny",
    photographs=("hill", "noise"),
    codecs=("raw", "jpeg[quality=50]"),
    channels=CHANNELS,
    trials=3,
    crop=SIDE,
    seed=7,
)


@dataclass(frozen=True)
class RawCodec(Codec):
    """Stores samples behind a checksum: comes back exactly, or not at all."""

    name: ClassVar[str] = "raw"
    calls: list[int] = field(default_factory=list)
    decoded: list[int] = field(default_factory=list)

    def __str__(self):
        return self.name

    def encode(self, image):
        self.calls.append(1)
        samples = np.asarray(image).tobytes()
        return zlib.crc32(samples).to_bytes(4, "big") + samples

    def decode_many(self, files):
        self.decoded.append(len(files))
        return [self._decode(hard(file)) for file in files]

    def _decode(self, data):
        if zlib.crc32(data[4:]) != int.from_bytes(data[:4], "big"):
            return DecodeResult(None, Status.FAILED, codec=self.name, error="checksum")
        image = np.frombuffer(data[4:], np.uint8).reshape(SIDE, SIDE, 3)
        return DecodeResult(image, Status.OK, Damage(repaired_bits=2), self.name)


@dataclass(frozen=True)
class WrongSizeCodec(RawCodec):
    """Decodes to a picture that is one row short."""

    def _decode(self, data):
        return DecodeResult(np.zeros((SIDE - 1, SIDE, 3), np.uint8), Status.DEGRADED, codec=self.name)


@dataclass(frozen=True)
class BrokenCodec(RawCodec):
    """Cannot encode."""

    def encode(self, image):
        self.calls.append(1)
        raise RateError("broken: 0.1 bpp is\ntoo low")


def pictures():
    ramp = np.linspace(0, 255, 24).astype(np.uint8)
    hill = np.stack(np.broadcast_arrays(ramp[:, None], ramp[None, :], np.uint8(90)), axis=2)
    noise = np.random.default_rng(1).integers(0, 256, (20, SIDE, 3), dtype=np.uint8)
    return {"hill": np.ascontiguousarray(hill), "noise": noise}


def codecs():
    return {"raw": RawCodec(), "jpeg[quality=50]": JpegCodec(quality=50)}


def but_seconds(rows):
    return [replace(row, encode_seconds=0, decode_seconds=0) for row in rows]
