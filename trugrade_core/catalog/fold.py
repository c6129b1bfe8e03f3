"""Publishing the catalog: the files' news folded into a private copy, which then takes the old one's place.

Only one process folds at a time (a lock that nobody waits for); readers keep the file they opened. Anything wrong
with the old file (garbage, another schema version) means starting empty from the workspace's files, which are the
truth. Never called from a training loop.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from trugrade_core.catalog import journals, schema
from trugrade_core.catalog.sources import Source, all_sources, job_facts, parquet_of, quoted, run_facts
from trugrade_core.catalog.values import UNFIT, Row, as_row, why
from trugrade_core.errors import CatalogError, TruGradeError
from trugrade_core.runs import LIVE, RunFolder, Status, list_ids
from trugrade_core.tasks import TASKS
from trugrade_core.workspace import Workspace, locked, now, sync_folder

Connection = duckdb.DuckDBPyConnection

ARROW = {
    "VARCHAR": pa.string(),
    "JSON": pa.string(),
    "BIGINT": pa.int64(),
    "DOUBLE": pa.float64(),
    "BOOLEAN": pa.bool_(),
    "TIMESTAMP": pa.timestamp("us"),
}


STAGED = ("version_samples", "version_annotations", "predictions", "eval_objects")
"""Tables that are read from Parquet files."""


class OtherVersion(Exception):
    """The catalog was made by another version of the schema."""


def publish(ws: Workspace, *, wait: bool = False) -> bool:
    """Bring the catalog up to date; False when another process is doing so (and `wait` is False).

    Raises CatalogError when it cannot be written.
    """
    with locked(ws.locks / "catalog", wait=wait) as held:
        if held is None:
            return False
        _publish(ws, fresh=False)
        return True


def rebuild(ws: Workspace) -> None:
    """Make the catalog again from the files, waiting for whoever is publishing."""
    with locked(ws.locks / "catalog"):
        _publish(ws, fresh=True)


def _publish(ws: Workspace, *, fresh: bool) -> None:
    temp = ws.root / ".catalog.tmp"
    try:
        _clean(ws)
        if not fresh and ws.catalog.exists():
            try:
                shutil.copyfile(ws.catalog, temp)
                if not _update(ws, temp, fresh=False):
                    with contextlib.suppress(PermissionError):  # another person's file
                        os.utime(ws.catalog)  # it was looked at now, and nothing is missing
                    return
            except (duckdb.Error, OtherVersion):
                _clean(ws)
                _update(ws, temp, fresh=True)
        else:
            _update(ws, temp, fresh=True)
        _put_in_place(ws, temp)
    except (duckdb.Error, OSError) as e:
        raise CatalogError(
            f"could not be published ({e})",
            where=str(ws.catalog),
            code="catalog.publish",
            what_to_do="Check the disk's free space and that you may write here; then: trugrade catalog rebuild",
        ) from e
    finally:
        _clean(ws)


def _clean(ws: Workspace) -> None:
    """Left-overs of a publisher that was killed."""
    for name in (".catalog.tmp", ".catalog.tmp.wal", ".catalog.tail"):
        (ws.root / name).unlink(missing_ok=True)
    shutil.rmtree(ws.root / ".catalog.spill", ignore_errors=True)


def _put_in_place(ws: Workspace, temp: Path) -> None:
    """Whole on the disk, read-only, and never beside another file's write-ahead log."""
    with temp.open("rb") as f:
        os.fsync(f.fileno())
    temp.chmod(0o444)
    ws.catalog.with_name(ws.catalog.name + ".wal").unlink(missing_ok=True)
    temp.replace(ws.catalog)
    sync_folder(ws.root)


# --- the private copy -------------------------------------------------------------------------------------------


@dataclass
class News:
    """What changed in the workspace since the catalog was made."""

    journals: journals.Journals
    rows: dict[str, list[Row]] = field(default_factory=dict)
    fingerprints: dict[str, str] = field(default_factory=dict)
    gone: list[str] = field(default_factory=list)
    owners: set[str] = field(default_factory=set)  # runs and jobs whose own row must be made again

    def __bool__(self) -> bool:
        return bool(self.journals or self.fingerprints or self.gone or self.owners)

    def problem(self, source: str, what: str) -> None:
        problems = self.rows.setdefault("problems", [])
        if not any(p["source"] == source and p["what"] == what for p in problems):
            problems.append({"source": source, "what": what, "seen": _utc()})


def _update(ws: Workspace, temp: Path, *, fresh: bool) -> bool:
    """Fold what is new into the file `temp`; whether there was anything."""
    config: dict[str, str | bool | int | float | list[str]] = {
        "threads": 1,
        "memory_limit": "1GB",
        "temp_directory": str(ws.root / ".catalog.spill"),
    }
    con = duckdb.connect(":memory:", config=config)
    try:
        if not fresh:
            temp.chmod(0o644)
        con.execute(f"ATTACH {quoted(temp)} AS catalog (STORAGE_VERSION '{schema.STORAGE}')")
        con.execute("USE catalog")
        if fresh:
            _create(con)
        elif _version(con) != schema.version():
            raise OtherVersion
        news = _news(con, ws)
        if not news and not fresh:
            return False
        _write(con, ws, news)
        con.execute("CHECKPOINT catalog")
        return True
    finally:
        con.close()


def _version(con: Connection) -> str:
    row = con.execute("SELECT schema_version FROM catalog_info").fetchone()
    return str(row[0]) if row else ""


def _create(con: Connection) -> None:
    con.execute("BEGIN")  # one wait for the disk, not one a comment
    for statement in schema.ddl():
        con.execute(statement)
    con.execute("INSERT INTO catalog_info VALUES (?, ?)", [schema.version(), _utc()])
    words = ("category", "kind", "title", "main_metric", "higher_is_better")
    _insert(con, "tasks", [{"task": task.id, **{w: getattr(task, w) for w in words}} for task in TASKS.values()])
    con.execute("COMMIT")


def _utc() -> Any:
    return now().replace(tzinfo=None)


def _insert(con: Connection, table: str, rows: Iterable[Row]) -> None:
    columns = schema.TABLE[table].columns
    arrow = pa.Table.from_pylist(list(rows), schema=pa.schema([(c.name, ARROW[c.type]) for c in columns]))
    con.register("incoming", arrow)
    con.execute(f"INSERT INTO {table} BY NAME SELECT * FROM incoming")  # noqa: S608 (our own names)
    con.unregister("incoming")


# --- looking ----------------------------------------------------------------------------------------------------


def _news(con: Connection, ws: Workspace) -> News:
    journal_rows = con.execute("SELECT path, folded_bytes, tail_sha256 FROM catalog_journals").fetchall()
    known = {path: (size, tail) for path, size, tail in journal_rows}
    news = News(journals.look(ws, known))
    fingerprints = dict(con.execute("SELECT path, fingerprint FROM catalog_sources").fetchall())
    there: set[str] = set()
    for table in STAGED:
        con.execute(f"CREATE TEMP TABLE staged_{table} AS FROM {table} LIMIT 0")
    for source in all_sources(ws):
        fingerprint = source.fingerprint()
        if not fingerprint:
            continue
        there.add(source.path)
        if fingerprints.get(source.path) != fingerprint:
            news.fingerprints[source.path] = fingerprint
            _read(source, news)
            _stage(con, source, news)
    news.gone = sorted(fingerprints.keys() - there)
    changed = [*news.fingerprints, *news.gone, *(j.path for j in news.journals.grown), *news.journals.gone]
    news.owners = {path.split("/")[1] for path in changed if path.startswith(("runs/", "jobs/"))}
    news.owners |= _ended_silently(con, ws, news.owners)
    return news


def _read(source: Source, news: News) -> None:
    """Rows of one file, all or none."""
    try:
        found = {
            table: [as_row(table, {**row, "source": source.path}) for row in rows]
            for table, rows in source.read(source).items()
        }
    except UNFIT as e:
        news.problem(source.path, why(e))
        return
    for table, rows in found.items():
        news.rows.setdefault(table, []).extend(rows)


def _stage(con: Connection, source: Source, news: News) -> None:
    """Table files beside a source, before the transaction: one that is damaged must not end it."""
    for file, table, select in parquet_of(source):
        try:
            con.execute(
                f"INSERT INTO staged_{table} BY NAME SELECT {select}, {quoted(source.path)} AS source"  # noqa: S608
                f" FROM read_parquet({quoted(file)})"
            )
        except duckdb.Error as e:
            news.problem(source.path, f"{file.name} cannot be read ({str(e).splitlines()[0]})")


def _ended_silently(con: Connection, ws: Workspace, touched: set[str]) -> set[str]:
    """Runs and jobs that the catalog has as live and that have crashed without a word."""
    live = con.execute(
        "SELECT run_id, state, 'runs' FROM runs WHERE state IN ('queued', 'running')"
        " UNION ALL SELECT job_id, state, 'jobs' FROM jobs WHERE state IN ('queued', 'running')"
    ).fetchall()
    return {
        id for id, state, where in live if id not in touched and _status(RunFolder(ws.root / where / id)).state != state
    }


def _status(folder: RunFolder) -> Status:
    try:
        return folder.status()
    except (KeyError, TypeError, ValueError, TruGradeError) as e:
        return Status("crashed", f"its last state is not readable ({type(e).__name__}: {e})")


# --- writing ----------------------------------------------------------------------------------------------------


def _write(con: Connection, ws: Workspace, news: News) -> None:
    """Everything in one transaction: rows, and how far they reach."""
    con.execute("BEGIN")
    outdated = [*news.fingerprints, *news.gone]
    for table in schema.TABLES:
        if table.has_source:
            con.execute(f"DELETE FROM {table.name} WHERE source IN (SELECT unnest(?::VARCHAR[]))", [outdated])  # noqa: S608
    con.execute("DELETE FROM catalog_sources WHERE path IN (SELECT unnest(?::VARCHAR[]))", [outdated])
    journals.forget(con, news.journals.gone)
    journals.fold(con, news.journals.grown, ws.root / ".catalog.tail")
    for name in STAGED:
        con.execute(f"INSERT INTO {name} FROM staged_{name}")
    _make_owners(con, ws, news)
    for table_name, rows in news.rows.items():
        _insert(con, table_name, rows)
    pairs = [{"path": path, "fingerprint": fingerprint} for path, fingerprint in news.fingerprints.items()]
    _insert(con, "catalog_sources", pairs)
    con.execute("UPDATE catalog_info SET published = ?", [_utc()])
    con.execute("COMMIT")


# --- rows of runs and jobs ---------------------------------------------------------------------------------------

ABOUT = """
SELECT e.run_id, min(logged) FILTER (state = 'running'), max(logged) FILTER (kind = 'state'), max(attempt),
  arg_max(content -> '$.values', position) FILTER (kind = 'result')
FROM run_events AS e WHERE run_id IN (SELECT unnest(?::VARCHAR[])) GROUP BY run_id
"""
REACHED = """
SELECT run_id, max(step), max(epoch), max(logged), max(attempt)
FROM metrics_all WHERE run_id IN (SELECT unnest(?::VARCHAR[])) GROUP BY run_id
"""
BEST = """
SELECT m.run_id, arg_max(m.value, sign * m.value), arg_max(m.step, sign * m.value)
FROM metrics AS m JOIN (SELECT unnest(?::VARCHAR[]) AS run_id, unnest(?::VARCHAR[]) AS name, unnest(?::BIGINT[]) AS sign) AS w
  ON w.run_id = m.run_id AND w.name = m.name
WHERE isfinite(m.value) GROUP BY m.run_id
"""


def _make_owners(con: Connection, ws: Workspace, news: News) -> None:
    """The rows of runs and jobs whose files, events or state have changed."""
    ids = sorted(news.owners)
    con.execute("DELETE FROM runs WHERE run_id IN (SELECT unnest(?::VARCHAR[]))", [ids])
    con.execute("DELETE FROM jobs WHERE job_id IN (SELECT unnest(?::VARCHAR[]))", [ids])
    con.execute(
        "DELETE FROM problems WHERE source LIKE '%/job.json' AND split_part(source, '/', 2) IN (SELECT unnest(?::VARCHAR[]))",
        [ids],
    )
    runs = [RunFolder(path) for path in list_ids(ws.runs) if path.name in news.owners]
    jobs = [RunFolder(path) for path in list_ids(ws.jobs) if path.name in news.owners]
    about = {row[0]: row[1:] for row in con.execute(ABOUT, [ids]).fetchall()}
    reached = {row[0]: row[1:] for row in con.execute(REACHED, [ids]).fetchall()}
    run_rows = [_owner_row(folder, "runs", about, reached, news) for folder in runs]
    _add_best(con, run_rows)
    _insert(con, "runs", run_rows)
    _insert(con, "jobs", [_owner_row(folder, "jobs", about, reached, news) for folder in jobs])


def _owner_row(folder: RunFolder, table: str, about: Row, reached: Row, news: News) -> Row:
    """A damaged folder still has a row: its state, and why there is no more."""
    status = _status(folder)
    started, ended, attempts, result = about.get(folder.id, (None, None, 1, None))
    step, epoch, last, last_attempt = reached.get(folder.id, (None, None, None, 1))
    live = status.state in LIVE
    until = (last or started) if live or status.state == "crashed" else ended
    row: Row = {
        "state": status.state,
        "reason": status.reason,
        "failure": status.failure or None,
        "what_to_do": status.what_to_do or None,
        "started": started,
        "ended": None if live else max(filter(None, (until, ended)), default=None),
        "duration_seconds": (until - started).total_seconds() if started and until else None,
        "attempts": max(attempts, last_attempt),
        "last_step": step,
        "last_epoch": epoch,
    }
    row |= {"run_id": folder.id, "job_id": folder.id}
    try:
        facts = (run_facts if table == "runs" else job_facts)(folder.path)
        return as_row(table, {**facts, **row, "result": json.loads(result) if result else None})
    except UNFIT as e:
        news.problem(f"{table}/{folder.id}/job.json", why(e))
        # What the journal itself says may be what does not fit.
        return as_row(table, {**row, "reason": f"damaged folder: {why(e)}", "failure": None, "what_to_do": None})


def _add_best(con: Connection, rows: list[Row]) -> None:
    """The best validation value of each run's main metric so far."""
    judged = [row for row in rows if row["task"] in TASKS]
    for row in judged:
        task = TASKS[row["task"]]
        row |= {"main_metric": f"val/{task.main_metric}", "higher_is_better": task.higher_is_better}
    words = [row["run_id"] for row in judged], [row["main_metric"] for row in judged]
    signs = [1 if row["higher_is_better"] else -1 for row in judged]
    best = {row[0]: row[1:] for row in con.execute(BEST, [*words, signs]).fetchall()}
    for row in judged:
        row["best_value"], row["best_step"] = best.get(row["run_id"], (None, None))
