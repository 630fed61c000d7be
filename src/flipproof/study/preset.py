"""Plans that come with flipproof, as TOML files with comments.

Example:
    >>> presets()
    ['bursts', 'channels', 'fec', 'kodak', 'paper', 'quick']
    >>> preset("quick").pictures
    ('bundled',)
"""

from __future__ import annotations

from importlib.resources import files
from itertools import takewhile
from typing import TYPE_CHECKING

from flipproof.errors import UnknownNameError

if TYPE_CHECKING:
    from flipproof.study.plan import Plan

__all__ = ["TEMPLATE", "preset", "preset_text", "presets", "summary"]

TEMPLATE = "template"
"""Name of the plan that explains itself; it is found like a preset, but not listed as one."""

_FOLDER = files("flipproof.study") / "presets"


def presets() -> list[str]:
    """Returns the names of the plans that come with flipproof, sorted."""
    found = (entry.name for entry in _FOLDER.iterdir())
    return sorted(stem for stem, _, suffix in (name.rpartition(".") for name in found) if _listed(stem, suffix))


def _listed(stem: str, suffix: str) -> bool:
    return suffix == "toml" and stem != TEMPLATE


def preset_text(name: str) -> str:
    """Returns the text of a plan that comes with flipproof.

    Raises:
        UnknownNameError: There is no such plan.
    """
    if name not in (*presets(), TEMPLATE):
        raise UnknownNameError("study", name, presets())
    return (_FOLDER / f"{name}.toml").read_text(encoding="utf-8")


def summary(name: str) -> str:
    """Returns what a plan that comes with flipproof is for: the first sentence of its comments.

    Raises:
        UnknownNameError: There is no such plan.

    Example:
        >>> summary("kodak")
        "Kodak's photographs under random flips, at a low and a middle rate."
    """
    lines = takewhile(lambda line: line.startswith("#"), preset_text(name).splitlines())
    text = " ".join(line.removeprefix("#").strip() for line in lines)
    return text.partition(". ")[0].removesuffix(".") + "."


def preset(name: str) -> Plan:
    """Returns a plan that comes with flipproof.

    Raises:
        UnknownNameError: There is no such plan.
        MissingExtraError: pydantic is not installed.
    """
    from flipproof.study.plan import plan_from_toml

    return plan_from_toml(preset_text(name), f"preset {name}")
