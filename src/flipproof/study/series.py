"""Channels in the groups that a reader compares: one series for each thing that gets worse step by step."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from flipproof import registry
from flipproof.errors import SpecError
from flipproof.study import labels

__all__ = ["Series", "bit_error_rate", "bsc", "bsc_channels", "caption", "is_clean", "series_of"]


@dataclass(frozen=True)
class Series:
    """Channels that differ in one number; or, with an empty axis, those that stand alone.

    Attributes:
        title: What they share: their spelling without that number.
        axis: What the number is, with its unit.
        channels: Their spellings by that number, the channel without errors at the harmless end.
        ticks: The number of each, for an axis.
        headings: The same, for columns of a table.
        zero: Whether the channel without errors is the zero of that number, and not something off the axis.
        falling: Whether lower numbers are worse.
    """

    title: str
    axis: str
    channels: tuple[str, ...]
    ticks: tuple[str, ...]
    headings: tuple[str, ...]
    zero: bool = False
    falling: bool = False


@dataclass(frozen=True)
class _Axis:
    """A number that channels differ in.

    Attributes:
        label: Of the axis of a figure.
        tick: Writes a value.
        heading: Format of a written value above a column.
        zero: Whether its zero is no error at all.
        falling: Whether lower is worse.
    """

    label: str
    tick: Callable[[float], str]
    heading: str
    zero: bool = False
    falling: bool = False


_AXES = {
    "ber": _Axis("Bit error rate, over the whole file", labels.rate, "BER {}", zero=True),
    "rate": _Axis("Share lost", lambda value: f"{100 * value:g} %", "{} lost", zero=True),
    "snr": _Axis("Eb/N0 per channel bit (dB)", lambda value: f"{value:g}", "{} dB", falling=True),
    "burst": _Axis("Mean length of a burst (bits)", lambda value: f"{value:g}", "burst {}"),
    "flips": _Axis("Flips, placed by an adversary", lambda value: f"{value:g}", "flips {}", zero=True),
}
"""The first of these that varies is the axis of a series; then any other number, under its own name."""

_CLEAN = "no errors"


def bsc(rate: float) -> str:
    """Spells a binary symmetric channel; at rate 0 it is the channel without errors.

    Example:
        >>> bsc(1e-3), bsc(0)
        ('bsc[ber=0.001]', 'bsc[ber=0]')
    """
    return f"bsc[ber={rate:g}]"


def bsc_channels(rates: str) -> tuple[str, ...]:
    """Spells the binary symmetric channels of a comma-separated list of rates.

    Raises:
        SpecError: A rate is no number.

    Example:
        >>> bsc_channels("0,1e-3")
        ('bsc[ber=0]', 'bsc[ber=0.001]')
    """
    numbers = [_number(text) for text in rates.split(",")]
    known = [rate for rate in numbers if rate is not None]
    if len(known) < len(numbers):
        raise SpecError(f"expected bit error rates as in 0,1e-3, got {rates!r}")
    return tuple(map(bsc, known))


def bit_error_rate(channel: str) -> float | None:
    """Returns the rate of a binary symmetric channel; None for any other channel.

    Raises:
        SpecError: The spelling is malformed, or names no rate.

    Example:
        >>> bit_error_rate("bsc[ber=1e-3]"), bit_error_rate("awgn[snr=4]")
        (0.001, None)
    """
    name, texts = registry.parse(channel)
    if name != "bsc":
        return None
    rate = _number(texts.get("ber", ""))
    if rate is None:
        raise SpecError(f"study: expected a bit error rate as in bsc[ber=0.001], got {channel!r}")
    return rate


def is_clean(channel: str) -> bool:
    """Returns whether a channel is the one without errors, where nothing is random."""
    return bit_error_rate(channel) == 0


def caption(channel: str) -> str:
    """Writes a channel for people, so that it stands on its own.

    Example:
        >>> caption("bsc[ber=0]"), caption("bsc[ber=0.01]"), caption("awgn[snr=4]")
        ('no errors', 'BER 10⁻²', 'awgn[snr=4]')
    """
    rate = bit_error_rate(channel)
    if rate is None:
        return channel
    return _AXES["ber"].heading.format(labels.rate(rate)) if rate else _CLEAN


def series_of(channels: Sequence[str]) -> list[Series]:
    """Groups channels into series: binary symmetric channels first, then in the order given, lone ones last.

    Raises:
        SpecError: A spelling is malformed.

    Example:
        >>> for series in series_of(["bsc[ber=0]", "bsc[ber=0.01]", "awgn[snr=2,soft=true]", "awgn[snr=4,soft=true]"]):
        ...     print(series.title, series.headings)
        bsc ('no errors', 'BER 10⁻²')
        awgn[soft=true] ('2 dB', '4 dB', 'no errors')
    """
    clean = tuple(channel for channel in channels if is_clean(channel))
    noisy = [channel for channel in channels if channel not in clean]
    families: dict[tuple[str, str], list[str]] = defaultdict(list)
    for channel in noisy or clean:
        families[_family(channel, noisy or clean)].append(channel)
    made = [
        _series(title, key, members, clean if noisy else ())
        for (title, key), members in sorted(families.items(), key=lambda item: item[0][0] != "bsc")
        if len(members) > 1 or title == "bsc"
    ]
    placed = {channel for series in made for channel in series.channels}
    alone = tuple(channel for channel in noisy if channel not in placed)
    if alone:
        shown = (*clean, *alone)
        made.append(Series("other channels", "", shown, shown, tuple(map(caption, shown))))
    return made


def _family(channel: str, channels: Sequence[str]) -> tuple[str, str]:
    """Returns the title of a channel's series and the parameter that varies in it, empty if none does."""
    name, texts = registry.parse(channel)
    others = [parsed for kin, parsed in map(registry.parse, channels) if kin == name]
    varying = [
        key
        for key in [*(key for key in _AXES if key in texts), *(key for key in texts if key not in _AXES)]
        if _number(texts[key]) is not None and len({parsed.get(key) for parsed in others}) > 1
    ]
    key = "ber" if name == "bsc" else next(iter(varying), "")
    rest = ",".join(f"{kept}={text}" for kept, text in texts.items() if kept != key)
    return f"{name}[{rest}]" if rest else name, key


def _series(title: str, key: str, members: Sequence[str], clean: tuple[str, ...]) -> Series:
    axis = _AXES.get(key) or _Axis(key, lambda value: f"{value:g}", key + " {}")
    values = {channel: float(registry.parse(channel)[1][key]) for channel in members}
    ordered = sorted(members, key=values.__getitem__)
    ticks = [axis.tick(values[channel]) for channel in ordered]
    headings = [_CLEAN if is_clean(c) else axis.heading.format(t) for c, t in zip(ordered, ticks, strict=True)]
    nothing = tuple(axis.tick(0) if axis.zero else _CLEAN for _ in clean)
    if axis.falling:
        shown = ((*ordered, *clean), (*ticks, *nothing), (*headings, *map(caption, clean)))
    else:
        shown = ((*clean, *ordered), (*nothing, *ticks), (*map(caption, clean), *headings))
    return Series(title, axis.label, *shown, zero=axis.zero, falling=axis.falling)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
