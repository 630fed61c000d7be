"""What a file holds and which codecs there are, as rows of text."""

from __future__ import annotations

from typing import TypeAlias

from flipproof import registry
from flipproof.api import codec_of
from flipproof.codec.rcc import ChainCodec
from flipproof.codec.script import Script
from flipproof.container import FORMAT_VERSION, HEADER_OVERHEAD, MAGIC, packed_size, unpack

__all__ = ["describe", "list_codecs"]

Rows: TypeAlias = list[tuple[str, ...]]


def describe(data: bytes) -> list[tuple[str, tuple[str, ...], Rows]]:
    """Describes a ``.flip`` file without decoding its picture.

    Arguments:
        data: The bytes of the file.

    Returns:
        Tables as (title, column names, rows): header fields, parts of the file, steps of the chain.

    Raises:
        DecodeError: The bytes are no ``.flip`` file, or its header is beyond repair.
    """
    name = codec_of(data)
    codec = registry.codec(name)
    if not isinstance(codec, ChainCodec):
        raise TypeError(f"expected a chain codec, got {name}")
    file = unpack(data)
    reader, script = codec.open(file)
    height, width = script.common.height, script.common.width
    pixels = height * width
    safe, rest = script.protected_size, script.payload_size - script.protected_size
    size = packed_size(len(file.fields), safe, rest)
    field_rows: Rows = [("format version", str(FORMAT_VERSION), "4")]
    field_rows += [
        (f.name, f"{f.value:08x}" if f.name == "prior" else str(f.value), str(f.bits)) for f in reader.fields
    ]
    parts: Rows = [
        ("magic", str(8 * len(MAGIC))),
        ("header", str(8 * len(file.fields) + HEADER_OVERHEAD)),
        ("payload, protected", str(8 * safe)),
        ("parity and padding of both", str(8 * (size - rest - safe - len(MAGIC) - len(file.fields)) - HEADER_OVERHEAD)),
        ("payload, unprotected", str(8 * rest)),
        (f"file as described ({8 * size / pixels:.4g} bpp)", str(8 * size)),
        ("file as received", str(8 * len(data))),
        ("flipped bits repaired", str(file.repaired_bits)),
    ]
    return [
        (f"{name}, {width}x{height}", ("field", "value", "bits"), field_rows),
        ("parts", ("part", "bits"), parts),
        ("steps", ("step", "grid", "sigma", "what", "bits"), _steps(script)),
    ]


def list_codecs() -> Rows:
    """Returns name, parameters with their defaults, and one sentence for every codec."""
    rows: Rows = []
    for name in registry.names("codecs"):
        codec = registry.codec(name)
        parameters = ", ".join(f"{f.name}={f.default}" for f in registry.parameters(codec))
        rows.append((name, parameters, (type(codec).__doc__ or "").partition("\n")[0]))
    return rows


def _steps(script: Script) -> Rows:
    rows: Rows = []
    for index, step in enumerate(script.steps):
        what = ("grow, " if step.growing else "") + (repr(step.protocol) if step.protocol else "no bits")
        safe = " (protected)" if index < script.protected else ""
        rows.append((str(index), str(step.level.grid), f"{step.level.sigma:.3f}", what + safe, str(step.bits)))
    return rows
