"""How a study was made, in words: its plan as TOML, and what there was to leave out."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from flipproof.study.plan import Plan

__all__ = ["to_toml"]

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def to_toml(plan: Plan) -> str:
    r"""Writes a plan as the TOML file that gives it; values that are the default are left out.

    Example:
        >>> print(to_toml(Plan(name="small", pictures=["kodak24"], codecs=["jpeg"], channels=["bsc[ber=0]"])))
        name = "small"
        pictures = ["kodak24"]
        codecs = ["jpeg"]
        channels = ["bsc[ber=0]"]
    """
    kept = plan.model_dump(mode="json", exclude_defaults=True, exclude_none=True)
    flat = {key: value for key, value in kept.items() if not isinstance(value, dict)}
    tables = {key: value for key, value in kept.items() if isinstance(value, dict)}
    return "\n\n".join([_lines(flat), *(f"[{key}]\n{_lines(table)}" for key, table in tables.items())])


def _lines(values: Mapping[str, Any]) -> str:
    return "\n".join(f"{_key(key)} = {_value(value)}" for key, value in values.items())


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _value(key)


def _value(value: Any) -> str:  # noqa: ANN401 (whatever a plan holds)
    """Writes a value; JSON's strings and numbers are TOML's too, but for the delete character."""
    if not isinstance(value, list):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    items = [_value(item) for item in value]
    line = f"[{', '.join(items)}]"
    return line if len(line) <= 96 else "[\n" + "".join(f"  {item},\n" for item in items) + "]"
