"""What pydantic finds wrong, as people can read it: where, what was expected, and what there is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from flipproof.errors import UnknownNameError

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError
    from pydantic_core import ErrorDetails

__all__ = ["complaints"]

_LONGEST = 60

_EXPECTED = {
    "missing": "a value",
    "string_type": "text",
    "string_unicode": "text in Unicode",
    "string_too_short": "text that is not empty",
    "string_too_long": "at most {max_length} characters",
    "string_pattern_mismatch": "letters, digits, - and _",
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "tuple_type": "a list",
    "too_short": "at least {min_length}",
    "greater_than": "above {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "below {lt}",
    "less_than_equal": "at most {le}",
    "model_type": "a number or a table",
}
"""What to say for the types of errors that pydantic has."""


def complaints(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """Writes every error that pydantic found as ``where: expected this, got that``, each once, unknown keys first.

    A key that is misspelled is one that is missing too, and the better hint.

    Arguments:
        error: What pydantic raised.
        model: What was to be made; its keys, and those of models in it, are offered for unknown ones.
    """
    found = sorted(error.errors(include_url=False), key=lambda one: one["type"] != "extra_forbidden")
    return list(dict.fromkeys(_complaint(one, model) for one in found))


def _complaint(error: ErrorDetails, model: type[BaseModel]) -> str:
    where = _place(error["loc"])
    if error["type"] == "extra_forbidden":
        return str(UnknownNameError("key", where, _keys(model, error["loc"])))
    if error["type"] == "value_error":
        return f"{where}: {error['msg'].removeprefix('Value error, ')}"
    known = _EXPECTED.get(error["type"])
    limits = {name: _plain(limit) for name, limit in error.get("ctx", {}).items()}
    expected = known.format(**limits) if known else error["msg"]
    got = "none" if error["type"] == "missing" else _short(error["input"])
    return f"{where}: expected {expected}, got {got}"


def _place(location: Sequence[int | str]) -> str:
    """Writes a location: ``rates[2]``, counted from 1, or ``trials.most``."""
    return "".join(f"[{part + 1}]" if isinstance(part, int) else f".{part}" for part in location).removeprefix(".")


def _keys(model: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    """Returns the keys that there are where an unknown one was found."""
    prefix = "".join(f"{part}." for part in location[:-1])
    for part in location[:-1]:
        model = model.model_fields[str(part)].annotation  # type: ignore[assignment]
    return [f"{prefix}{key}" for key in model.model_fields]


def _plain(limit: object) -> object:
    """Returns a whole number without its decimal point."""
    return int(limit) if isinstance(limit, float) and limit.is_integer() else limit


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
