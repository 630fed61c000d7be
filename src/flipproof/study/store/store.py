"""The folder of a study: ``study.json``, rows in Parquet part-files, encoded files and pictures.

Every file appears whole or not at all, so a process that is killed leaves nothing half-written. Rows are only ever
added; where two have one key, the better one counts: any against an error, then the later.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import posixpath
import re
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from flipproof.errors import StoreError
from flipproof.study.extras import needs_extra
from flipproof.study.record import SCHEMA, Record
from flipproof.study.store.file import EncodedFile
from flipproof.study.store.order import in_order, newest
from flipproof.study.store.row import ERROR, Row, to_table

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Store"]

MOST_PARTS = 64
"""Part-files that are put together into one when a study begins or ends."""

_PART = re.compile(r"part-.*\.parquet")
_DECISIVE = ("name", "seed", "frame")
"""What must agree for a plan to extend another's results."""


class Store:
    """A study's folder.

    Arguments:
        folder: A path, or the URL of a folder on any file system that fsspec knows, as in ``s3://bucket/study``.

    Raises:
        StoreError: There is no such file system.
        MissingExtraError: fsspec is not installed.
    """

    def __init__(self, folder: str | Path) -> None:
        with needs_extra():
            from fsspec.core import url_to_fs
        self.folder = str(folder)
        try:
            self.filesystem, self.root = url_to_fs(self.folder)
        except ValueError as error:
            raise StoreError(f"{self.folder}: expected a folder or a URL of a known kind ({error})") from error
        except ImportError as error:
            raise StoreError(f"{self.folder}: {_one_line(error)}") from error
        self.local = "file" in _protocols(self.filesystem)

    def exists(self) -> bool:
        """Returns whether there is a study here."""
        with self._guard():
            return bool(self.filesystem.exists(self._at("study.json")))

    def record(self) -> Record:
        """Reads what the study is.

        Raises:
            StoreError: There is none, or it is of another version of the format.
        """
        data = self.read("study.json")
        if data is None:
            raise StoreError(f"{self.folder}: expected a study, got no study.json")
        try:
            version = json.loads(data).get("schema_version")
        except (ValueError, AttributeError) as error:
            raise StoreError(f"{self.folder}: expected a study.json of a study ({error})") from error
        if version != SCHEMA:
            raise StoreError(
                f"{self.folder}: expected a study of schema {SCHEMA}, got {version}, of another version of flipproof"
            )
        try:
            return Record.model_validate_json(data)
        except ValidationError as error:
            raise StoreError(f"{self.folder}: expected a whole study.json ({_one_line(error)})") from error

    def begin(self, record: Record, *, extend: bool = False) -> None:
        """Makes the folder ready for a study, or for going on with it.

        Arguments:
            record: The study.
            extend: Whether a study here with another plan may become this one, which keeps what both have.

        Raises:
            StoreError: The folder holds another study, or cannot be written.
        """
        if self.exists():
            _check_continues(self.folder, self.record(), record, extend)
        self.write(record)
        self.compact()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keeps other runs out of the folder, where it is on this machine; a process that dies lets go.

        Raises:
            StoreError: Another run is at work.
        """
        if not self.local:
            yield
            return
        with needs_extra():
            from filelock import FileLock, Timeout
        with self._guard():
            self.filesystem.makedirs(self.root, exist_ok=True)
            lock = FileLock(self._at(".lock"))
            try:
                lock.acquire(timeout=0)
            except Timeout as error:
                raise StoreError(f"{self.folder}: another run is at work here; wait for its end") from error
        try:
            yield
        finally:
            lock.release()

    def write(self, record: Record) -> None:
        """Writes ``study.json``."""
        self.save("study.json", record.model_dump_json(indent=2).encode() + b"\n")

    def append(self, rows: Sequence[Row]) -> str:
        """Adds rows as one part-file; they are on disk when this returns.

        Returns:
            Path of the part-file.

        Raises:
            StoreError: They could not be written; nothing that was there is lost.
        """
        metrics = sorted({name for row in rows for name in row.scores} | {"psnr"})
        return self._append_table(to_table(rows, metrics))

    def keys(self) -> set[str]:
        """Returns the keys of cells that are done; those with errors are not, they will be tried again."""
        table = self._parts_table(["key", "status"])
        pairs = zip(table["key"].to_pylist(), table["status"].to_pylist(), strict=True)
        return {key for key, status in pairs if status != ERROR}

    def parts(self) -> list[str]:
        """Returns the paths of the part-files on the file system, sorted."""
        return [path for path in self._listed("rows") if _PART.fullmatch(posixpath.basename(path))]

    def table(self) -> pa.Table:
        """Returns the rows of the study, one for each cell that was tried, in the order of its record."""
        record = self.record()
        return in_order(newest(self._parts_table()), record)

    def compact(self) -> None:
        """Puts part-files together where they are many, and rows that another one replaces away."""
        parts = self.parts()
        if len(parts) > MOST_PARTS or (len(parts) > 1 and self._repeats()):
            self.merge(parts)

    def merge(self, parts: Sequence[str]) -> None:
        """Puts part-files together; of rows with one key the better one stays.

        Arguments:
            parts: Paths as :meth:`append` and :meth:`parts` return them.
        """
        self._append_table(newest(self._read_parts(parts)))
        for part in parts:
            self._remove(part)

    def save_file(self, key: str, file: EncodedFile) -> None:
        """Keeps an encoded file."""
        self.save(f"files/{key}.bin", file.pack())

    def load_file(self, key: str) -> EncodedFile | None:
        """Returns an encoded file; None if it is not kept."""
        kept = self.read(f"files/{key}.bin")
        return None if kept is None else EncodedFile.unpack(kept)

    def save_original(self, picture: str, png: bytes) -> None:
        """Keeps a picture as it is coded."""
        self.save(f"pictures/{_slug(picture)}/original.png", png)

    def original(self, picture: str) -> bytes | None:
        """Returns a picture as it is coded, as PNG; None if it is not kept."""
        return self.read(f"pictures/{_slug(picture)}/original.png")

    def save_decoded(self, picture: str, codec: str, channel: str, png: bytes) -> None:
        """Keeps what a first trial decoded to."""
        self.save(_decoded_path(picture, codec, channel), png)

    def decoded(self, picture: str, codec: str, channel: str) -> bytes | None:
        """Returns what the first trial decoded to, as PNG; None if there is no picture or it is not kept."""
        return self.read(_decoded_path(picture, codec, channel))

    def save_worst(self, codec: str, channel: str, key: str, png: bytes) -> None:
        """Keeps the worst picture of a codec on a channel, in the place of any before."""
        before = self._worst_paths(codec, channel)
        self.save(f"{_worst_stem(codec, channel)}{key}.png", png)
        for path in before:
            if not path.endswith(f"{key}.png"):
                self._remove(path)

    def worst(self, codec: str, channel: str) -> tuple[str, bytes] | None:
        """Returns the key of the cell with the worst picture of a codec on a channel, and the picture as PNG."""
        paths = self._worst_paths(codec, channel)
        if not paths:
            return None
        with self._guard():
            return posixpath.basename(paths[-1])[-36:-4], bytes(self.filesystem.cat_file(paths[-1]))

    def _worst_paths(self, codec: str, channel: str) -> list[str]:
        folder, stem = posixpath.split(_worst_stem(codec, channel))
        pattern = re.compile(re.escape(stem) + r"[0-9a-f]{32}\.png")
        return [path for path in self._listed(folder) if pattern.fullmatch(posixpath.basename(path))]

    def _listed(self, name: str) -> list[str]:
        """Returns the paths of what is in a folder, sorted; names with wildcards in them are names like any other."""
        with self._guard():
            try:
                return sorted(str(path) for path in self.filesystem.ls(self._at(name), detail=False, refresh=True))
            except FileNotFoundError:
                return []

    def _repeats(self) -> bool:
        keys = self._parts_table(["key"])["key"].to_pylist()
        return len(set(keys)) < len(keys)

    def _parts_table(self, columns: list[str] | None = None) -> pa.Table:
        return self._read_parts(self.parts(), columns)

    def _read_parts(self, parts: Sequence[str], columns: list[str] | None = None) -> pa.Table:
        """Reads part-files; those of other metrics have other columns, which are null where missing."""
        with needs_extra():
            import pyarrow as pa
            import pyarrow.parquet as pq
        tables = []
        for part in parts:
            with self._guard():
                data = self.filesystem.cat_file(part)
            try:  # threads of Arrow that read sometimes bring the process down when it ends
                tables.append(pq.read_table(io.BytesIO(data), columns=columns, use_threads=False))
            except pa.ArrowException as error:
                raise StoreError(f"{part}: expected rows of a study ({_one_line(error)})") from error
        if not tables:
            empty = to_table([], ["psnr"])
            return empty.select(columns) if columns else empty
        return pa.concat_tables(tables, promote_options="default")

    def _append_table(self, table: pa.Table) -> str:
        with needs_extra():
            import pyarrow.parquet as pq
        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression="zstd")
        name = f"rows/part-{uuid.uuid4().hex}.parquet"
        self.save(name, buffer.getvalue())
        return self._at(name)

    def _remove(self, path: str) -> None:
        with self._guard(), suppress(FileNotFoundError):
            self.filesystem.rm_file(path)

    def names(self) -> list[str]:
        """Returns the names of all files but ``study.json``, relative to the folder, sorted."""
        with self._guard():
            found = [str(path) for path in self.filesystem.find(self.root)]
        names = [posixpath.relpath(path, self.root) for path in found]
        return sorted(name for name in names if name != "study.json" and not posixpath.basename(name).startswith("."))

    def _at(self, *names: str) -> str:
        return posixpath.join(self.root, *names)

    def read(self, name: str) -> bytes | None:
        """Returns a file of the folder; None if it is not there."""
        with self._guard():
            try:
                return bytes(self.filesystem.cat_file(self._at(name)))
            except FileNotFoundError:
                return None

    def save(self, name: str, data: bytes) -> None:
        """Writes a file so that nobody ever sees a part of it: object stores do so by themselves."""
        path = self._at(name)
        with self._guard():
            self.filesystem.makedirs(posixpath.dirname(path), exist_ok=True)
            if not self.local:
                self.filesystem.pipe_file(path, data)
                return
            _replace(Path(path), data)

    @contextmanager
    def _guard(self) -> Iterator[None]:
        """Turns errors of the file system into typed ones; a missing file stays what it is."""
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            raise StoreError(f"{self.folder}: {error.strerror or _one_line(error)}") from error


def _check_continues(folder: str, old: Record, new: Record, extend: bool) -> None:
    """Checks that results of one study can be those of another.

    Raises:
        StoreError: They cannot.
    """
    versions = [record.versions.get("flipproof", "") for record in (old, new)]
    if versions[0] != versions[1]:
        raise StoreError(
            f"{folder}: expected results of flipproof {versions[1]}, got those of {versions[0]}; choose another folder"
        )
    before, after = old.plan.model_dump(mode="json"), new.plan.model_dump(mode="json")
    changed = [key for key in after if before[key] != after[key]]
    changed += ["the pictures"] if old.pictures != new.pictures and "pictures" not in changed else []
    if not changed or (extend and not set(changed) & set(_DECISIVE)):
        return
    fixed = [key for key in changed if key in _DECISIVE]
    remedy = "choose another folder" if fixed else "choose another folder, or extend it (--extend)"
    raise StoreError(f"{folder}: expected the study it holds, got one that differs in {', '.join(changed)}; {remedy}")


def _replace(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _protocols(filesystem: object) -> tuple[str, ...]:
    protocol = getattr(filesystem, "protocol", ())
    return (protocol,) if isinstance(protocol, str) else tuple(protocol)


def _decoded_path(picture: str, codec: str, channel: str) -> str:
    return f"pictures/{_slug(picture)}/{_slug(codec)}_{_slug(channel)}.png"


def _worst_stem(codec: str, channel: str) -> str:
    return f"worst/{_slug(codec)}_{_slug(channel)}_"


def _slug(text: str) -> str:
    """Makes a file name; names that differ only in odd characters are told apart by a short hash."""
    slug = re.sub(r"[^A-Za-z0-9.=-]+", "-", text).strip("-.")[:120]
    return slug if slug == text else f"{slug}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _one_line(error: object) -> str:
    return " ".join(str(error).split())
