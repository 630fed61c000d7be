"""SQL over a study: DuckDB views of its rows, points, pictures, codecs and channels.

``rows`` reads the part-files as far as a query needs them, and has what :meth:`Store.table` has, in no order of its
own. DuckDB sees the part-files through a file system that only reads, and no other files; it can neither write any nor
load extensions.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from io import SEEK_CUR, SEEK_SET
from threading import Lock, get_ident
from typing import IO, TYPE_CHECKING, Any

from flipproof.errors import SpecError, StoreError
from flipproof.study.extras import needs_extra
from flipproof.study.record import Record
from flipproof.study.series import bit_error_rate
from flipproof.study.statistics.summary import summarise
from flipproof.study.statistics.table import points_table
from flipproof.study.store.row import ERROR, to_table
from flipproof.study.store.store import Store

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

__all__ = ["VIEWS", "connect", "sql"]

VIEWS = ("rows", "points", "pictures", "codecs", "channels")
"""What a query can name."""


def connect(store: Store) -> duckdb.DuckDBPyConnection:
    """Opens a study for queries; close it, or use it in a ``with`` block.

    ``rows`` has one row for each cell of the study that was tried, with the columns of
    :class:`~flipproof.study.store.row.Row` and of the scores. ``points`` has what
    :func:`~flipproof.study.statistics.summary.summarise` makes of them, see
    :func:`~flipproof.study.statistics.table.points_table`. ``pictures``, ``codecs`` and ``channels`` say what the study
    is; the last has the bit error rate of binary symmetric channels, and the most trials.

    Raises:
        StoreError: There is no study, or its files are damaged.
        MissingExtraError: DuckDB is not installed.
    """
    record = store.record()
    points = points_table(summarise(store.table(), record), record.measured_metrics)
    with needs_extra():
        import duckdb
    connection = duckdb.connect(config=_CLOSED)
    try:
        for name, table in (_described(record) | {"points": points}).items():
            connection.register("given", table)
            connection.execute(f"CREATE TABLE {name} AS FROM given")
            connection.unregister("given")
        _view_rows(connection, store, record)
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
    except duckdb.Error as error:
        connection.close()
        raise StoreError(f"{store.folder}: expected rows of a study ({_one_line(error)})") from error
    return connection


def sql(store: Store, query: str) -> pa.Table:
    """Answers one ``SELECT``; ``DESCRIBE``, ``SHOW TABLES`` and ``SUMMARIZE`` count as such.

    Arguments:
        store: A study.
        query: In DuckDB's SQL, over the views of :func:`connect`.

    Raises:
        SpecError: The query is wrong, or wants to do more than read the study.
        StoreError: There is no study, or its files are damaged.
        MissingExtraError: DuckDB is not installed.
    """
    with needs_extra():
        import duckdb
    with connect(store) as connection:
        try:
            statements = connection.extract_statements(query)
            if [statement.type for statement in statements] != [duckdb.StatementType.SELECT]:
                raise SpecError(f"expected one SELECT over {', '.join(VIEWS)}, got {query!r}")
            table: pa.Table = connection.sql(query).to_arrow_table()
        except duckdb.Error as error:
            raise SpecError(f"query: {_one_line(error)}") from error
    return table


def _described(record: Record) -> dict[str, Any]:
    """Returns what a study is, as tables; their columns are there when they have no row."""
    with needs_extra():
        import pyarrow as pa
    texts = {"pictures": ("dataset", "name", "sha256"), "codecs": ("spelling", "name", "family", "weights", "skipped")}
    pictures = {name: [getattr(each, name) for each in record.pictures] for name in texts["pictures"]}
    codecs = {name: [getattr(each, name) for each in record.codecs] for name in texts["codecs"]}
    return {
        "pictures": pa.table(
            {name: pa.array(values, pa.string()) for name, values in pictures.items()}
            | {name: pa.array([getattr(each, name) for each in record.pictures], pa.int64()) for name in _SIDES}
        ),
        "codecs": pa.table(
            {name: pa.array(values, pa.string()) for name, values in codecs.items()}
            | {
                "asked_bpp": pa.array([each.asked_bpp for each in record.codecs], pa.float64()),
                "config": pa.array([json.dumps(each.config) for each in record.codecs], pa.string()),
            }
        ),
        "channels": pa.table(
            {
                "channel": pa.array(record.channels, pa.string()),
                "ber": pa.array(map(bit_error_rate, record.channels), pa.float64()),
                "trials": pa.array(map(record.plan.trials_of, record.channels), pa.int64()),
            }
        ),
    }


_SIDES = ("height", "width")

_CLOSED: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "python_enable_replacements": False,
}


def _view_rows(connection: duckdb.DuckDBPyConnection, store: Store, record: Record) -> None:
    """Makes ``rows`` of the part-files: of equal keys the one without an error, then the latest, as in the store."""
    parts = {f"part-{place}.parquet": path for place, path in enumerate(store.parts())}
    if not parts:
        connection.register("given", to_table([], [metric.name for metric in record.measured_metrics]))
        connection.execute("CREATE TABLE rows AS FROM given")
        connection.unregister("given")
        return
    connection.register_filesystem(_reader(store, parts))
    urls = [f"results://{name}" for name in parts]
    connection.execute(f"SET allowed_paths = {urls!r}")
    connection.execute(f"""
        CREATE VIEW rows AS SELECT measured.* FROM read_parquet({urls!r}, union_by_name = true) AS measured
        SEMI JOIN pictures ON measured.picture_sha256 = pictures.sha256
        SEMI JOIN codecs ON measured.codec = codecs.spelling AND measured.weights = codecs.weights
        SEMI JOIN channels ON measured.channel = channels.channel AND measured.trial < channels.trials
        WHERE seed = {record.plan.seed}
        QUALIFY row_number() OVER (PARTITION BY key ORDER BY status = '{ERROR}', created DESC) = 1
    """)


class _Shared:
    """A file that threads read at the same time: each has a place of its own.

    DuckDB opens a file once for all its threads, each of which sets the place and then reads.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._lock = file, Lock()
        self._places: dict[int, int] = {}

    def seek(self, offset: int, whence: int = SEEK_SET) -> int:
        with self._lock:
            start = {SEEK_SET: 0, SEEK_CUR: self._place()}.get(whence)
            place = self._file.seek(0, whence) + offset if start is None else start + offset
            self._places[get_ident()] = place
            return place

    def tell(self) -> int:
        return self._place()

    def read(self, count: int = -1) -> bytes:
        with self._lock:
            self._file.seek(self._place())
            data = self._file.read(count)
            self._places[get_ident()] = self._place() + len(data)
            return data

    def close(self) -> None:
        self._file.close()

    def _place(self) -> int:
        return self._places.get(get_ident(), 0)


def _reader(store: Store, parts: Mapping[str, str]) -> Any:  # noqa: ANN401 (of fsspec, which has no types)
    """Returns a file system that has nothing but the part-files, under short names, and cannot write."""
    with needs_extra():
        from fsspec import AbstractFileSystem

    class Parts(AbstractFileSystem):  # type: ignore[misc]
        protocol = "results"
        cachable = False

        def _open(self, path: str, mode: str = "rb", **_: object) -> object:
            if mode != "rb" or path not in parts:
                raise PermissionError(f"expected to read a part of the study, got {path} for {mode}")
            return _Shared(store.filesystem.open(parts[path], "rb"))

        def info(self, path: str, **_: object) -> dict[str, object]:
            if (name := self._strip_protocol(path)) not in parts:
                raise FileNotFoundError(path)
            return {"name": name, "type": "file", "size": store.filesystem.size(parts[name])}

        def ls(self, path: str, detail: bool = True, **_: object) -> list[Any]:
            names = [name for name in parts if self._strip_protocol(path) in ("", name)]
            return [self.info(name) for name in names] if detail else names

        def modified(self, path: str) -> datetime:
            """Part-files never change."""
            return datetime.fromtimestamp(0, tz=UTC)

    return Parts()


def _one_line(error: object) -> str:
    """Leaves the place in the query out: it needs lines of its own."""
    return " ".join(str(error).partition("\n\nLINE ")[0].split())
