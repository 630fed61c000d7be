"""What reverse-channel-coding codecs share: header, payload, and decoding by walking the chain.

A file is a :mod:`flipproof.container`. Its fields start with the codec number, the fingerprint of the prior, the size
of the picture and a CRC-16 of the payload; the codec's own follow. The payload is the concatenation of the steps' bits;
those of the leading steps, as many as the fields say, travel in the protected part of the container.
"""

from __future__ import annotations

import binascii
import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from flipproof import container
from flipproof.bits import BitArray, BitReader, BitWriter
from flipproof.chain import Move, Proposal, drive, grid_shape, walk
from flipproof.codebook.rotated import RotatedCodebook
from flipproof.codec.base import Codec
from flipproof.errors import DecodeError, FlipproofError, HeaderError, ImageError, SpecError, WeightsError
from flipproof.image import RgbImage, check_size
from flipproof.prior.base import Prior
from flipproof.prior.small import SmallPrior
from flipproof.protocol.base import SelectionProtocol
from flipproof.result import Damage, DecodeResult, Status
from flipproof.schedule import Level, Schedule
from flipproof.selection.base import steer

__all__ = [
    "COMMON_BITS",
    "WIRE_NAMES",
    "WIRE_NUMBERS",
    "ChainCodec",
    "Script",
    "Step",
    "check_device",
    "free_move",
    "pad",
    "padded_size",
    "to_picture",
    "to_tensor",
]

WIRE_NUMBERS = {"tracks": 1, "turbo-ddcm": 2, "robust-turbo-ddcm": 3, "hybrid-turbo-ddcm": 4}
WIRE_NAMES = {number: name for name, number in WIRE_NUMBERS.items()}
COMMON_BITS = 8 + 32 + 14 + 14 + 16
"""Header bits that all these codecs share."""
BATCH_PIXELS = 2**22
"""Pixels of the chains that are walked together."""


@dataclass(frozen=True)
class Step:
    """One step of a chain as the header describes it.

    Attributes:
        level: Where it goes.
        growing: Whether only the detail band moves.
        protocol: How its selection is written. None for a step without bits: known noise where a chain starts, else
            deterministic.
    """

    level: Level
    growing: bool
    protocol: SelectionProtocol | None

    @property
    def bits(self) -> int:
        """Payload bits of the step."""
        return self.protocol.bits if self.protocol else 0


@dataclass(frozen=True)
class Script:
    """All that a header says about a chain.

    Attributes:
        height: Rows of the picture.
        width: Columns of the picture.
        schedule: Proposes the levels.
        steps: The steps to take.
        protected: Leading steps whose bits are protected.
        checksum: CRC-16 of the payload.
        fingerprint: The prior the file was made with.
    """

    height: int
    width: int
    schedule: Schedule
    steps: tuple[Step, ...]
    protected: int = 0
    checksum: int = 0
    fingerprint: int = 0

    @property
    def payload_size(self) -> int:
        """Payload bytes, without parity."""
        return -(-sum(step.bits for step in self.steps) // 8)

    @property
    def protected_size(self) -> int:
        """Protected bytes at the start of the payload, without parity."""
        return -(-sum(step.bits for step in self.steps[: self.protected]) // 8)


@dataclass(frozen=True)
class _Payload:
    """What arrived of a payload: bits (payload_bits,), which of them are known, and the damage."""

    bits: BitArray
    known: NDArray[np.bool_]
    damage: Damage


class ChainCodec(Codec):
    """Base of codecs that steer a chain."""

    device: str

    @property
    def prior(self) -> Prior:
        """The denoiser, loaded on first use."""
        return SmallPrior.load(self.device)

    @classmethod
    @abstractmethod
    def read_script(cls, reader: BitReader, height: int, width: int) -> Script:
        """Reads the codec's own header fields.

        Raises:
            HeaderError: They make no sense.
        """

    @classmethod
    def open(cls, file: container.Container) -> tuple[BitReader, Script]:
        """Reads all header fields of a file of this codec.

        Returns:
            The reader, which remembers the fields, and what they say.

        Raises:
            DecodeError: It is a file of another codec, or its header makes no sense.
        """
        reader = BitReader(file.fields)
        number = reader.read("codec", 8)
        if number != WIRE_NUMBERS[cls.name]:
            raise DecodeError(f"expected a file of {cls.name}, got one of {WIRE_NAMES.get(number, f'codec {number}')}")
        fingerprint = reader.read("prior", 32)
        height, width = reader.read("height", 14), reader.read("width", 14)
        try:
            check_size(height, width)
        except ImageError as error:
            raise HeaderError(str(error)) from error
        checksum = reader.read("payload checksum", 16)
        script = cls.read_script(reader, height, width)
        return reader, replace(script, checksum=checksum, fingerprint=fingerprint)

    def decode_many(self, files: Sequence[bytes]) -> list[DecodeResult]:  # noqa: D102 (inherited)
        results: dict[int, DecodeResult] = {}
        groups: dict[tuple[Script, int, int], list[tuple[int, container.Container]]] = {}
        for index, data in enumerate(files):
            try:
                file = container.unpack(data)
                _, script = self.open(file)
                self._check_prior(script.fingerprint)
            except FlipproofError as error:
                results[index] = DecodeResult(None, Status.FAILED, codec=self.name, error=str(error))
            else:
                groups.setdefault((script, file.safe_arrived, len(file.rest)), []).append((index, file))
        for (script, _, _), members in groups.items():
            decoded = self._decode_alike(script, [file for _, file in members])
            results |= zip((index for index, _ in members), decoded, strict=True)
        return [results[index] for index in range(len(files))]

    def assemble(self, fields: BitWriter, script: Script, bits: Sequence[BitArray]) -> bytes:
        """Builds a file from the codec's own header fields and the bits of its steps."""
        payload = np.packbits(np.concatenate([np.zeros(0, np.uint8), *bits])).tobytes()
        writer = BitWriter()
        writer.write("codec", WIRE_NUMBERS[self.name], 8)
        writer.write("prior", self.prior.fingerprint, 32)
        writer.write("height", script.height, 14)
        writer.write("width", script.width, 14)
        writer.write("payload checksum", binascii.crc_hqx(payload, 0), 16)
        writer.append(fields)
        split = script.protected_size
        return container.pack(writer.getvalue(), payload[:split], payload[split:])

    def _check_prior(self, fingerprint: int) -> None:
        prior = self.prior
        if prior.fingerprint != fingerprint:
            raise WeightsError(f"the file needs the prior {fingerprint:08x}, got {prior.name} {prior.fingerprint:08x}")

    def _decode_alike(self, script: Script, files: Sequence[container.Container]) -> list[DecodeResult]:
        """Decodes files of one script and length together, as many at once as memory allows."""
        payloads = [_receive(file, script) for file in files]
        chunk = max(1, BATCH_PIXELS // (script.height * script.width))
        results: list[DecodeResult] = []
        for start in range(0, len(payloads), chunk):
            part = payloads[start : start + chunk]
            pictures = self._replay(script, np.stack([payload.bits for payload in part]), part[0].known)
            results += [
                DecodeResult(to_picture(picture), _status(payload.damage), payload.damage, self.name)
                for picture, payload in zip(pictures, part, strict=True)
            ]
        return results

    @torch.inference_mode()
    def _replay(self, script: Script, bits: BitArray, known: NDArray[np.bool_]) -> Tensor:
        """Walks the chain a script describes with received bits (B, payload bits); returns (B, 3, H, W)."""
        ends = list(accumulate((step.bits for step in script.steps), initial=0))
        spans = list(pairwise(ends))
        arrived = [known[a:b].mean() >= 0.5 if b > a else True for a, b in spans]
        usable = arrived.index(False) if False in arrived else len(arrived)
        coarsest = script.schedule.first.grid
        shape = (len(bits), *padded_size(script.height, script.width, coarsest))

        def choose(proposal: Proposal) -> Move | None:
            if proposal.index >= usable or script.steps[proposal.index].growing != proposal.growing:
                return None
            step, (a, b) = script.steps[proposal.index], spans[proposal.index]
            codebook = RotatedCodebook(proposal.mean.shape[1], proposal.index)
            if step.protocol is None:
                return free_move(step, proposal, codebook)
            selection = step.protocol.read(bits[:, a:b], known[a:b]).to(self.device)
            return Move(step.level.sigma, steer(codebook, selection))

        pictures = drive(walk(self.prior, script.schedule, shape, self.device), choose)
        return pictures[:, :, : script.height, : script.width]


def check_device(device: str) -> None:
    """Raises SpecError unless PyTorch knows the device and it is there."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise SpecError(f"expected a device that is there, such as cpu or cuda, got {device!r}") from error


def free_move(step: Step, proposal: Proposal, codebook: RotatedCodebook) -> Move:
    """Returns the move of a step without bits: known noise where the chain starts, else deterministic."""
    if math.isfinite(proposal.source):
        return Move(step.level.sigma, None)
    return Move(step.level.sigma, codebook.noise(len(proposal.mean)).to(proposal.mean.device))


def padded_size(height: int, width: int, coarsest: int) -> tuple[int, int]:
    """Returns the smallest size with whole blocks of the coarsest grid."""
    rows, columns = grid_shape(height, width, coarsest)
    return rows * coarsest, columns * coarsest


def to_tensor(image: RgbImage) -> Tensor:
    """Returns an 8-bit picture (H, W, 3) as a tensor (1, 3, H, W) in [-1, 1]."""
    return torch.tensor(image).permute(2, 0, 1)[None].float() / 127.5 - 1


def to_picture(tensor: Tensor) -> RgbImage:
    """Returns a tensor (3, H, W) in [-1, 1], clipped and rounded, as an 8-bit picture (H, W, 3)."""
    levels = ((tensor.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return levels.permute(1, 2, 0).cpu().numpy()


def pad(x: Tensor, coarsest: int) -> Tensor:
    """Repeats the bottom and right edges of (1, 3, H, W) up to whole blocks of the coarsest grid."""
    rows, columns = padded_size(x.shape[2], x.shape[3], coarsest)
    return functional.pad(x, (0, columns - x.shape[3], 0, rows - x.shape[2]), mode="replicate")


def _receive(file: container.Container, script: Script) -> _Payload:
    """Joins the parts of a payload of any length and marks what did not arrive."""
    size, split = script.payload_size, script.protected_size
    payload = (file.safe[:split].ljust(split, b"\0") + file.rest)[:size].ljust(size, b"\0")
    wanted, arrived = size - split, len(file.rest)
    known = np.zeros(size, dtype=bool)
    known[: min(split, max(0, file.safe_arrived))] = True
    known[split : split + arrived] = True
    damage = Damage(
        repaired_bits=file.repaired_bits,
        failed_blocks=file.failed_blocks,
        missing_bits=8 * int((~known).sum()),
        payload_intact=binascii.crc_hqx(payload, 0) == script.checksum,
        notes=(f"{arrived - wanted} extra bytes",) if arrived > wanted else (),
    )
    return _Payload(np.unpackbits(np.frombuffer(payload, np.uint8)), np.repeat(known, 8), damage)


def _status(damage: Damage) -> Status:
    return Status.OK if damage.payload_intact and not damage.missing_bits else Status.DEGRADED
