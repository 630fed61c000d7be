"""Studies in the formats of other tools, each a set of files in a folder."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from flipproof.errors import StoreError, UnknownNameError
from flipproof.study.record import Record

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["FORMATS", "export"]

_Export: TypeAlias = "Callable[[pa.Table, Record], dict[str, str]]"

_MODULES = {"csv": "csv", "compressai": "compressai", "codec-compare": "codec_compare", "latex": "latex"}


def _lazy(module: str) -> _Export:
    def contents(table: pa.Table, record: Record) -> dict[str, str]:
        made: dict[str, str] = import_module(f"{__name__}.{module}").contents(table, record)
        return made

    return contents


FORMATS: dict[str, _Export] = {name: _lazy(module) for name, module in _MODULES.items()}
"""Formats by name: what each makes of rows and record, as text by file name; imported when used."""


def export(layout: str, table: pa.Table, record: Record, folder: Path) -> list[Path]:
    """Writes a study in a format.

    Arguments:
        layout: ``csv``, ``compressai``, ``codec-compare`` or ``latex``.
        table: Rows, one for each cell.
        record: The study they belong to.
        folder: Made if it is not there; files of equal names are replaced.

    Returns:
        The files, in order.

    Raises:
        UnknownNameError: There is no such format.
        StoreError: The folder cannot be written.
        MissingExtraError: A library that it takes is not installed.
    """
    if layout not in FORMATS:
        raise UnknownNameError("format", layout, list(FORMATS))
    paths = []
    for name, text in FORMATS[layout](table, record).items():
        path = folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="")
        except OSError as error:
            raise StoreError(f"{path}: {error.strerror or error}") from error
        paths.append(path)
    return paths
