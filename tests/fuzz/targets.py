"""What is to be total, as functions of bytes that return where all is well.

A target may meet any typed error, and checks that its text is one line. Anything else it raises is a finding, and so is
a result that contradicts itself. The same functions run under hypothesis, in ``tests/test_total.py``, and under a
fuzzer with coverage, by ``tests/fuzz/run.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

import flipproof
from conftest import photograph
from family import CHEAP, OTHERS, Wiener
from flipproof import container, info, registry
from flipproof.bits import BitWriter
from flipproof.codebook.make import KINDS
from flipproof.codebook.rotated import RotatedCodebook
from flipproof.codec.base import Codec
from flipproof.codec.rcc import ChainCodec
from flipproof.codec.script import COMMON_BITS, WIRE_NUMBERS, Common, Script, write_common
from flipproof.errors import FlipproofError
from flipproof.prior.base import PIXELS
from flipproof.protection.ladder import LADDERS
from flipproof.protection.plan import PARTS, Plan, Tier
from flipproof.protocol import zipf
from flipproof.protocol.diffc import DiffCProtocol
from flipproof.protocol.hybrid import HybridProtocol
from flipproof.protocol.independent import IndependentProtocol
from flipproof.protocol.lexicographic import LexicographicProtocol
from flipproof.protocol.pursuit import PursuitProtocol
from flipproof.protocol.tracks import TracksProtocol
from flipproof.protocol.trellis import TrellisProtocol
from flipproof.result import DecodeResult, Status
from fuzz.source import Source, mutated, perhaps_soft, soft

__all__ = ["TARGETS", "Target"]

HEIGHT, WIDTH = 40, 48
MOST_TIERS = 7
CHEAP_WORK = 2**21
"""Samples and atoms that a target decodes; of longer chains it reads the header only."""
WRAPPED = ("jpeg", "jpeg+fec[bch,t=7]", "jpeg+fec[rs,parity=16]", "trellis+fec[bch,t=4]")


@dataclass(frozen=True)
class Target:
    """Something total, and inputs to start from."""

    run: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]


@contextmanager
def typed() -> Iterator[None]:
    """Passes over typed errors of one line."""
    try:
        yield
    except FlipproofError as met:
        error = met
    else:
        return
    assert str(error)
    assert "\n" not in str(error)


def check(results: Sequence[DecodeResult], count: int) -> None:
    """Checks that results are whole: a picture, or the reason why there is none."""
    assert len(results) == count
    for result in results:
        failed = result.status is Status.FAILED
        assert (result.image is None) == failed
        assert bool(result.error) == failed
        assert "\n" not in result.error + str(result.damage)
        if result.image is not None:
            assert result.image.dtype == np.uint8
            assert result.image.ndim == 3
            assert result.image.shape[2] == 3


@cache
def coded() -> dict[str, bytes]:
    """Returns a file of every codec that steers a chain."""
    picture = photograph(HEIGHT, WIDTH)
    return {codec.name: replace(codec, bpp=2.0).encode(picture) for codec in CHEAP}


@cache
def wrapped() -> dict[str, tuple[Codec, bytes]]:
    """Returns the other codecs, and stages around codecs, each with a file."""
    made = {spec: registry.codec(spec) for spec in dict.fromkeys([*OTHERS, *WRAPPED])}
    picture = photograph(24, 32)
    return {spec: (codec, codec.encode(picture)) for spec, codec in made.items()}


def take_plan(source: Source) -> Plan:
    """Returns any tiers that a plan may have."""
    ends = sorted({1 + source.below(PARTS) for _ in range(source.below(MOST_TIERS + 1))})
    ladder = source.one_of(list(LADDERS.values()))
    return Plan(tuple(Tier(source.below(len(ladder.rungs)), end) for end in ends), bool(source.below(2)), ladder)


def run_container(data: bytes) -> None:
    """Any bytes as a file, through every way to open one."""
    with typed():
        container.unpack(data).payload(len(data))
    with typed():
        info.describe(data)
    with typed():
        flipproof.decode(data, prior=Wiener(), strict=True)
    check(CHEAP[len(data) % len(CHEAP)].decode_many([data]), 1)


def run_sealed(data: bytes) -> None:
    """A container of any content under any plan, then damaged, with ratios or without."""
    source = Source(data)
    plan, fields = take_plan(source), source.take(source.below(256))
    size, upset = source.below(600), Source(source.take(64))
    with typed():
        made = container.pack(fields, source.rest()[:size], plan)
        with typed():
            opened = container.unpack(made)
            assert (opened.fields, opened.plan) == (fields, plan)
        with typed():
            payload = container.unpack(perhaps_soft(upset, mutated(upset, made))).payload(source.below(1200))
            assert len(payload.bits) == len(payload.known) == len(payload.suspect) == len(payload.repaired)


def run_header(data: bytes) -> None:
    """Sealed header fields that no encoder wrote; decoded if that is little work."""
    with typed():
        codec, file = header_file(data)
        with typed():
            info.describe(file)
        _, script = type(codec).open(container.unpack(file))
        if _work(script) <= CHEAP_WORK:
            check(codec.decode_many([file]), 1)


def header_file(data: bytes) -> tuple[ChainCodec, bytes]:
    """Returns a codec, and a file of which its header is to make sense.

    Raises:
        RateError: The header is too long.
    """
    source = Source(data)
    codec, wild = source.one_of(CHEAP), source.below(4) == 0
    fields = _wild_common(source, codec) if wild else _small_common(source, codec)
    fields.append(_raw(source.take(source.below(128))))
    plan = take_plan(source)
    return codec, container.pack(fields.getvalue(), source.rest(), plan)


def run_files(data: bytes) -> None:
    """Valid files, damaged, at the decoder of any codec; whole or in part."""
    source = Source(data)
    codec, upto = source.one_of(CHEAP), 1.0 if source.below(2) else source.below(256) / 255
    files = [_damaged(source) for _ in range(1 + source.below(2))]
    check(codec.decode_many(files, upto), len(files))
    with typed():
        codec.decode(files[0], upto)


def run_received(data: bytes) -> None:
    """A valid file, damaged, with any log-likelihood ratios."""
    source = Source(data)
    codec, file = source.one_of(CHEAP), _damaged(source)
    check(codec.decode_many([soft(source, file)]), 1)


def run_wrapped(data: bytes) -> None:
    """Codecs without a chain, and stages around codecs: bytes as they are, or a valid file damaged."""
    source = Source(data)
    codec, valid = source.one_of(list(wrapped().values()))
    file = perhaps_soft(source, mutated(source, valid)) if source.below(2) else perhaps_soft(source, source.rest())
    check(codec.decode_many([file]), 1)


def run_protocols(data: bytes) -> None:
    """Any bits as a step of any protocol."""
    source = Source(data)
    with typed():
        protocol = _take_protocol(source)
        if protocol.bits > 2**16:
            return
        length = -(-protocol.bits // 8)
        rows = [np.unpackbits(np.frombuffer(source.take(length), np.uint8))[: protocol.bits] for _ in range(3)]
        bits, known = np.stack(rows[:2]), rows[2].astype(bool) if source.below(2) else np.ones(protocol.bits, bool)
        assert protocol.faults(bits).shape == (2,)
        steering = protocol.read(bits, known)
        assert 0 <= steering.share <= 1
        if protocol.atoms <= 2**12:
            size = protocol.samples if isinstance(protocol, TrellisProtocol) else 64
            noise = steering.to("cpu").steer(RotatedCodebook(-(-size // protocol.parts), protocol.atoms, step=0))
            assert noise.shape[0] == 2
            assert noise.isfinite().all()


def run_zipf(data: bytes) -> None:
    """Any bytes for the range decoder of chunk seeds."""
    source = Source(data)
    steps = 1 + source.below(4)
    exponents = [float(np.frombuffer(source.take(8), ">f8")[0]) for _ in range(steps)]
    seed_bits, counts = [source.below(20) for _ in range(steps)], [source.below(64) for _ in range(steps)]
    with typed():
        seeds, complete = zipf.expand(source.rest(), exponents, seed_bits, counts)
        assert [len(numbers) for numbers in seeds] == counts
        assert 0 <= complete <= sum(counts)
        for numbers, width in zip(seeds, seed_bits, strict=True):
            assert ((numbers >= 0) & (numbers < 1 << width)).all()


def run_codes(data: bytes) -> None:
    """Any received bits, and any ratios, as blocks of every error-correcting code."""
    source = Source(data)
    code = registry.code(source.one_of(registry.names("codes")))
    size = 8 * (1 + source.below(code.data_bits // 8)) + code.parity_bits
    bits = np.resize(np.unpackbits(np.frombuffer(source.take(1 + source.below(256)), np.uint8)), (2, size))
    pattern = np.frombuffer(source.take(4 * (1 + source.below(16))), ">f4").astype(np.float32)
    llr = np.resize(np.nan_to_num(pattern, posinf=np.inf, neginf=-np.inf), (2, size)) if source.below(2) else None
    decoded = code.decode(bits, llr)
    assert decoded.data.shape == (2, size - code.parity_bits)
    assert decoded.data.max() <= 1
    assert decoded.flips.shape == decoded.failed.shape == (2,)


def run_spellings(data: bytes) -> None:
    """Any text as the spelling of a codec, a channel or a code; what it builds can be spelled and built again."""
    text = data.decode(errors="surrogateescape")
    with typed():
        registry.parse(text)
    for build in (registry.codec, registry.channel, registry.code):
        with typed():
            made = build(text)
            assert build(str(made)) == made


def _damaged(source: Source) -> bytes:
    return mutated(source, coded()[source.one_of(list(coded()))])


def _small_common(source: Source, codec: ChainCodec) -> BitWriter:
    """Returns the first fields of a small file that a decoder with the right prior may open."""
    height, width, kind = source.below(64), source.below(64), source.one_of(KINDS)
    return write_common(codec.name, Common(height, width, PIXELS, kind, source.below(2**16), Wiener().fingerprint))


def _wild_common(source: Source, codec: ChainCodec) -> BitWriter:
    """Returns the number of a codec and other first fields of any content."""
    fields = BitWriter()
    fields.write("codec", WIRE_NUMBERS[codec.name], 8)
    fields.write("others", source.below(1 << COMMON_BITS - 8), COMMON_BITS - 8)
    return fields


def _raw(data: bytes) -> BitWriter:
    writer = BitWriter()
    writer.write("raw", int.from_bytes(data, "big"), 8 * len(data))
    return writer


def _work(script: Script) -> int:
    """Returns samples and atoms of all steps, and payload bits times samples where atoms are drawn one by one."""
    coarsest, common = script.schedule.first.grid, script.common
    samples = [common.samples(coarsest, step.level.grid) for step in script.steps]
    atoms = sum(step.protocol.atoms for step in script.steps if step.protocol)
    drawn = sum(step.bits * size for step, size in zip(script.steps, samples, strict=True))
    return sum(samples) + atoms + (drawn // 16 if common.codebook == "gaussian" else 0)


def _take_protocol(source: Source):
    atoms, count = 1 << source.below(22), source.below(300)
    match source.below(7):
        case 0:
            return TracksProtocol(1 + count, source.below(16))
        case 1:
            return IndependentProtocol(atoms, count)
        case 2:
            return LexicographicProtocol(atoms, count)
        case 3:
            return HybridProtocol(atoms, count, source.below(300))
        case 6:
            return TrellisProtocol(1 + source.below(2**12), 1 + count, source.below(18))
        case 4:
            return PursuitProtocol(atoms, count, source.below(10))
        case _:
            return DiffCProtocol(source.below(18), count, 1, 64)


def _spellings() -> list[bytes]:
    kinds = [name for kind in ("codecs", "channels", "codes") for name in registry.names(kind)]
    full = [str(codec) for codec in CHEAP if "Wiener" not in str(codec)]
    written = ["trellis[bpp=0.1,prior=small]", "jpeg[quality=30]+fec[bch,t=7]", "bsc[ber=1e-3]", "ddcm[grid=none]"]
    return [text.encode() for text in [*kinds, *full, *written, *WRAPPED]]


def _headers() -> list[bytes]:
    """Returns what makes the headers that encoders write."""
    seeds = []
    for index, codec in enumerate(CHEAP):
        fields = container.unpack(coded()[codec.name]).fields
        left = 8 * len(fields) - COMMON_BITS
        own = (int.from_bytes(fields, "big") << -left % 8 & (1 << left + -left % 8) - 1).to_bytes(-(-left // 8), "big")
        common = bytes([index, 1, HEIGHT, WIDTH, 0, 0, 0])
        seeds.append(common + bytes([len(own)]) + own + bytes([0, 0]) + bytes(range(256)))
    return seeds


def _numbered(contents: Sequence[bytes]) -> list[bytes]:
    return [bytes([index]) + content for index, content in enumerate(contents)]


TARGETS = {
    "container": Target(run_container, lambda: list(coded().values())),
    "sealed": Target(run_sealed, lambda: [bytes([2, 3, 9, 1, 31, 1, 4]) + bytes(range(200)), bytes(300)]),
    "header": Target(run_header, _headers),
    "files": Target(run_files, lambda: [bytes([i, 1, 0, i, 1, 3]) + bytes(40) for i in range(len(CHEAP))]),
    "received": Target(run_received, lambda: [bytes([i, i, 0, 0, 64, 0, 0, 0, 1, 1]) for i in range(len(CHEAP))]),
    "wrapped": Target(run_wrapped, lambda: _numbered([b"\1\1\3" + bytes(64) for _ in wrapped()])),
    "protocols": Target(run_protocols, lambda: [bytes([0, 0, 8, 0, 9, kind]) + bytes(range(99)) for kind in range(7)]),
    "zipf": Target(run_zipf, lambda: [b"\1" + np.array([1.1, 1.2], ">f8").tobytes() + b"\x08\x04\x20\x10" + bytes(99)]),
    "codes": Target(run_codes, lambda: _numbered([bytes([20, 40]) + bytes(99) for _ in registry.names("codes")])),
    "spellings": Target(run_spellings, _spellings),
}
"""All of them, by name."""
