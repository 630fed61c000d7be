"""What a study measures: pictures x codecs x rates x channels x trials, as a plan file in TOML has it.

Example:
    >>> plan = plan_from_toml('''
    ... name = "little"
    ... pictures = ["bundled"]
    ... codecs = ["jpeg[quality={30,50}]"]
    ... channels = ["bsc[ber={0,0.001}]"]
    ... ''')
    >>> list(plan.all_codecs())
    ['jpeg[quality=30]', 'jpeg[quality=50]']
    >>> plan.all_channels()
    ('bsc[ber=0]', 'bsc[ber=0.001]')
"""

from __future__ import annotations

import itertools
import json
import re
import tomllib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from flipproof import registry
from flipproof.codec.base import Codec
from flipproof.errors import SpecError, UnknownNameError
from flipproof.study.complaint import complaints
from flipproof.study.dataset import catalogue
from flipproof.study.dataset.frame import parse as parse_frame
from flipproof.study.extras import needs_extra
from flipproof.study.series import is_clean

with needs_extra():
    from pydantic import (
        BaseModel,
        ConfigDict,
        Field,
        Strict,
        StringConstraints,
        ValidationError,
        field_validator,
        model_validator,
    )

__all__ = [
    "MOST_RATE",
    "Plan",
    "Trials",
    "check",
    "make_plan",
    "plan_from_toml",
    "read_plan",
    "reduce",
    "spread",
    "write_plan",
]

MOST_RATE = 24.0
"""Highest rate in bits per pixel: that of the samples themselves."""
MOST_TRIALS = 10**6
_MOST_BYTES = 2**20
_MOST_SPREAD = 10_000

_Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]+$", max_length=100)]
_Text = Annotated[str, StringConstraints(min_length=1, max_length=1000)]
_Whole = Annotated[int, Strict()]
_Rate = Annotated[float, Strict(), Field(gt=0, le=MOST_RATE, allow_inf_nan=False)]
_SETS_RATE = re.compile(r"\b(bpp|count|distance|qp|quality|rate_weight|step)\s*=")
_LIST = re.compile(r"\{([^{}]*)\}")


class Trials(BaseModel):
    """How many copies of each file each channel damages.

    All copies of a file that meet a channel without errors are equal, so there is one. With ``until_db`` or
    ``until_failures`` the trials of a point (codec, rate, channel, data set) go on, for all its pictures alike, until
    one of the two is reached, or ``most``.

    Attributes:
        least: Copies made in any case.
        most: Copies made at most; None for as many as ``least``.
        until_db: Largest half-width, in dB, of the 95 % interval of the mean PSNR over trials, for these pictures.
        until_failures: Failed files of the point that are enough.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    least: int = Field(default=1, ge=1, le=MOST_TRIALS)
    most: int | None = Field(default=None, ge=1, le=MOST_TRIALS)
    until_db: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    until_failures: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _check(self) -> Trials:
        if self.limit < self.least:
            raise ValueError(f"expected most of at least {self.least}, got {self.most}")
        stopping = self.until_db is not None or self.until_failures is not None
        if self.stops and not stopping:
            raise ValueError("expected until_db or until_failures beside most, got neither")
        if stopping and self.limit == self.least:
            raise ValueError(f"expected most above least ({self.least}) beside until_db or until_failures, got none")
        return self

    @property
    def stops(self) -> bool:
        """Whether a rule decides how many copies there are."""
        return self.limit > self.least

    @property
    def limit(self) -> int:
        """Copies made at most."""
        return self.least if self.most is None else self.most


class Plan(BaseModel):
    """The definition of a study; with the pictures it determines every measured value but the seconds.

    Attributes:
        name: Letters, digits, ``-`` and ``_``.
        seed: What the damage and the bootstrap are drawn from.
        pictures: Data sets by name, folders, or globs.
        only: Names of the pictures to take; empty for all.
        frame: What part of a picture is coded, see :mod:`flipproof.study.dataset.frame`.
        codecs: Spellings; a list in braces, as in ``jpeg[quality={30,50}]``, stands for one codec each.
        rates: Bits per pixel at which codecs run whose spelling sets no rate (by ``bpp``, or ``quality`` and the like);
            empty for their own defaults.
        channels: Spellings, with lists as for codecs; ``bsc[ber=0]`` is the one without errors.
        trials: Copies of each file on each channel; a number is short for ``least``.
        metrics: Names of the metrics; PSNR is always measured.
        gallery: Number of pictures, from the first, of which decoded ones are kept for the report.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)

    name: _Name
    seed: _Whole = Field(default=0, ge=0, lt=2**63)
    pictures: tuple[_Text, ...] = Field(min_length=1)
    only: tuple[_Text, ...] = ()
    frame: _Text = "centre[512]"
    codecs: tuple[_Text, ...] = Field(min_length=1)
    rates: tuple[_Rate, ...] = ()
    channels: tuple[_Text, ...] = Field(min_length=1)
    trials: Trials = Trials()
    metrics: tuple[_Text, ...] = ("psnr",)
    gallery: _Whole = Field(default=4, ge=0, le=10_000)

    @field_validator("trials", mode="before")
    @classmethod
    def _number(cls, value: Any) -> Any:  # noqa: ANN401 (whatever the file has)
        return {"least": value} if isinstance(value, int) and not isinstance(value, bool) else value

    @field_validator("pictures", "only", "codecs", "rates", "channels", "metrics")
    @classmethod
    def _each_once(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        twice = _twice(value)
        if twice is not None:
            raise ValueError(f"expected each once, got {twice!r} twice")
        return value

    @field_validator("metrics")
    @classmethod
    def _psnr_first(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return ("psnr", *(name for name in value if name != "psnr"))

    def all_codecs(self) -> dict[str, Codec]:
        """Builds every codec at every rate, by canonical spelling, in the plan's order.

        Raises:
            SpecError: A spelling names no codec, has a bad parameter, or a rate is out of range.
        """
        return {str(codec): codec for text in self.codecs for codec in self._codecs_of(text)}

    def all_channels(self) -> tuple[str, ...]:
        """Returns the canonical spellings of all channels, in the plan's order.

        Raises:
            SpecError: A spelling names no channel, or has a bad parameter.
        """
        return tuple(dict.fromkeys(name for text in self.channels for name in _channels_of(text)))

    def trials_of(self, channel: str) -> int:
        """Returns how many copies a channel damages at most."""
        return 1 if is_clean(channel) else self.trials.limit

    def _codecs_of(self, text: str) -> list[Codec]:
        """Builds the codecs that one entry stands for."""
        return [codec for spelling in spread(text) for codec in self._at_rates(spelling)]

    def _at_rates(self, spelling: str) -> list[Codec]:
        codec = registry.codec(spelling)
        if not self.rates or not _takes_rates(spelling, codec):
            return [codec]
        return [codec.with_rate(rate) for rate in self.rates]


def _takes_rates(spelling: str, codec: Codec) -> bool:
    """Returns whether the rates of a plan apply: the codec can be given one, and its spelling sets none."""
    return "bpp" in codec.get_config() and not _SETS_RATE.search(spelling)


def _channels_of(text: str) -> list[str]:
    return [str(registry.channel(spelling)) for spelling in spread(text)]


def spread(text: str) -> list[str]:
    """Writes a spelling with lists in braces out, the last list running fastest.

    Raises:
        SpecError: Braces do not match, or stand for too many spellings.

    Example:
        >>> spread("jpeg[quality={30,50},restart={0,8}]")[:2]
        ['jpeg[quality=30,restart=0]', 'jpeg[quality=30,restart=8]']
    """
    pieces = _LIST.split(text)
    if any(brace in piece for piece in pieces[::2] for brace in "{}"):
        raise SpecError(f"expected lists in braces as in jpeg[quality={{30,50}}], got {text!r}")
    choices = [[piece] if index % 2 == 0 else piece.split(",") for index, piece in enumerate(pieces)]
    count = 1
    for choice in choices:
        count *= len(choice)
    if count > _MOST_SPREAD:
        raise SpecError(f"expected lists that stand for at most {_MOST_SPREAD} spellings, got {count}")
    return ["".join(part.strip() for part in parts) for parts in itertools.product(*choices)]


def check(plan: Plan, known: Collection[str] = ()) -> None:
    """Checks everything a plan names, before anything is run or downloaded.

    Whether weights, optional packages and pictures are there is not looked at: that depends on the machine.

    Arguments:
        plan: What to check.
        known: Names of data sets beside those of the catalogue.

    Raises:
        SpecError: A codec, channel, metric, frame or data set is unknown or misspelled, two spellings name the same
            codec or channel, a rate is out of a codec's range, or there are rates that no codec takes.
    """
    parse_frame(plan.frame)
    for name in plan.pictures:
        if name not in known:
            catalogue.check_name(name)
    for metric in plan.metrics:
        if metric not in registry.names("metrics"):
            raise UnknownNameError("metric", metric, registry.names("metrics"))
    _check_twice("channels", [name for text in plan.channels for name in _channels_of(text)])
    _check_twice("codecs", [str(codec) for text in plan.codecs for codec in plan._codecs_of(text)])
    spellings = [spelling for text in plan.codecs for spelling in spread(text)]
    if plan.rates and not any(_takes_rates(spelling, registry.codec(spelling)) for spelling in spellings):
        raise SpecError(f"rates: expected a codec whose spelling sets no rate, got {', '.join(plan.codecs)}")


def reduce(
    plan: Plan,
    *,
    data: Sequence[str] = (),
    only: Sequence[str] = (),
    frame: str | None = None,
    codecs: Sequence[str] = (),
    rates: Sequence[float] = (),
    channels: Sequence[str] = (),
    trials: int | Trials | None = None,
    metrics: Sequence[str] = (),
) -> Plan:
    """Returns a plan with some of its parts replaced; what is empty or None stays.

    Arguments:
        plan: The plan.
        data: For ``pictures``; the plan's ``only`` stays where these are data sets of the plan.
        only: Names of pictures.
        frame: What part of a picture is coded.
        codecs: Spellings; with new codecs and no new rates, the rates of the plan apply to those that take them.
        rates: Bits per pixel.
        channels: Spellings.
        trials: Copies of each file.
        metrics: Names.

    Raises:
        SpecError: A value is out of range.
    """
    given = {"only": only, "codecs": codecs, "rates": rates, "channels": channels, "metrics": metrics}
    changes: dict[str, object] = {key: tuple(value) for key, value in given.items() if value}
    kept = tuple(only) or (plan.only if set(data) <= set(plan.pictures) else ())
    changes |= {"pictures": tuple(data), "only": kept} if data else {}
    changes |= {"frame": frame} if frame is not None else {}
    changes |= {"trials": trials} if trials is not None else {}
    return make_plan(plan.model_dump() | changes, f"study {plan.name}")


def _check_twice(key: str, spellings: Sequence[str]) -> None:
    twice = _twice(spellings)
    if twice is not None:
        raise SpecError(f"{key}: expected each once, got {twice} twice")


def _twice(values: Sequence[Any]) -> Any:  # noqa: ANN401 (whatever they are)
    """Returns the first value that is there more than once; None if there is none."""
    return next((value for value, count in Counter(values).items() if count > 1), None)


def read_plan(path: str | Path) -> Plan:
    """Reads a plan file.

    Raises:
        SpecError: The file cannot be read, or is no plan; the text says where, what was expected and what there is.
    """
    try:
        with Path(path).open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise SpecError(f"{path}: expected a plan of at most {_MOST_BYTES} bytes, got more")
        return plan_from_toml(data.decode("utf-8-sig"), str(path))
    except OSError as error:
        raise SpecError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise SpecError(f"{path}: expected text in UTF-8, got byte {data[error.start]:#x} at {error.start}") from error


def plan_from_toml(text: str, where: str = "plan") -> Plan:
    """Reads the text of a plan file.

    Arguments:
        text: TOML with the attributes of :class:`Plan` as keys.
        where: What error messages begin with.

    Raises:
        SpecError: As for :func:`read_plan`.
    """
    try:
        values = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise SpecError(f"{where}: expected TOML, got an error: {error or 'nested too deeply'}") from error
    except ValueError as error:  # numbers with thousands of digits
        raise SpecError(f"{where}: expected TOML, got an error: {error}") from error
    return make_plan(values, where)


def make_plan(values: Mapping[str, Any], where: str = "plan") -> Plan:
    """Makes a plan of its attributes.

    Raises:
        SpecError: One of them is missing, unknown, of the wrong type or out of range; all are named, in one line.
    """
    try:
        return Plan.model_validate(dict(values))
    except ValidationError as error:
        raise SpecError(f"{where}: {'; '.join(complaints(error, Plan))}") from error


def write_plan(plan: Plan) -> str:
    """Writes a plan as TOML; :func:`plan_from_toml` gives the same plan again.

    Example:
        >>> plan = Plan(name="a", pictures=("bundled",), codecs=("jpeg",), channels=("bsc",), trials=Trials(least=3))
        >>> write_plan(plan).splitlines()[-3:]
        ['trials = 3', 'metrics = ["psnr"]', 'gallery = 4']
    """
    values = plan.model_dump(exclude_none=True)
    values["trials"] = values["trials"]["least"] if len(values["trials"]) == 1 else values["trials"]
    return "".join(f"{key} = {_toml(value)}\n" for key, value in values.items())


def _toml(value: Any) -> str:  # noqa: ANN401 (whatever a plan has)
    """Writes a value as TOML, in one line; a list that would be long has a line for each item."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # all else is escaped alike
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, int | float):
        return repr(value)
    items = [_toml(item) for item in value]
    line = f"[{', '.join(items)}]"
    return line if len(line) <= 80 else "[\n" + "".join(f"    {item},\n" for item in items) + "]"
