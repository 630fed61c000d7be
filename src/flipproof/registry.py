"""Codecs, channels, codes and metrics by name, and their spelling ``name[parameter=value,...]``.

Names come from the entry-point groups ``flipproof.codecs``, ``flipproof.channels``, ``flipproof.codes`` and
``flipproof.metrics``, so other packages can add theirs; nothing is imported before it is asked for. Values may have
brackets of their own. A stage of forward error correction goes around any codec:
``codec+fec[code,parameter=value,...]``, where the parameter ``bpp`` is the rate of the whole file, parity included.

Example:
    >>> codec("jpeg[quality=30]")
    JpegCodec(bpp=None, decoding='strict', quality=30, progressive=False, restart=0, chroma='420', optimize=True)
    >>> parse("bsc[ber=1e-3]")
    ('bsc', {'ber': '1e-3'})
    >>> str(codec("jpeg+fec[bch,t=7]", quality=30, bpp=0.5))
    'jpeg[quality=30]+fec[bch,t=7,m=10,bpp=0.5]'
"""

from __future__ import annotations

import re
import types
from collections.abc import Callable, Iterator
from dataclasses import Field, fields
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin, get_type_hints

from flipproof.errors import SpecError, UnknownNameError

if TYPE_CHECKING:
    from flipproof.channel.base import Channel
    from flipproof.codec.base import Codec
    from flipproof.image import RgbImage
    from flipproof.protection.code import Code

__all__ = ["build", "channel", "code", "codec", "made", "metric", "names", "parameters", "parse", "spelled"]

_SPEC = re.compile(r"\s*([A-Za-z0-9_.:/+-]+)\s*(?:\[(.*)\])?\s*")
MOST_STAGES = 8
"""Most stages of error correction around one codec."""

_STAGE = re.compile(r"\s*fec\s*(?:\[(.*)\])?\s*")


def names(kind: str) -> list[str]:
    """Returns the sorted names of a kind: ``codecs``, ``channels``, ``codes`` or ``metrics``."""
    return sorted(_entries(kind))


def codec(spec: str, **overrides: object) -> Codec:
    """Builds a codec from its spelling; ``overrides`` that are not None win over the spelling.

    Raises:
        SpecError: Malformed spelling, unknown name or parameter, or a value out of range.
    """
    inner, stage = _last_stage(spec)
    if stage is None:
        made: Codec = build("codecs", spec, **overrides)
        return made
    from flipproof.codec.fec import FecCodec

    name, *items = _split(stage, ",")
    own = {key: text for key, text in _texts(items, spec).items() if key == "bpp"}
    rest = [item for item in items if item.partition("=")[0].strip() not in own]
    rate = {key: _convert("fec", key, text, float) for key, text in own.items()}
    around = FecCodec(codec(inner), code(f"{name}[{','.join(rest)}]"))
    return around.with_parameters(**rate | {key: value for key, value in overrides.items() if value is not None})


def code(spec: str) -> Code:
    """Builds an error-correcting code from its spelling.

    Raises:
        SpecError: As for :func:`codec`.
    """
    made: Code = build("codes", spec)
    return made


def channel(spec: str) -> Channel:
    """Builds a channel from its spelling.

    Raises:
        SpecError: As for :func:`codec`.
    """
    made: Channel = build("channels", spec)
    return made


def metric(name: str) -> Callable[[RgbImage, RgbImage], float]:
    """Returns the metric of a name: picture and original, (H, W, 3), uint8, to a number.

    Raises:
        UnknownNameError: There is no such metric.
    """
    entries = _entries("metrics")
    if name not in entries:
        raise UnknownNameError("metric", name, sorted(entries))
    made: Callable[[RgbImage, RgbImage], float] = entries[name].load()
    return made


def build(kind: str, spec: str, **overrides: object) -> Any:  # noqa: ANN401
    """Builds the dataclass a spelling names, converting each value to its field's type.

    Raises:
        SpecError: As for :func:`codec`.
    """
    name, texts = parse(spec)
    entries = _entries(kind)
    if name not in entries:
        raise UnknownNameError(kind.removesuffix("s"), name, sorted(entries))
    made: Callable[..., Any] = entries[name].load()
    known = _types(made)
    given = {key: value for key, value in overrides.items() if value is not None}
    for key in [*texts, *given]:
        if key not in known:
            raise SpecError(f"{name} has no parameter {key!r}; it has: {', '.join(known) or 'none'}")
    values = {key: _convert(name, key, text, known[key]) for key, text in texts.items()}
    return made(**(values | given))


def made(kind: str) -> Iterator[tuple[str, Any]]:
    """Returns names and what makes them, sorted by name; imports every one."""
    for name, entry in sorted(_entries(kind).items()):
        yield name, entry.load()


def parameters(made: Any) -> list[Field[Any]]:  # noqa: ANN401 (any dataclass, or one of its kind)
    """Returns the fields of a dataclass, its own before those that its whole family has."""
    return sorted(fields(made), key=lambda f: bool(f.kw_only))


def parse(spec: str) -> tuple[str, dict[str, str]]:
    """Splits a spelling into its name and parameter texts.

    Raises:
        SpecError: The spelling is malformed.
    """
    inner, stage = _last_stage(spec)
    if stage is not None:
        name, texts = parse(inner)
        return f"{name}+fec", texts | {"fec": f"{texts['fec']} + {stage}" if "fec" in texts else stage}
    match = _SPEC.fullmatch(spec)
    if not match:
        raise SpecError(f"expected name[parameter=value,...], got {spec!r}")
    return match[1], _texts(_split(match[2] or "", ","), spec)


def _texts(items: list[str], spec: str) -> dict[str, str]:
    """Reads ``parameter=value`` items."""
    texts: dict[str, str] = {}
    for item in filter(None, items):
        key, equals, value = (part.strip() for part in item.partition("="))
        if not (key and equals and value) or key in texts:
            raise SpecError(f"expected parameter=value once each in {spec!r}, got {item!r}")
        texts[key] = value
    return texts


def _last_stage(spec: str) -> tuple[str, str | None]:
    """Splits ``codec+fec[...]`` into the codec and what the brackets hold; None where there is no such stage."""
    *rest, last = _split(spec, "+")
    if len(rest) > MOST_STAGES:
        raise SpecError(f"expected at most {MOST_STAGES} stages of fec, got {len(rest)}")
    match = _STAGE.fullmatch(last)
    if not (rest and match):
        return spec, None
    if not match[1]:
        raise SpecError(f"expected codec+fec[code,parameter=value,...], got {spec!r}")
    return "+".join(rest), match[1].strip()


def _split(text: str, separator: str) -> list[str]:
    """Splits a text wherever a separator stands outside all brackets."""
    parts, depth = [""], 0
    for character in text:
        depth += (character == "[") - (character == "]")
        if depth < 0:
            break
        if character == separator and not depth:
            parts.append("")
        else:
            parts[-1] += character
    if depth:
        raise SpecError(f"expected brackets that match, got {text!r}")
    return parts


@cache
def _types(made: Any) -> dict[str, Any]:  # noqa: ANN401 (any dataclass)
    """Returns the types of a dataclass's parameters by name."""
    hints = get_type_hints(made)
    return {f.name: hints[f.name] for f in parameters(made)}


@cache
def _entries(kind: str) -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=f"flipproof.{kind}")}


def _convert(name: str, key: str, text: str, hint: type) -> object:
    """Reads a value as its field's type; ``none`` is None where the field allows it."""
    options = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    if type(None) in options and text.lower() == "none":
        return None
    target = next(option for option in options if option is not type(None))
    if target is bool:
        if text.lower() not in ("true", "false"):
            raise SpecError(f"{name}: expected {key} to be true or false, got {text!r}")
        return text.lower() == "true"
    try:
        return target(text)
    except ValueError as error:
        raise SpecError(f"{name}: expected {key} to be {target.__name__}, got {text!r}") from error


def spelled(value: object) -> str:
    """Writes a parameter's value as spellings have it.

    Example:
        >>> spelled(True), spelled(1e-05), spelled(1.0)
        ('true', '1e-05', '1')
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and float(f"{value:g}") == value:
        return f"{value:g}"
    return str(value)
