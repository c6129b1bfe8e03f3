"""The SQL page's one function: what it lets through, what it refuses and how it says so."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from tests.catalog.workspaces import fill, make_run
from trugrade_core.catalog import query
from trugrade_core.catalog.fold import publish
from trugrade_core.catalog.query import EXAMPLES, age_seconds, analyst_line, export_sql, notebook_lines, run_sql
from trugrade_core.errors import CatalogError, UsageError
from trugrade_core.workspace import Workspace

CLI = Path(sys.executable).with_name("duckdb")


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    ws = Workspace.open(tmp_path_factory.mktemp("full") / "workspace")
    fill(ws)
    publish(ws)
    yield ws


@pytest.mark.parametrize(("title", "sql"), EXAMPLES, ids=[title for title, _ in EXAMPLES])
def test_examples_answer(full: Workspace, title: str, sql: str) -> None:
    found = run_sql(full, sql)
    assert found.columns and not found.truncated
    assert found.rows or title in ("Files that could not be read", "What differs between runs of a task")


@pytest.mark.parametrize(
    "sql", ["SHOW TABLES", "DESCRIBE runs", "SUMMARIZE metrics", "FROM runs", "EXPLAIN SELECT 1", "VALUES (1)"]
)
def test_what_reads_is_let_through(full: Workspace, sql: str) -> None:
    assert run_sql(full, sql).rows


@pytest.mark.parametrize(
    ("sql", "word"),
    [
        ("DELETE FROM runs", "DELETE"),
        ("INSERT INTO tasks SELECT * FROM tasks", "INSERT"),
        ("UPDATE runs SET title = 'x'", "UPDATE"),
        ("DROP TABLE runs", "DROP"),
        ("CREATE TABLE x AS SELECT 1", "CREATE"),
        ("CREATE TEMP TABLE x AS SELECT 1", "CREATE"),
        ("SELECT 1; DROP TABLE runs", "2 statements"),
        ("COPY runs TO '/tmp/stolen.csv'", "COPY"),
        ("EXPORT DATABASE '/tmp/stolen'", "EXPORT"),
        ("ATTACH '/tmp/other.duckdb'", "ATTACH"),
        ("DETACH catalog", "DETACH"),
        ("INSTALL httpfs", "LOAD"),
        ("LOAD httpfs", "LOAD"),
        ("SET threads = 8", "SET"),
        ("SET enable_external_access = true", "SET"),
        ("RESET lock_configuration", "SET"),
        ("PRAGMA database_list", "PRAGMA"),
        ("CALL pragma_version()", "CALL"),
        ("CHECKPOINT", "not a SELECT"),
        ("BEGIN", "TRANSACTION"),
        ("PREPARE x AS SELECT 1", "PREPARE"),
        ("", "no statement"),
        ("-- only a comment", "no statement"),
        ("SELEC 1", "syntax error"),
        ("SELECT nothing FROM runs", "nothing"),
        ("SELECT * FROM nowhere", "nowhere"),
        ("SELECT CAST('x' AS BIGINT)", "Could not convert"),
    ],
)
def test_what_does_not_read_is_refused_in_words(full: Workspace, sql: str, word: str) -> None:
    before = full.catalog.read_bytes()
    with pytest.raises(CatalogError, match=word) as e:
        run_sql(full, sql)
    assert e.value.what_to_do and e.value.code in ("catalog.refused", "catalog.sql")
    assert full.catalog.read_bytes() == before


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM read_blob('/proc/self/environ')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM 'secrets.toml'",
        "SELECT * FROM glob('/*')",
        "SELECT * FROM read_json('{root}/runs/*/job.json')",
        "SELECT * FROM read_parquet('{root}/datasets/cards/versions/v1/samples.parquet')",
        "SELECT * FROM read_csv('https://example.org/x.csv')",
        "SELECT getenv('HOME')",
        "EXPLAIN ANALYZE DELETE FROM runs",
    ],
)
def test_files_and_the_network_are_out_of_reach(full: Workspace, sql: str) -> None:
    with pytest.raises(CatalogError):
        run_sql(full, sql.format(root=full.root))
    assert run_sql(full, "SELECT count(*) FROM runs").rows == [(1,)]


@pytest.mark.parametrize(
    "sql",
    [
        "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r) SELECT max(n) FROM r",
        "SELECT count(*) FROM range(10000000) a, range(10000000) b",
        "SELECT * FROM range(100000000) a, range(10000000) b WHERE a.range + b.range < 0",
    ],
)
def test_a_query_that_never_ends_is_stopped(full: Workspace, sql: str) -> None:
    with pytest.raises(CatalogError, match="longer than"):
        run_sql(full, sql, seconds=0.3)
    assert run_sql(full, "SELECT 1").rows == [(1,)]


def test_a_query_that_eats_memory_is_stopped(full: Workspace) -> None:
    with pytest.raises(CatalogError, match="512MB"):
        run_sql(full, "SELECT length(string_agg(repeat('x', 1000), '')) FROM range(10000000)", seconds=60)


def test_rows_are_limited_and_said_to_be(full: Workspace) -> None:
    found = run_sql(full, "SELECT * FROM range(100)", limit=7)
    assert [row[0] for row in found.rows] == list(range(7)) and found.truncated
    assert not run_sql(full, "SELECT * FROM range(7)", limit=7).truncated


def test_each_query_sees_the_newest_file(ws: Workspace) -> None:
    """Also while another thread of the same process holds an older one open."""
    make_run(ws)
    publish(ws)
    held = query.connect(ws)
    make_run(ws)
    publish(ws)
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(run_sql(ws, "SELECT count(*) FROM runs").rows[0][0]))
    thread.start()
    thread.join()
    assert found == [2]
    assert held.execute("SELECT count(*) FROM runs").fetchone() == (1,)
    held.close()


def test_asking_an_empty_workspace_makes_the_catalog(ws: Workspace) -> None:
    assert age_seconds(ws) is None
    assert run_sql(ws, "SELECT count(*) FROM runs").rows == [(0,)]
    age = age_seconds(ws)
    assert age is not None and age >= 0


def test_a_catalog_that_cannot_be_made_is_said(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(ws)
    monkeypatch.setattr(query, "_attach", lambda ws: (_ for _ in ()).throw(duckdb.IOException("broken")))
    with pytest.raises(CatalogError, match="cannot be opened"):
        run_sql(ws, "SELECT 1")


# --- taking it along --------------------------------------------------------------------------------------------


def test_export_to_csv_and_parquet(full: Workspace, tmp_path: Path) -> None:
    sql = "SELECT run_id, step, name, value, logged FROM metrics ORDER BY name, step"
    expected = run_sql(full, sql)
    assert (
        export_sql(full, sql, tmp_path / "m.csv") == export_sql(full, sql, tmp_path / "m.parquet") == len(expected.rows)
    )
    with (tmp_path / "m.csv").open(newline="") as f:
        read = list(csv.reader(f))
    assert (
        read[0] == expected.columns and read[1][1] == str(expected.rows[0][1]) and len(read) == 1 + len(expected.rows)
    )
    table = pq.read_table(tmp_path / "m.parquet")
    assert [tuple(row.values()) for row in table.to_pylist()] == expected.rows
    assert export_sql(full, "FROM runs", tmp_path / "runs.parquet") == 1
    assert export_sql(full, "SELECT * FROM runs WHERE false", tmp_path / "none.parquet") == 0


def test_an_export_that_fails_leaves_nothing(full: Workspace, tmp_path: Path) -> None:
    with pytest.raises(CatalogError):
        export_sql(full, "DROP TABLE runs", tmp_path / "x.csv")
    with pytest.raises(CatalogError, match="longer than"):
        export_sql(full, "SELECT * FROM range(1000000000) a, range(1000000) b", tmp_path / "x.csv", seconds=0.2)
    with pytest.raises(CatalogError, match="cannot be written"):
        export_sql(full, "SELECT 1", tmp_path / "no folder" / "x.csv")
    with pytest.raises(UsageError, match="neither"):
        export_sql(full, "SELECT 1", tmp_path / "x.xlsx")
    assert list(tmp_path.iterdir()) == []


def test_what_an_analyst_types_works(full: Workspace) -> None:
    if not CLI.exists():
        pytest.skip("duckdb-cli is not installed beside this Python")
    path = f"{CLI.parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        analyst_line(full) + " -csv -c 'SELECT state FROM runs'",
        shell=True, capture_output=True, text=True, env={**os.environ, "PATH": path},
    )  # fmt: skip
    assert done.stdout.split() == ["state", "finished"], done.stderr


def test_what_a_notebook_types_works(full: Workspace) -> None:
    lines = notebook_lines(full)
    assert len(lines.splitlines()) == 3
    done = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True)
    assert done.returncode == 0 and "border_detection.dual_class" in done.stdout, done.stderr
