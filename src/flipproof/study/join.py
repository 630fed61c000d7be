"""One study from parts that ran apart: the same plan on different photographs."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from flipproof.errors import SpecError
from flipproof.study.store import Record, Row, Store

__all__ = ["join"]


@dataclass(frozen=True)
class _Part:
    store: Store
    record: Record
    rows: list[Row]


def join(folders: Sequence[Path], out: Path, command: str = "") -> Store:
    """Joins studies that differ in their photographs alone; equal to one run over all, but for its seconds.

    Arguments:
        folders: Of finished studies, in the order their photographs shall have.
        out: Folder of the whole; must not hold a study yet.
        command: The command that repeats this, for the report.

    Returns:
        The store of the whole.

    Raises:
        SpecError: Fewer than two folders, one without a finished study, a photograph in two of them, studies that
            differ in anything else that decides measured values, or a study in ``out``.
    """
    if len(folders) < 2:
        raise SpecError(f"expected at least two studies to join, got {len(folders)}")
    if (out / "plan.json").exists():
        raise SpecError(f"expected a folder without a study to join into, got {out}")
    parts = [_part(folder) for folder in folders]
    record = replace(_joined(parts), command=command)
    store = Store(out)
    store.write(record, [row for part in parts for row in part.rows])
    for part in parts:
        for photograph in part.record.plan.photographs:
            source = part.store.original_path(photograph).parent
            shutil.copytree(source, store.original_path(photograph).parent, dirs_exist_ok=True)
    return store


def _part(folder: Path) -> _Part:
    store = Store(folder)
    record, rows = store.record(), store.rows()
    expected = len(record.plan.photographs) * len(record.plan.codecs) * len(record.plan.cells())
    if len(rows) != expected:
        raise SpecError(f"{folder}: expected a finished study of {expected} rows, got {len(rows)}")
    return _Part(store, record, rows)


def _joined(parts: Sequence[_Part]) -> Record:
    """Returns the record of the whole, after checking that parts agree."""
    first = parts[0]
    owners: dict[str, Path] = {}
    for part in parts:
        _check_agreement(first, part)
        for photograph in part.record.plan.photographs:
            if photograph in owners:
                raise SpecError(
                    f"photograph {photograph}: expected in one study, got {owners[photograph]} and {part.store.folder}"
                )
            owners[photograph] = part.store.folder
    pictures = {name: digest for part in parts for name, digest in part.record.pictures.items()}
    return replace(first.record, plan=replace(first.record.plan, photographs=tuple(owners)), pictures=pictures)


def _check_agreement(first: _Part, part: _Part) -> None:
    expected, got = (_config(each.record) for each in (first, part))
    for name, value in expected.items():
        if got[name] != value:
            raise SpecError(
                f"{part.store.folder}: expected {name} as in {first.store.folder}, {value}, got {got[name]}"
            )


def _config(record: Record) -> dict[str, object]:
    """Returns what must agree, by the name it goes by in an error."""
    plan = {key: value for key, value in record.plan.get_config().items() if key != "photographs"}
    return plan | {"canonical codecs": record.codecs, "versions": record.decisive_versions}
