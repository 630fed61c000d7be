"""What a file holds, and which codecs and channels there are, as rows of text."""

from __future__ import annotations

from typing import TypeAlias

from flipproof import registry
from flipproof.api import codec_of
from flipproof.codec.rcc import ChainCodec
from flipproof.codec.reception import spans
from flipproof.codec.script import Script
from flipproof.container import (
    HEADER_OVERHEAD,
    MAGIC,
    PREFIX,
    Container,
    header_blocks,
    packed_size,
    unpack,
)
from flipproof.protection.ladder import HEADER
from flipproof.protection.plan import Span

__all__ = ["describe", "list_channels", "list_codecs"]

Rows: TypeAlias = list[tuple[str, ...]]


def describe(data: bytes) -> list[tuple[str, tuple[str, ...], Rows]]:
    """Describes a file without decoding its picture; ``.flip`` files in full, of others the kind and the size.

    Arguments:
        data: The bytes of the file.

    Returns:
        Tables as (title, column names, rows): header fields, parts of the file, steps of the chain.

    Raises:
        DecodeError: The file is of no known kind, or its header is beyond repair.
    """
    name = codec_of(data)
    codec = registry.codec(name)
    if not isinstance(codec, ChainCodec):
        return [(f"{name} file", ("part", "bits"), [("file as received", str(8 * len(data)))])]
    file = unpack(data)
    reader, script = codec.open(file)
    height, width = script.common.height, script.common.width
    pixels = height * width
    size = packed_size(len(file.fields), script.payload_size, file.plan)
    field_rows: Rows = [("format version", str(file.plan.ladder.version), "4")]
    field_rows += [
        (f.name, f"{f.value:08x}" if f.name == "prior" else str(f.value), str(f.bits)) for f in reader.fields
    ]
    parts: Rows = [
        *_parts(file, script),
        (f"file as described ({8 * size / pixels:.4g} bpp)", str(8 * size)),
        ("file as received", str(8 * len(data))),
        ("flipped bits repaired, but for the payload", str(file.repaired_bits)),
    ]
    return [
        (f"{name}, {width}x{height}", ("field", "value", "bits"), field_rows),
        ("parts", ("part", "bits"), parts),
        ("steps", ("step", "grid", "sigma", "what", "bits", "protection"), _steps(file, script)),
    ]


def list_codecs() -> Rows:
    """Returns name, parameters with their defaults, and one sentence for every codec."""
    return _listed("codecs")


def list_channels() -> Rows:
    """Returns name, parameters with their defaults, and one sentence for every channel."""
    return _listed("channels")


def _listed(kind: str) -> Rows:
    rows: Rows = []
    for name in registry.names(kind):
        made = registry.build(kind, name)
        parameters = ", ".join(f"{f.name}={f.default}" for f in registry.parameters(made))
        rows.append((name, parameters, (type(made).__doc__ or "").partition("\n")[0]))
    return rows


def _parts(file: Container, script: Script) -> Rows:
    """Returns the parts of a file and their bits."""
    held = min(file.safe, script.payload_size)
    parity = header_blocks(len(file.fields), file.plan) * HEADER.code.parity_bits
    tiers = 8 * len(file.plan.tiers)
    rows: Rows = [
        ("magic", str(8 * len(MAGIC))),
        ("length, with parity", str(8 * (PREFIX - len(MAGIC)))),
        ("header", str(8 * len(file.fields) + HEADER_OVERHEAD + tiers)),
        ("payload beside the header", str(8 * held)),
        ("parity and padding of both", str(parity + 8 * (file.safe - held))),
    ]
    for span in file.plan.spans(script.payload_size, file.safe):
        name = f"payload, {_code(span)}"
        rows.append((name, str(8 * span.size)))
        if span.code:
            blocks = "1 block" if len(span.sizes) == 1 else f"{len(span.sizes)} blocks"
            rows.append((f"parity, {blocks}", str(8 * (span.coded - span.size))))
    return rows


def _steps(file: Container, script: Script) -> Rows:
    rows: Rows = []
    for index, (step, place) in enumerate(zip(script.steps, spans(script), strict=True)):
        what = ("grow, " if step.growing else "") + (repr(step.protocol) if step.protocol else "no bits")
        level = (str(step.level.grid), f"{step.level.sigma:.3f}")
        rows.append((str(index), *level, what, str(step.bits), _protection(file, script, place)))
    return rows


def _protection(file: Container, script: Script, place: tuple[int, int]) -> str:
    """Names the codes that the bits from a place to another are under."""
    if script.stored is not None or place[0] == place[1]:
        return ""
    names = ["that of the header"] if place[0] < 8 * file.safe else []
    parts = file.plan.spans(script.payload_size, file.safe)
    names += [_code(s) for s in parts if place[0] < 8 * (s.start + s.size) and 8 * s.start < place[1]]
    return ", ".join(names)


def _code(span: Span) -> str:
    return span.rung.title if span.rung else "bare"
