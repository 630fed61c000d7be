"""What the shell completes to; nothing heavy is imported for it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from flipproof import registry
from flipproof.study import preset

__all__ = [
    "complete_channels",
    "complete_codecs",
    "complete_datasets",
    "complete_engines",
    "complete_formats",
    "complete_metrics",
    "complete_plans",
    "complete_presets",
]


def complete_presets(prefix: str) -> list[str]:
    """Returns the presets that begin so."""
    return _starting(prefix, preset.presets())


def complete_plans(prefix: str) -> list[str]:
    """Returns the presets and the plan files that begin so."""
    return complete_presets(prefix) + _starting(prefix, map(str, Path(prefix or ".").parent.glob("*.toml")))


def complete_codecs(prefix: str) -> list[str]:
    """Returns the codecs that begin so."""
    return _starting(prefix, registry.names("codecs"))


def complete_channels(prefix: str) -> list[str]:
    """Returns the channels that begin so."""
    return _starting(prefix, registry.names("channels"))


def complete_metrics(prefix: str) -> list[str]:
    """Returns the metrics that begin so."""
    return _starting(prefix, registry.names("metrics"))


def complete_datasets(prefix: str) -> list[str]:
    """Returns the data sets that begin so."""
    from flipproof.study.dataset.catalogue import names

    return _starting(prefix, names())


def complete_engines(prefix: str) -> list[str]:
    """Returns the engines that begin so."""
    return _starting(prefix, ("local", "ray", "serial"))


def complete_formats(prefix: str) -> list[str]:
    """Returns the export formats that begin so."""
    return _starting(prefix, ("codec-compare", "compressai", "csv", "latex"))


def _starting(prefix: str, names: Iterable[str]) -> list[str]:
    return sorted(name for name in names if name.startswith(prefix))
