"""Forward error correction around any codec: blocks of one code, and one interleaver over the whole file.

The file has no header of its own. With K data bytes and P bytes beyond them in a full block, D bytes of the inner codec
make b = ceil(D / K) blocks, with D / b data bytes each, the first ones rounded up and the others down, so the file has
N = D + b P bytes; and N tells b = ceil(N / (K + P)) and D. The bits of all blocks together are permuted as
:mod:`flipproof.protection.interleave` says. A decoder is told the code, as it is told the codec; it must know the true
length of the file.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from flipproof.bits import BitArray
from flipproof.codec.base import Codec
from flipproof.codec.ladder import MOST_RATE
from flipproof.codec.split import Split
from flipproof.errors import DecodeError, RateError
from flipproof.image import ImageLike, to_rgb
from flipproof.protection.blocks import protect, split_evenly
from flipproof.protection.code import Code, Decoded
from flipproof.protection.interleave import LONGEST, deinterleave, interleave
from flipproof.received import File, Received, hard, with_gaps
from flipproof.registry import spelled
from flipproof.result import DecodeResult, Status

if TYPE_CHECKING:
    from flipproof.codec.target import Priority

__all__ = ["FecCodec"]


@dataclass(frozen=True)
class FecCodec(Codec):
    """Any codec, its whole file protected by an error-correcting code; spelled ``jpeg[quality=30]+fec[bch,t=7]``.

    A block beyond repair is handed on as it came. To an inner codec that uses them go log-likelihood ratios too:
    certainty for repaired blocks, what was received for the others.

    Attributes:
        inner: The codec.
        code: The code.
        bpp: Rate of the whole file in bits per pixel, parity included: sets the rate of the inner codec. None leaves
            that as it is, with the parity on top.

    Raises:
        SpecError: A rate is given that is out of range, or that the inner codec cannot be given.

    Example:
        >>> from flipproof import registry
        >>> codec = registry.codec("jpeg+fec[rs,data=100,parity=20]", bpp=1.2)
        >>> str(codec)
        'jpeg+fec[rs,data=100,parity=20,bpp=1.2]'
    """

    inner: Codec
    code: Code
    bpp: float | None = None

    def __post_init__(self) -> None:
        if self.bpp is not None:
            self.check_parameters(("bpp", 0 < self.bpp <= MOST_RATE, f"above 0, at most {MOST_RATE:g}"))
            self.inner.with_rate(self.bpp * self.code.rate)

    @property
    def name(self) -> str:  # type: ignore[override]
        """Name of the inner codec and ``+fec``."""
        return f"{self.inner.name}+fec"

    def encode(self, image: ImageLike, priority: Priority | None = None) -> bytes:  # noqa: D102 (inherited)
        rgb = to_rgb(image)
        if self.bpp is None:
            return self._protect(self.inner.encode(rgb, priority))
        pixels = rgb.shape[0] * rgb.shape[1]
        room = self._room(int(self.bpp * pixels / 8))
        inner = self.inner.with_rate(
            8 * (room + 0.25) / pixels
        )  # a quarter of a byte, so that no rounding takes a whole one
        try:
            data = inner.encode(rgb, priority)
        except RateError as error:
            raise RateError(f"{self.name}: {self.bpp:g} bpp leave {room} bytes without parity: {error}") from error
        return self._protect(data)

    def decode(self, data: File, upto: float = 1.0) -> DecodeResult:
        """Decodes one file.

        Raises:
            DecodeError: The bytes hold no picture.
            SpecError: A part of the file is asked for.
            FlipproofError: What else the inner codec raises.
        """
        self._check_share(upto)
        repaired = self._repair([data])[0]
        if repaired.note:
            raise DecodeError(repaired.note)
        return self._merge(self.inner.decode(repaired.file), repaired)

    def decode_many(self, files: Sequence[File], upto: float = 1.0) -> list[DecodeResult]:  # noqa: D102 (inherited)
        self._check_share(upto)
        repaired = self._repair(files)
        results = self.inner.decode_many([one.file for one in repaired])
        return [self._merge(result, one) for result, one in zip(results, repaired, strict=True)]

    def split(self, data: bytes) -> Split:
        """Tells how a file divides: as that of the inner codec does, with the parity on top.

        Raises:
            DecodeError: It is no such file.
        """
        repaired = self._repair([data])[0]
        if repaired.note:
            raise DecodeError(repaired.note)
        inner = hard(repaired.file)
        parts = self.inner.split(inner)
        return replace(parts, parity=parts.parity + 8 * (len(data) - len(inner)))

    def require(self) -> None:
        """Checks what the inner codec needs, and encodes a byte, for which a code imports its library.

        Raises:
            MissingExtraError: A library is not installed.
            WeightsError: Weights of the inner codec are not here.
            SpecError: There is no such device.
        """
        self.inner.require()
        self.code.encode(np.zeros((1, 8), np.uint8))

    def digests(self) -> str:
        """Returns those of the inner codec."""
        return self.inner.digests()

    @property
    def device(self) -> str:
        """Where the inner codec computes."""
        return str(getattr(self.inner, "device", "cpu"))

    def with_parameters(self, **parameters: object) -> Self:
        """Returns the same codec with another ``bpp``, ``code`` or ``inner``, or other parameters of the inner codec.

        Raises:
            SpecError: Neither has such a parameter, or a value is out of range.
        """
        own = {key: parameters.pop(key) for key in ("inner", "code", "bpp") if key in parameters}
        made = replace(self, **own)  # type: ignore[arg-type]
        return replace(made, inner=made.inner.with_parameters(**parameters)) if parameters else made

    def get_config(self) -> dict[str, Any]:  # noqa: D102 (inherited)
        return {"codec": self.name, "inner": self.inner.get_config(), "code": str(self.code), "bpp": self.bpp}

    def __str__(self) -> str:
        """The canonical spelling."""
        rate = "" if self.bpp is None else f",bpp={spelled(self.bpp)}"
        return f"{self.inner}+fec[{self.code}{rate}]"

    def _check_share(self, upto: float) -> None:
        self.check_parameters(("upto", upto == 1, "1, interleaved files do not show in part"), upto=upto)

    def _room(self, size: int) -> int:
        """Returns the most data bytes whose file has at most ``size`` bytes."""
        data, parity = self.code.data_bits // 8, self.code.parity_bits // 8
        blocks = -(-size // (data + parity))
        return max((blocks - 1) * data, size - blocks * parity, 0)

    def _layout(self, size: int) -> tuple[int, ...]:
        """Returns the data bytes of each block of a file; none where no file has this size."""
        data, parity = self.code.data_bits // 8, self.code.parity_bits // 8
        blocks = -(-size // (data + parity))
        rest = size - blocks * parity
        return split_evenly(rest, data) if 8 * size <= LONGEST and rest > (blocks - 1) * data else ()

    def _protect(self, data: bytes) -> bytes:
        coded = protect(data, split_evenly(len(data), self.code.data_bits // 8), self.code)
        if 8 * len(coded) > LONGEST:
            raise RateError(f"{self.name}: expected a file of at most {LONGEST // 8} bytes, got {len(coded)}")
        return np.packbits(interleave(np.unpackbits(np.frombuffer(coded, np.uint8)))).tobytes()

    def _repair(self, files: Sequence[File]) -> list[_Repaired]:
        """Decodes the blocks of all files; where some are beyond repair, again with runs of equal bytes erased."""
        repaired = self._repair_once(files)
        failing = [i for i, file in enumerate(files) if repaired[i].failed and not isinstance(file, Received)]
        holed = {i: gaps for i in failing if (gaps := with_gaps(hard(files[i]))) is not None}
        for i, other in zip(holed, self._repair_once(list(holed.values())), strict=True):
            if other.failed < repaired[i].failed:
                repaired[i] = other
        return repaired

    def _repair_once(self, files: Sequence[File]) -> list[_Repaired]:
        """Decodes the blocks of all files, those of one size together."""
        layouts = [self._layout(len(hard(file))) for file in files]
        groups: dict[tuple[int, bool], list[_Block]] = defaultdict(list)
        order: list[list[tuple[tuple[int, bool], int]]] = []
        for file, sizes in zip(files, layouts, strict=True):
            places = []
            for block in self._blocks(file, sizes) if sizes else ():
                key = (len(block.bits), block.llr is not None)
                places.append((key, len(groups[key])))
                groups[key].append(block)
            order.append(places)
        decoded = {key: self._decode_blocks(blocks) for key, blocks in groups.items()}
        return [
            _join([(groups[key][index], decoded[key], index) for key, index in places])
            if places
            else _Repaired(b"", note=f"no file of this code has {len(hard(file))} bytes")
            for file, places in zip(files, order, strict=True)
        ]

    def _blocks(self, file: File, sizes: tuple[int, ...]) -> list[_Block]:
        """Splits a file into its blocks."""
        bits = deinterleave(np.unpackbits(np.frombuffer(hard(file), np.uint8)))
        llr = deinterleave(file.llr) if isinstance(file, Received) else None
        ends = accumulate((8 * size + self.code.parity_bits for size in sizes), initial=0)
        return [_Block(bits[a:b], None if llr is None else llr[a:b]) for a, b in pairwise(ends)]

    def _decode_blocks(self, blocks: Sequence[_Block]) -> Decoded:
        """Decodes blocks that are alike."""
        llr = [block.llr for block in blocks if block.llr is not None]
        return self.code.decode(np.stack([block.bits for block in blocks]), np.stack(llr) if llr else None)

    def _merge(self, result: DecodeResult, repaired: _Repaired) -> DecodeResult:
        """Adds what the code noticed to what the inner codec did."""
        damage = replace(
            result.damage,
            repaired_bits=result.damage.repaired_bits + repaired.flips,
            failed_blocks=result.damage.failed_blocks + repaired.failed,
            notes=(*result.damage.notes, *filter(None, [repaired.note])),
        )
        verified = result.damage.payload_intact or isinstance(self.inner, FecCodec)
        hurt = repaired.failed > 0 and result.status is Status.OK and not verified
        error = repaired.note or result.error if result.status is Status.FAILED else ""
        return DecodeResult(result.image, Status.DEGRADED if hurt else result.status, damage, self.name, error)


@dataclass(frozen=True, eq=False)
class _Block:
    """A received block: bits (n,) and their log-likelihood ratios, if known."""

    bits: BitArray
    llr: NDArray[np.float32] | None


@dataclass(frozen=True)
class _Repaired:
    """The file of the inner codec, the bits put right in its blocks, and the blocks beyond repair."""

    file: File
    flips: int = 0
    failed: int = 0
    note: str = ""


def _join(blocks: Sequence[tuple[_Block, Decoded, int]]) -> _Repaired:
    """Puts the blocks of a file together: block, and where in what batch its decoding is."""
    bits = np.concatenate([decoded.data[index] for _, decoded, index in blocks])
    flips = sum(int(decoded.flips[index]) for _, decoded, index in blocks)
    failed = sum(bool(decoded.failed[index]) for _, decoded, index in blocks)
    data = np.packbits(bits).tobytes()
    if blocks[0][0].llr is None:
        return _Repaired(data, flips, failed)
    trust = np.concatenate([_trust(*block) for block in blocks])
    return _Repaired(Received(data, np.where(bits == 1, -trust, trust)), flips, failed)


def _trust(block: _Block, decoded: Decoded, index: int) -> NDArray[np.float32]:
    """Returns how far to trust the data bits of a block: as received where beyond repair, else fully."""
    size = decoded.data.shape[1]
    if decoded.failed[index] and block.llr is not None:
        return np.abs(block.llr[:size])
    return np.full(size, math.inf, np.float32)
