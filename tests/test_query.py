from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import replace

import duckdb
import pyarrow as pa
import pytest
from pyarrow import parquet
from rich.console import Console

import tables
from flipproof.errors import SpecError, StoreError, UnknownNameError
from flipproof.study.statistics.summary import summarise
from flipproof.study.store import query
from flipproof.study.store.layout import render
from flipproof.study.store.query import VIEWS, connect, sql
from flipproof.study.store.store import Store

STUDY = tables.record(metrics=("psnr", "lpips-alex"), skipped={"webp": "not here"}, codecs=(*tables.CODECS, "webp"))


def saved(folder, study=STUDY, made=None, parts=3):
    store = Store(folder)
    store.begin(study)
    made = tables.rows(study, tables.varied) if made is None else made
    for index in range(parts):
        store.append(made[index::parts])
    return store


@pytest.fixture
def store(tmp_path):
    return saved(tmp_path / "study")


def by_key(table):
    return table.sort_by("key")


def test_rows_are_those_of_the_store(store):
    found = by_key(sql(store, "FROM rows"))
    assert found.equals(by_key(store.table()).select(found.column_names))
    assert len(found) == 18


def test_rows_are_read_through_any_file_system():
    store = saved("memory://query-test/study")
    assert by_key(sql(store, "FROM rows")).equals(by_key(store.table()))


def test_of_equal_keys_the_one_without_an_error_counts_then_the_latest(tmp_path):
    rows = tables.rows(STUDY, tables.varied)
    first = replace(rows[0], flips=1, created=1.0)
    later = replace(rows[0], flips=2, created=2.0)
    failed = replace(rows[1], created=9.0, status="error", scores={})
    store = saved(tmp_path / "study", made=[later, first, failed, rows[1], *rows[2:]], parts=1)
    store.append([replace(rows[0], flips=3, created=3.0, status="error")])
    found = by_key(sql(store, "FROM rows"))
    assert found.equals(by_key(store.table()))
    assert sql(store, f"SELECT flips FROM rows WHERE key = '{rows[0].key}'").to_pylist() == [{"flips": 2}]
    assert sql(store, "SELECT count(*) AS n FROM rows WHERE status = 'error'").to_pylist() == [{"n": 0}]


def test_rows_of_what_the_study_is_no_more_are_not_there(tmp_path):
    rows = tables.rows(STUDY, tables.varied)
    others = [replace(rows[0], key="1" * 32, seed=7), replace(rows[0], key="2" * 32, trial=99)]
    others += [replace(rows[0], key="3" * 32, weights="other"), replace(rows[0], key="4" * 32, picture_sha256="0" * 64)]
    store = saved(tmp_path / "study", made=[*rows, *others])
    assert by_key(sql(store, "FROM rows")).equals(by_key(store.table()))


def test_parts_of_fewer_metrics_have_nulls(tmp_path):
    rows = tables.rows(STUDY, tables.varied)
    bare = [replace(row, scores={"psnr": row.scores["psnr"]}) for row in rows[:5]]
    store = saved(tmp_path / "study", made=rows[5:], parts=1)
    store.append(bare)
    assert sql(store, "SELECT count(psnr) AS p, count(lpips_alex) AS l FROM rows").to_pylist() == [{"p": 18, "l": 13}]


def test_a_study_without_rows_has_all_views(tmp_path):
    store = saved(tmp_path / "study", made=[], parts=0)
    for view in VIEWS:
        assert sql(store, f"DESCRIBE {view}").num_rows > 2
    assert sql(store, "SELECT count(*) AS n, avg(psnr) AS p FROM rows").to_pylist() == [{"n": 0, "p": None}]


def test_points_are_those_of_the_summary(store):
    points = summarise(store.table(), STUDY)
    found = sql(store, "SELECT codec, channel, psnr_all, psnr_all_low FROM points").to_pylist()
    assert found == [
        {
            "codec": point.codec,
            "channel": point.channel,
            "psnr_all": point.all_files["psnr"].mean,
            "psnr_all_low": point.all_files["psnr"].low,
        }
        for point in points
    ]


def test_views_say_what_the_study_is(store):
    assert sql(store, "SELECT name, dataset, width FROM pictures LIMIT 1").to_pylist() == [
        {"name": "a", "dataset": "photos", "width": 512}
    ]
    assert sql(store, "SELECT spelling FROM codecs WHERE skipped <> ''").to_pylist() == [{"spelling": "webp"}]
    assert sql(store, "SELECT * FROM channels ORDER BY ber").to_pylist() == [
        {"channel": "bsc[ber=0]", "ber": 0.0, "trials": 1},
        {"channel": "bsc[ber=0.01]", "ber": 0.01, "trials": 2},
    ]
    joined = "SELECT family, count(*) AS n FROM rows JOIN codecs ON codec = spelling GROUP BY ALL ORDER BY ALL"
    assert sql(store, joined).to_pylist() == [{"family": "bpg", "n": 9}, {"family": "jpeg", "n": 9}]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELECT nope FROM rows", 'query: Binder Error: Referenced column "nope" not found'),
        ("SELEC 1", 'query: Parser Error: syntax error at or near "SELEC"'),
        ("SELECT error(status) FROM rows", "query: Invalid Input Error: ok"),
        ("", "expected one SELECT over rows, points, pictures, codecs, channels, got ''"),
        ("SELECT 1; SELECT 2", "expected one SELECT over"),
    ],
)
def test_a_wrong_query_is_one_line_about_what_is_wrong(store, query, message):
    with pytest.raises(SpecError) as caught:
        sql(store, query)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "query",
    [
        "COPY rows TO '{}'",
        "COPY (SELECT 1) TO '{}' (FORMAT csv, USE_TMP_FILE false)",
        "SELECT 1; COPY rows TO '{}'",
        "EXPLAIN ANALYZE COPY rows TO '{}'",
        "EXPORT DATABASE '{}'",
        "ATTACH '{}' AS other",
        "CREATE TABLE other AS FROM rows",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "PRAGMA database_list",
    ],
)
def test_queries_only_select(store, tmp_path, query):
    target = tmp_path / "written"
    with pytest.raises(SpecError, match="expected one SELECT over"):
        sql(store, query.format(target))
    assert not target.exists()


@pytest.mark.parametrize(
    "query",
    [
        "FROM read_csv('{}')",
        "FROM read_text('{}')",
        "FROM read_blob('{}')",
        "FROM '{}'",
        "FROM glob('{}')",
        "FROM query('COPY rows TO ''{}''')",
        "FROM read_parquet('file://{}')",
        "FROM read_parquet('http://127.0.0.1:1/x.parquet')",
        "FROM store",
    ],
)
def test_queries_read_nothing_but_the_study(store, tmp_path, query):
    secret = tmp_path / "secret.csv"
    secret.write_text("a,b\n1,2\n")
    with pytest.raises(SpecError, match="query: "):
        sql(store, query.format(secret))


@pytest.mark.parametrize(
    "query",
    [
        "COPY (SELECT 1) TO 'results://part-0.parquet'",
        "COPY (SELECT 1) TO 'results://part-0.parquet' (FORMAT csv, USE_TMP_FILE false)",
        "COPY (SELECT 1) TO '{}' (FORMAT csv, USE_TMP_FILE false)",
        "FROM read_csv('{}')",
        "ATTACH '{}'",
        "SET allowed_directories = ['/']",
        "SET lock_configuration = false",
    ],
)
def test_the_connection_itself_cannot_write_files_or_read_others(store, query):
    part = store.parts()[0]
    before = store.filesystem.cat_file(part)
    with connect(store) as connection, pytest.raises(duckdb.Error):
        connection.execute(query.format(part))
    assert store.filesystem.cat_file(part) == before
    assert len(store.table()) == 18


def test_a_folder_without_a_study_and_damaged_parts_are_told(tmp_path):
    with pytest.raises(StoreError, match=r"expected a study, got no study\.json"):
        sql(Store(tmp_path), "FROM rows")
    store = saved(tmp_path / "study")
    (tmp_path / "study" / "rows" / "part-broken.parquet").write_bytes(b"PAR1 but not really")
    with pytest.raises(StoreError, match="expected rows of a study"):
        sql(store, "FROM rows")


ANSWER = pa.table({"codec": ["jpeg[bpp=0.5]", None], "psnr": [math.inf, 24.123456789], "n": [1, 2]})


def printed(table, width=200):
    console = Console(width=width, file=io.StringIO())
    console.print(render(table))
    return console.file.getvalue()


def test_answers_are_laid_out_for_a_terminal():
    text = printed(ANSWER)
    assert "jpeg[bpp=0.5]" in text
    assert "24.1235" in text
    wide = pa.table({f"column{place}": [place, place + 1] for place in range(40)})
    text = printed(wide)
    assert text.count("column39") == 2
    assert "row 2" in text
    assert "no rows, 40 columns" in printed(wide.slice(0, 0))


@pytest.mark.parametrize("columns", [2, 20])
def test_nothing_is_cut_off_in_a_narrow_terminal(columns):
    spelling = "tracks[bpp=0.1,protect=none,prior=small,steps=30]" * 3
    table = pa.table({f"c{place}": [spelling] for place in range(columns)})
    letters = "".join(part for part in printed(table, 60) if part.isascii() and not part.isspace())
    assert letters.count("[") == letters.count("]") == 3 * columns
    assert "…" not in printed(table, 60)


def test_answers_as_csv_and_json_are_read_back():
    lines = list(csv.reader(io.StringIO(render(ANSWER, "csv"))))
    assert lines == [["codec", "psnr", "n"], ["jpeg[bpp=0.5]", "inf", "1"], ["", "24.123456789", "2"]]
    assert json.loads(render(ANSWER, "json")) == [
        {"codec": "jpeg[bpp=0.5]", "psnr": "inf", "n": 1},
        {"codec": None, "psnr": 24.123456789, "n": 2},
    ]
    nested = pa.table({"steps": [[[1, 2]], []]})
    assert render(nested, "csv") == 'steps\n"[[1, 2]]"\n[]\n'
    with pytest.raises(UnknownNameError, match="unknown layout 'xml'; known: table, csv, json"):
        render(ANSWER, "xml")


def test_threads_that_read_one_file_do_not_disturb_each_other(tmp_path, monkeypatch):
    """DuckDB sets the place and reads in two steps; with one place for all, threads would read each other's rows."""
    study = tables.record(pictures=[f"p{place}" for place in range(100)], trials=4)
    store = saved(tmp_path / "study", study, made=[], parts=0)
    rows = tables.table(study, tables.rows(study))
    (tmp_path / "study" / "rows").mkdir()
    parquet.write_table(rows, tmp_path / "study" / "rows" / "part-0.parquet", row_group_size=20)
    monkeypatch.setitem(query._CLOSED, "threads", 8)
    expected = by_key(store.table())
    with connect(store) as connection:
        for _ in range(5):
            assert by_key(connection.sql("FROM rows").to_arrow_table()).equals(expected)
