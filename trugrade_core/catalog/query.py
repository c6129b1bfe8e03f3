"""Asking the catalog: one SELECT at a time, read-only, with no way to files, settings or the network.

Each query opens the file and closes it again, so that it sees the newest one.
"""

from __future__ import annotations

import contextlib
import csv
import os
import secrets
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from trugrade_core.catalog.examples import EXAMPLES
from trugrade_core.catalog.fold import publish, rebuild
from trugrade_core.catalog.sources import quoted
from trugrade_core.errors import CatalogError, UsageError
from trugrade_core.workspace import Workspace

__all__ = [
    "EXAMPLES",
    "Table",
    "age_seconds",
    "analyst_line",
    "connect",
    "dictionary",
    "export_sql",
    "notebook_lines",
    "problems",
    "run_sql",
]

MEMORY = "512MB"
BATCH_ROWS = 10_000

LOCKED: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "memory_limit": MEMORY,
    "threads": 1,
    "temp_directory": "",
    "max_temp_directory_size": "0B",
}


@dataclass(frozen=True)
class Table:
    """A result. `truncated`: there were more rows than the limit."""

    columns: list[str]
    rows: list[tuple[Any, ...]]
    truncated: bool


# --- opening ----------------------------------------------------------------------------------------------------


def connect(ws: Workspace) -> duckdb.DuckDBPyConnection:
    """The published catalog, read-only, with a configuration that cannot be changed. Close it soon.

    A catalog that is not there yet is made; one that cannot be opened (garbage) is made again. It is attached to an
    in-memory database: connecting to the file itself would hand out an older snapshot that another thread has open.
    """
    if not ws.catalog.exists():
        publish(ws, wait=True)
    try:
        return _attach(ws)
    except duckdb.Error:
        rebuild(ws)
    try:
        return _attach(ws)
    except duckdb.Error as e:
        raise CatalogError(
            f"cannot be opened ({_first_line(e)})", where=str(ws.catalog), what_to_do="Run: trugrade catalog rebuild"
        ) from e


def _attach(ws: Workspace) -> duckdb.DuckDBPyConnection:
    con = duckdb.connect(":memory:", config=LOCKED)
    try:
        con.execute(f"ATTACH {quoted(ws.catalog)} AS catalog (READ_ONLY)")
        con.execute("USE catalog; SET enable_external_access = false; SET lock_configuration = true")
        con.execute("SELECT schema_version FROM catalog_info").fetchall()
    except BaseException:
        con.close()
        raise
    return con


# --- asking -----------------------------------------------------------------------------------------------------


def run_sql(ws: Workspace, sql: str, *, limit: int = 10_000, seconds: float = 10) -> Table:
    """At most `limit` rows of one SELECT (or EXPLAIN), within `seconds` and 512 MB.

    Raises CatalogError saying what was refused and why: another kind of statement, a mistake in the SQL, a limit.
    """
    with _running(ws, sql, seconds) as (con, statement):
        con.execute(statement)
        names = [column[0] for column in con.description or []]
        rows = con.fetchmany(limit + 1)
    return Table(names, rows[:limit], len(rows) > limit)


def export_sql(ws: Workspace, sql: str, out: Path, *, seconds: float = 60) -> int:
    """Write all rows of one SELECT to a .csv or .parquet file; returns how many. The file is whole or not there."""
    if out.suffix not in (".csv", ".parquet"):
        raise UsageError(f"'{out.name}' is neither .csv nor .parquet", what_to_do="Give the file one of these endings.")
    temp = out.with_name(f".{out.name}.{os.getpid()}-{secrets.token_hex(3)}.tmp")
    try:
        with _running(ws, sql, seconds) as (con, statement):
            count = (_write_csv if out.suffix == ".csv" else _write_parquet)(con, statement, temp)
        temp.replace(out)
    except OSError as e:
        raise CatalogError(
            f"cannot be written ({e.strerror})", where=str(out), what_to_do="Choose a folder you may write to."
        ) from e
    finally:
        temp.unlink(missing_ok=True)
    return count


def _write_csv(con: duckdb.DuckDBPyConnection, statement: duckdb.Statement, path: Path) -> int:
    con.execute(statement)
    count = 0
    with path.open("w", newline="", encoding="utf-8") as f:
        writer = csv.writer(f)
        writer.writerow([column[0] for column in con.description or []])
        while rows := con.fetchmany(BATCH_ROWS):
            writer.writerows(rows)
            count += len(rows)
    return count


def _write_parquet(con: duckdb.DuckDBPyConnection, statement: duckdb.Statement, path: Path) -> int:
    import pyarrow.parquet as pq

    batches = con.sql(statement).to_arrow_reader(BATCH_ROWS)
    count = 0
    with pq.ParquetWriter(path, batches.schema, compression="zstd") as writer:
        for batch in batches:
            writer.write_batch(batch)
            count += batch.num_rows
    return count


@contextlib.contextmanager
def _running(ws: Workspace, sql: str, seconds: float) -> Iterator[tuple[duckdb.DuckDBPyConnection, duckdb.Statement]]:
    """A connection and the checked statement to run on it; interrupted when its time is up."""
    con = connect(ws)
    timer = threading.Timer(seconds, con.interrupt)
    try:
        statement = _one_select(sql)
        timer.start()
        yield con, statement
    except duckdb.InterruptException as e:
        raise CatalogError(
            f"the query took longer than {seconds:g} s and was stopped",
            code="catalog.time",
            what_to_do="Ask for less, or use DuckDB's own command line: trugrade catalog shell",
        ) from e
    except duckdb.OutOfMemoryException as e:
        raise CatalogError(
            f"the query needs more than {MEMORY} of memory and was stopped",
            code="catalog.memory",
            what_to_do="Ask for fewer rows or columns, or use DuckDB's own command line: trugrade catalog shell",
        ) from e
    except duckdb.PermissionException as e:
        raise CatalogError(
            f"refused: a query sees the catalog's tables and nothing else ({_first_line(e)})",
            code="catalog.refused",
            what_to_do="The tables are listed under: trugrade catalog query 'SHOW TABLES'",
        ) from e
    except duckdb.Error as e:
        raise CatalogError(str(e), code="catalog.sql", what_to_do="Correct the query.") from e
    finally:
        timer.cancel()
        con.close()


def _one_select(sql: str) -> duckdb.Statement:
    statements = duckdb.extract_statements(sql)
    if not statements:
        raise CatalogError("there is no statement in it", code="catalog.sql", what_to_do="Write one SELECT.")
    if len(statements) > 1:
        raise CatalogError(
            f"refused: {len(statements)} statements, and one is allowed",
            code="catalog.refused",
            what_to_do="Write one SELECT.",
        )
    kind = statements[0].type
    if kind not in (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN):
        raise CatalogError(
            f"refused: {kind.name} is not a SELECT, and the catalog is only for reading",
            code="catalog.refused",
            what_to_do="Write a SELECT; what the catalog shows is changed through the lab itself.",
        )
    return statements[0]


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]


# --- about the catalog ------------------------------------------------------------------------------------------


def age_seconds(ws: Workspace) -> float | None:
    """How long ago the catalog was last brought up to date; None when there is none."""
    try:
        return max(0.0, time.time() - ws.catalog.stat().st_mtime)
    except FileNotFoundError:
        return None


def dictionary(ws: Workspace) -> list[dict[str, Any]]:
    """Every table and view from the catalog's own comments: `{"table", "kind", "comment", "rows", "columns": [{"name",
    "type", "comment"}]}`; `rows` is null for views."""
    with contextlib.closing(connect(ws)) as con:
        here = "database_name = 'catalog' AND NOT internal"
        tables = con.execute(
            f"SELECT table_name, 'table', comment, estimated_size FROM duckdb_tables() WHERE {here}"  # noqa: S608
            f" UNION ALL SELECT view_name, 'view', comment, NULL FROM duckdb_views() WHERE {here} ORDER BY 1"
        ).fetchall()
        rows = con.execute(
            f"SELECT table_name, column_name, data_type, comment FROM duckdb_columns() WHERE {here}"  # noqa: S608
            " ORDER BY table_name, column_index"
        ).fetchall()
    columns: dict[str, list[dict[str, Any]]] = {}
    for table, name, kind, comment in rows:
        columns.setdefault(table, []).append({"name": name, "type": kind, "comment": comment})
    keys = ("table", "kind", "comment", "rows")
    return [dict(zip(keys, row, strict=True)) | {"columns": columns.get(row[0], [])} for row in tables]


def problems(ws: Workspace) -> list[dict[str, Any]]:
    """Files that are missing from the catalog, and why: `{"source", "what", "seen"}`."""
    found = run_sql(ws, "SELECT source, what, seen FROM problems ORDER BY source, what")
    return [dict(zip(found.columns, row, strict=True)) for row in found.rows]


def analyst_line(ws: Workspace) -> str:
    """What an analyst types to open the catalog in DuckDB's command line, at any moment."""
    import shlex

    return f"duckdb -readonly {shlex.quote(str(ws.catalog))}"


def notebook_lines(ws: Workspace) -> str:
    """The same in a notebook, as three lines of Python."""
    return (
        "import duckdb\n"  # noqa: S608
        f"catalog = duckdb.connect({str(ws.catalog)!r}, read_only=True)\n"
        'catalog.sql("SELECT run_id, task, state, best_value FROM runs ORDER BY created DESC").show()'
    )
