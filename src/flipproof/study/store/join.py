"""One study from parts that ran apart: the same plan on different pictures."""

from __future__ import annotations

from collections.abc import Sequence

from flipproof.errors import StoreError
from flipproof.study.record import PictureEntry, Record, Unreadable
from flipproof.study.store.store import Store

__all__ = ["join"]


def join(parts: Sequence[Store], whole: Store, command: str = "") -> Store:
    """Joins studies that differ in their pictures alone; equal to one run over all, but for its times.

    Arguments:
        parts: Studies, in the order their pictures shall have.
        whole: Where the whole goes; must not hold a study yet.
        command: The command that repeats this, for the record.

    Returns:
        The whole.

    Raises:
        StoreError: Fewer than two studies, one that differs in anything else that decides measured values, different
            pictures of one name, or a study in ``whole``.
    """
    if len(parts) < 2:
        raise StoreError(f"expected at least two studies to join, got {len(parts)}")
    if whole.exists():
        raise StoreError(f"expected a folder without a study to join into, got {whole.folder}")
    records = [part.record() for part in parts]
    for part, record in zip(parts, records, strict=True):
        _check_agreement(parts[0], records[0], part, record)
    whole.write(_joined(records, command))
    for part in parts:
        _copy(part, whole)
    whole.compact()
    return whole


def _joined(records: Sequence[Record], command: str) -> Record:
    first = records[0]
    pictures: dict[str, PictureEntry] = {}
    for entry in (entry for record in records for entry in record.pictures):
        if pictures.setdefault(entry.name, entry) != entry:
            raise StoreError(f"picture {entry.name}: expected one picture of this name, got two that differ")
    unreadable: dict[Unreadable, None] = dict.fromkeys(file for record in records for file in record.unreadable)
    sources = tuple(dict.fromkeys(source for record in records for source in record.plan.pictures))
    only = tuple(dict.fromkeys(name for record in records for name in record.plan.only))
    whole = () if any(not record.plan.only for record in records) else only
    plan = first.plan.model_copy(update={"pictures": sources, "only": whole})
    return first.model_copy(
        update={
            "plan": plan,
            "pictures": tuple(pictures.values()),
            "unreadable": tuple(unreadable),
            "command": command,
        }
    )


def _copy(part: Store, whole: Store) -> None:
    """Copies rows, pictures and encoded files."""
    for name in part.names():
        data = part.read(name)
        if data is not None:
            whole.save(name, data)


def _check_agreement(first: Store, expected: Record, store: Store, got: Record) -> None:
    for name, (wanted, had) in {
        **{
            key: (value, got.plan.model_dump(mode="json")[key])
            for key, value in expected.plan.model_dump(mode="json").items()
            if key not in ("pictures", "only")
        },
        "codecs": (expected.codecs, got.codecs),
        "version of flipproof": (expected.versions.get("flipproof"), got.versions.get("flipproof")),
    }.items():
        if wanted != had:
            raise StoreError(f"{store.folder}: expected {name} as in {first.folder}, {wanted}, got {had}")
