"""Arrow tables as text: for a terminal, as CSV and as JSON."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from flipproof.errors import UnknownNameError

if TYPE_CHECKING:
    import pyarrow as pa
    from rich.console import RenderableType

__all__ = ["LAYOUTS", "render", "to_csv", "to_json"]

_MOST_COLUMNS = 12
"""Most that stand side by side in a terminal; more stand below each other, a block for each row."""


def render(table: pa.Table, layout: str = "table") -> RenderableType:
    r"""Lays a table out: ``table`` for a terminal, ``csv`` or ``json`` as text for files.

    Raises:
        UnknownNameError: There is no such layout.

    Example:
        >>> import pyarrow as pa
        >>> render(pa.table({"codec": ["jpeg"], "psnr": [None]}), "csv")
        'codec,psnr\njpeg,\n'
    """
    if layout not in LAYOUTS:
        raise UnknownNameError("layout", layout, list(LAYOUTS))
    return LAYOUTS[layout](table)


def to_csv(table: pa.Table) -> str:
    """Writes a table as CSV with a line of names; nothing is an empty field, lists are JSON."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.column_names)
    columns = [column.to_pylist() for column in table.columns]
    nested = [str(kind).startswith("list") for kind in table.schema.types]
    written = [list(map(json.dumps, each)) if deep else each for each, deep in zip(columns, nested, strict=True)]
    writer.writerows(zip(*written, strict=True))
    return text.getvalue()


def to_json(table: pa.Table) -> str:
    """Writes a table as a JSON list of objects; numbers that JSON does not have are their names, as ``"inf"``."""
    rows = [{name: _plain(value) for name, value in row.items()} for row in table.to_pylist()]
    return json.dumps(rows, indent=2, default=str) + "\n"


def _plain(value: object) -> object:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _for_terminal(table: pa.Table) -> RenderableType:
    return _side_by_side(table) if table.num_columns <= _MOST_COLUMNS else _blocks(table)


def _side_by_side(table: pa.Table) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    laid_out = Table()
    for name, kind in zip(table.column_names, table.schema.types, strict=True):
        number = str(kind).startswith(("int", "uint", "float", "double", "decimal"))
        laid_out.add_column(Text(name), justify="right" if number else "left", overflow="fold")
    for row in zip(*(column.to_pylist() for column in table.columns), strict=True):
        laid_out.add_row(*(Text(_shown(value)) for value in row))
    return laid_out


def _blocks(table: pa.Table) -> RenderableType:
    from rich.console import Group
    from rich.table import Column, Table
    from rich.text import Text

    blocks = []
    for place, row in enumerate(table.to_pylist()):
        block = Table("column", Column(f"row {place + 1}", overflow="fold"))
        for name, value in row.items():
            block.add_row(Text(name), Text(_shown(value)))
        blocks.append(block)
    return Group(*blocks) if blocks else Text(f"no rows, {table.num_columns} columns")


def _shown(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


LAYOUTS: dict[str, Callable[[pa.Table], RenderableType]] = {"table": _for_terminal, "csv": to_csv, "json": to_json}
"""What :func:`render` knows."""
