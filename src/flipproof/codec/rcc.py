"""What reverse-channel-coding codecs share: building files, and decoding them by walking the chain.

A file is a :mod:`flipproof.container` whose header is a :mod:`flipproof.codec.script`. The payload is the concatenation
of the steps' bits, unless the codec stores it otherwise, protected as the codec's plan says.
"""

from __future__ import annotations

import binascii
import math
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flipproof import container
from flipproof.bits import BitArray, BitReader, BitWriter
from flipproof.chain import Move, Proposal, drive, walk
from flipproof.codebook.make import KINDS
from flipproof.codec.base import Codec
from flipproof.codec.moves import codebook_for, free_move
from flipproof.codec.reception import Reception, receive, spans
from flipproof.codec.script import Common, Script, read_common, write_common
from flipproof.codec.split import Split
from flipproof.codec.target import to_picture
from flipproof.errors import DecodeError, FlipproofError, HeaderError, SpecError, WeightsError
from flipproof.image import RgbImage
from flipproof.prior.base import Prior
from flipproof.prior.load import AUTO, PRECISIONS, check_device, load_prior, prior_digest, require_prior
from flipproof.prior.shipped import SHIPPED, weights_for
from flipproof.prior.views import VIEWS
from flipproof.protection.design import check_protection, make_plan
from flipproof.protection.plan import UNPROTECTED, Plan
from flipproof.received import File, Received, hard, with_gaps
from flipproof.reconstruction import RECONSTRUCTIONS
from flipproof.result import Damage, DecodeResult, Status
from flipproof.schedule import Level

__all__ = ["ChainCodec"]

BATCH_PIXELS = 2**22
"""Pixels of the chains that are walked together."""
LEAST_SHARE = 0.5
"""A chain ends before the step of which a smaller share arrived: its steering would be more noise than direction."""
MOST_SCORED = 2**40
"""Most samples of Gaussian atoms that an encoder draws for one file."""


@dataclass(frozen=True, kw_only=True)
class ChainCodec(Codec):
    """Base of codecs that steer a chain.

    Attributes:
        prior: The denoiser: ``small``, ``diffusers:`` and a directory or hub id (see
            :func:`flipproof.prior.load.load_prior`), or any :class:`~flipproof.prior.base.Prior`. Decoder and encoder
            must agree; to a decoder ``small`` means whichever weights of the package a file was made with.
        codebook: Kind of codebook, ``rotated`` or ``gaussian``; a decoder takes it from the file.
        reconstruction: What a decoder makes of the end of a chain: ``mse``, the least squared error; ``crisp``, what
            it suggests; ``sharp``, what looks like a photograph; None, what suits the codec.
        protect: Protection of the payload: ``none``; ``uniform[t=20]``, one code for all of it; ``uep[ber=0.01]``, the
            plan that is best over a range of bit error rates; ``uep[loss=0.1]``, over a range of shares of the bits
            that are lost; both in one; see :mod:`flipproof.protection.design`. A decoder takes it from the file. The
            header is always protected.
        precision: Type the denoiser computes in: float32, float16 or bfloat16; int8, for shipped ones on a CPU;
            ``auto``, what suits this machine, see :func:`flipproof.prior.load.concrete_precision`. A prior in memory
            keeps its own.
        views: How often a decoder looks at the end of a chain of pixels, flipped and turned, for a better mean: 1, 2, 4
            or 8. Each takes time of its own. A sharp picture takes one.
        device: Where to compute: cpu or cuda.
    """

    prior: str | Prior = "small"
    codebook: str = "rotated"
    reconstruction: str | None = None
    protect: str = "none"
    precision: str = AUTO
    views: int = 1
    device: str = "cpu"

    def __post_init__(self) -> None:
        self.check_parameters(
            ("codebook", self.codebook in KINDS, f"one of {', '.join(KINDS)}"),
            (
                "reconstruction",
                self.reconstruction in (None, *RECONSTRUCTIONS),
                f"one of none, {', '.join(RECONSTRUCTIONS)}",
            ),
            ("precision", self.precision in (AUTO, *PRECISIONS), f"one of {', '.join((AUTO, *PRECISIONS))}"),
            ("views", self.views in VIEWS, f"one of {', '.join(map(str, VIEWS))}"),
        )
        check_device(self.device)
        check_protection(self.protect)

    def plan(self, size: int) -> Plan:
        """Returns the protection of the payload in a file of about so many bytes."""
        return make_plan(self.protect, self.name, max(1, size - container.packed_size(0, 0, UNPROTECTED)))

    @property
    def denoiser(self) -> Prior:
        """The prior, loaded on first use."""
        return self.prior if isinstance(self.prior, Prior) else load_prior(self.prior, self.device, self.precision)

    def get_config(self) -> dict[str, Any]:  # noqa: D102 (inherited)
        return super().get_config() | {"prior": str(self.prior)}

    @classmethod
    @abstractmethod
    def read_script(cls, reader: BitReader, common: Common) -> Script:
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
        reader, common = read_common(cls.name, file)
        script = cls.read_script(reader, common)
        script.check_work()
        return reader, script

    def decode(self, data: File, upto: float = 1.0) -> DecodeResult:
        """Decodes one file, or its leading share.

        Raises:
            DecodeError: The bytes hold no picture.
            WeightsError: The file was made with another prior, or the weights of this one are missing.
            MissingExtraError: The prior needs an optional dependency that is not installed.
            SpecError: The share is not from 0 to 1.
        """
        self._open(data)
        return super().decode(data, upto)

    def decode_many(self, files: Sequence[File], upto: float = 1.0) -> list[DecodeResult]:  # noqa: D102 (inherited)
        self.check_parameters(("upto", 0 <= upto <= 1, "from 0 to 1"), upto=upto)
        results: dict[int, DecodeResult] = {}
        groups: dict[Script, list[tuple[int, Reception]]] = {}
        for index, data in enumerate(files):
            try:
                script, reception = self._receive(data, upto)
            except FlipproofError as error:
                results[index] = DecodeResult(None, Status.FAILED, codec=self.name, error=str(error))
            else:
                alike = replace(script, common=replace(script.common, checksum=0))
                groups.setdefault(alike, []).append((index, reception))
        for script, members in groups.items():
            decoded = self._decode_alike(script, [reception for _, reception in members])
            results |= zip((index for index, _ in members), decoded, strict=True)
        return [results[index] for index in range(len(files))]

    @torch.inference_mode()
    def end(self, data: File) -> tuple[Tensor, Level]:
        """Returns where the chain of a file ends: its state (1, C, h, w), and its level.

        Without a single step the state is zero and its noise infinite.

        Raises:
            DecodeError: The bytes hold no picture.
            WeightsError: As in :meth:`decode`.
        """
        script, reception = self._receive(data, 1.0)
        decoder = self._for_weights_of(script.common)
        return decoder._walk(script, reception.bits[None], reception.known, _stacked([reception]))

    def split(self, data: bytes) -> Split:
        """Tells how a file divides, from its header alone; the prior is not asked.

        The parity includes that of magic and header, and the bits that fill bytes and blocks.

        Raises:
            DecodeError: It is no whole file of this codec.
        """
        file = container.unpack(data)
        _, script = self.open(file)
        size = container.packed_size(len(file.fields), script.payload_size, file.plan)
        if len(data) != size:
            raise DecodeError(f"expected a file of {size} bytes, got {len(data)}")
        header = 8 * (container.PREFIX + len(file.plan.tiers) + len(file.fields)) + container.HEADER_OVERHEAD
        header -= container.LENGTH_CODE.parity_bits
        parts = Split(header=header, indices=script.index_bits, signs=script.sign_bits)
        return replace(parts, parity=8 * size - parts.total)

    def require(self) -> None:
        """Checks that the prior is here; one in memory is.

        Raises:
            MissingExtraError: A library that it needs is not installed.
            WeightsError: It is not on this machine; says how to get it.
            SpecError: There is no such device.
        """
        check_device(self.device)
        if not isinstance(self.prior, Prior):
            require_prior(self.prior, self.precision)

    def digests(self) -> str:
        """Returns the prior's name and SHA-256; of one in memory, the fingerprint that files hold.

        Raises:
            WeightsError: It is not on this machine.
        """
        if isinstance(self.prior, Prior):
            return str(self.prior)
        return f"{self.prior.partition(':')[0]}:{prior_digest(self.prior, self.precision)}"

    def assemble(self, fields: BitWriter, script: Script, bits: Sequence[BitArray], plan: Plan) -> bytes:
        """Builds a file from the codec's own header fields, the bits of its steps, and their protection.

        Raises:
            SpecError: No decoder would draw so many Gaussian atoms.
        """
        self.check_drawing(script)
        payload = self.store(script, bits)
        checksum = binascii.crc_hqx(payload, 0)
        common = replace(script.common, checksum=checksum, fingerprint=self.denoiser.fingerprint)
        writer = write_common(self.name, common)
        writer.append(fields)
        return container.pack(writer.getvalue(), payload, plan)

    def common(self, image: RgbImage) -> Common:
        """Returns the first header fields for a picture."""
        height, width, _ = image.shape
        return Common(height, width, self.denoiser.space, self.codebook)

    def store(self, script: Script, bits: Sequence[BitArray]) -> bytes:
        """Returns the payload that carries the bits of the steps."""
        return np.packbits(np.concatenate([np.zeros(0, np.uint8), *bits])).tobytes()

    def retrieve(self, script: Script, payload: bytes, known: NDArray[np.bool_]) -> tuple[BitArray, NDArray[np.bool_]]:
        """Returns the bits of all steps that a payload carries.

        Arguments:
            script: What the header says.
            payload: Received payload, of the length the script says.
            known: Which of its bits arrived.

        Returns:
            The bits and which of them are known.
        """
        size = sum(step.bits for step in script.steps)
        return np.unpackbits(np.frombuffer(payload, np.uint8))[:size], known[:size]

    def last_step(self, script: Script) -> int:
        """Returns how many steps of a script the decoder takes."""
        return len(script.steps)

    def check_scoring(self, scored: int) -> None:
        """Checks that an encoder can draw its codebooks in reasonable time.

        Arguments:
            scored: Samples of all atoms of all steps.

        Raises:
            SpecError: It cannot.
        """
        if self.codebook == "gaussian" and scored > MOST_SCORED:
            raise SpecError(
                f"{self.name}: expected at most 2^40 samples of gaussian atoms, got {scored}; use codebook=rotated"
            )

    def _open(self, data: File) -> tuple[container.Container, Script]:
        """Opens a file and checks that it can be decoded."""
        file = container.unpack(data)
        _, script = self.open(file)
        self._check_prior(script.common)
        return file, script

    def _receive(self, data: File, upto: float) -> tuple[Script, Reception]:
        """Repairs a file; if that is not enough, with runs of equal bytes taken for erased, where that is no worse."""
        file, script = self._open(data)
        reception = receive(file, len(hard(data)), script, self.retrieve, upto)
        holed = None if reception.damage.payload_intact or isinstance(data, Received) else with_gaps(data)
        if holed is None:
            return script, reception
        try:
            file, again = self._open(holed)
        except FlipproofError:
            return script, reception
        other = receive(file, len(hard(data)), again, self.retrieve, upto)
        better = again == script and other.damage.failed_blocks <= reception.damage.failed_blocks
        return script, other if better else reception

    def check_drawing(self, script: Script) -> None:
        """Checks that decoders will draw the atoms of a file.

        Raises:
            SpecError: They will not.
        """
        try:
            script.check_work()
        except HeaderError as error:
            raise SpecError(f"{self.name}: the file would need {error}; use codebook=rotated") from error

    def _for_weights_of(self, common: Common) -> Self:
        """Returns this codec with the shipped weights that a file was made with, where any of them will do."""
        name = weights_for(common.fingerprint) if self.prior == "small" else None
        return replace(self, prior=name) if name else self

    def _check_prior(self, common: Common) -> None:
        prior = self._for_weights_of(common).denoiser
        if prior.fingerprint != common.fingerprint:
            shipped = ", ".join(f"{name} {weights.fingerprint:08x}" for name, weights in SHIPPED.items())
            raise WeightsError(
                f"expected the prior {common.fingerprint:08x} of the file, got {prior.fingerprint:08x} ({self.prior}); "
                f"the package has {shipped}; give the right one as prior=..."
            )
        if prior.space != common.space:
            raise WeightsError(f"expected a prior of {common.space}, got one of {prior.space}")

    def _decode_alike(self, script: Script, receptions: Sequence[Reception]) -> list[DecodeResult]:
        """Decodes files of one script: equal receptions once, as many together as memory allows."""
        decoder = self._for_weights_of(script.common)
        chunk = max(1, BATCH_PIXELS // (script.common.height * script.common.width))
        different = {reception.key: reception for reception in receptions}
        pictures: dict[tuple[bytes, bytes, bytes], RgbImage] = {}
        for keys in _alike(sorted(different), chunk):
            part = [different[key] for key in keys]
            bits = np.stack([reception.bits for reception in part])
            decoded = decoder.replay(script, bits, part[0].known, _stacked(part))
            pictures |= zip(keys, map(to_picture, decoded), strict=True)
        return [
            DecodeResult(pictures[reception.key].copy(), _status(reception.damage), reception.damage, self.name)
            for reception in receptions
        ]

    @torch.inference_mode()
    def replay(
        self, script: Script, bits: BitArray, known: NDArray[np.bool_], reliability: NDArray[np.float32] | None = None
    ) -> Tensor:
        """Walks the chain a script describes with received bits.

        Arguments:
            script: What the header says.
            bits: Bits of all steps of B chains, with shape (B, bits).
            known: Which of them are usable, with shape (bits,).
            reliability: Their absolute log-likelihood ratios (B, bits), if they differ.

        Returns:
            Pictures in [-1, 1] with shape (B, 3, H, W).
        """
        prior = self.denoiser
        y, level = self._walk(script, bits, known, reliability)
        if math.isinf(level.sigma):
            x = y.new_zeros(len(bits), script.common.space.channels, *script.shape)
        else:
            x = RECONSTRUCTIONS[self.reconstruction or "mse"](prior, y, level, self.views)
        return prior.decode(x)[:, :, : script.common.height, : script.common.width]

    def _walk(
        self, script: Script, bits: BitArray, known: NDArray[np.bool_], reliability: NDArray[np.float32] | None
    ) -> tuple[Tensor, Level]:
        """Returns where the chains of :meth:`replay` end."""
        places, last = spans(script), self.last_step(script)

        def choose(proposal: Proposal) -> Move | None:
            if proposal.index >= last or script.steps[proposal.index].growing != proposal.growing:
                return None
            step, (a, b) = script.steps[proposal.index], places[proposal.index]
            codebook = codebook_for(script.common.codebook, step, proposal)
            if step.protocol is None:
                return free_move(step, proposal, codebook)
            steering = step.protocol.read(bits[:, a:b], known[a:b])
            if steering.share < LEAST_SHARE:
                return None
            if reliability is not None:
                steering = step.protocol.doubt(steering, reliability[:, a:b])
            return Move(step.level.sigma, steering.to(self.device).steer(codebook))

        return drive(walk(self.denoiser, script.schedule, (len(bits), *script.shape), self.device), choose)


def _alike(keys: Sequence[tuple[bytes, bytes, bytes]], chunk: int) -> Iterator[list[tuple[bytes, bytes, bytes]]]:
    """Groups keys of receptions of which the same bits are known, at most ``chunk`` to a group."""
    for _, members in groupby(keys, key=lambda key: (key[0], bool(key[1]))):
        group = list(members)
        yield from (group[i : i + chunk] for i in range(0, len(group), chunk))


def _stacked(receptions: Sequence[Reception]) -> NDArray[np.float32] | None:
    """Returns the reliabilities of bits (B, bits), if they differ."""
    known = [reception.reliability for reception in receptions if reception.reliability is not None]
    return np.stack(known) if known else None


def _status(damage: Damage) -> Status:
    return Status.OK if damage.payload_intact and not damage.missing_bits else Status.DEGRADED
