"""Folding append-only journals into the catalog: each complete line exactly once.

How far a journal has been read (`catalog_journals`) is written in the same transaction as its rows. DuckDB parses
the lines; one that is no JSON (torn by a kill) is skipped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from trugrade_core.runs import list_ids
from trugrade_core.workspace import Workspace

CHUNK_BYTES = 64_000_000
PIECE_BYTES = 8_000_000
TAIL_BYTES = 4096
"""Of what was read of a journal, the end that it is known again by."""

# Raw lines, and the fields that the tables need. `t` outside 1970 to 2200 is no time.
EVENTS = """
CREATE OR REPLACE TEMP TABLE chunk AS
SELECT json, e.run, e.kind, make_timestamp(CAST(e.t * 1e6 AS BIGINT)) AS logged, coalesce(e.attempt, 1) AS attempt,
  e.step, e.epoch, e.batch, e.state, e."values", row_number() OVER () AS n
FROM (
  SELECT json, from_json(json, '{"run": "VARCHAR", "kind": "VARCHAR", "t": "DOUBLE", "attempt": "BIGINT", "step": "BIGINT",
    "epoch": "BIGINT", "batch": "BIGINT", "state": "VARCHAR", "values": "JSON"}') AS e
  FROM read_ndjson_objects(?, ignore_errors = true) WHERE json_type(json) = 'OBJECT')
WHERE e.run IS NOT NULL AND e.kind IS NOT NULL AND e.t BETWEEN 0 AND 7258118400
"""
METRICS = """
INSERT INTO metrics_all
SELECT run, attempt, step, epoch, batch, entry.key, entry.value, logged FROM (
  SELECT *, unnest(map_entries(TRY_CAST("values" AS MAP(VARCHAR, DOUBLE)))) AS entry FROM chunk WHERE kind = 'metrics')
"""
RESOURCES = """
INSERT INTO resources BY NAME
SELECT run AS run_id, logged, attempt, {columns} FROM (
  SELECT *, TRY_CAST("values" AS MAP(VARCHAR, DOUBLE)) AS m FROM chunk WHERE kind = 'resources')
"""
OTHERS = """
INSERT INTO run_events
SELECT run, coalesce(b.position, 0) + row_number() OVER (PARTITION BY run ORDER BY n), logged, attempt, kind, step, epoch,
  state, json
FROM chunk LEFT JOIN (SELECT run_id, max(position) AS position FROM run_events GROUP BY run_id) AS b ON b.run_id = run
WHERE kind NOT IN ('metrics', 'resources', 'progress')
"""
SAMPLES = """
CREATE OR REPLACE TEMP TABLE chunk AS
SELECT $dataset AS dataset, s.id AS sample_id, s.card, s.card_assumed, s.design, s.session, s.side, s.origin, s.status, s.split,
  coalesce(s.dpi, TRY_CAST(json ->> '$.images.main.dpi' AS DOUBLE)) AS dpi,
  TRY_CAST(json ->> '$.images.main.width' AS BIGINT) AS width_px, TRY_CAST(json ->> '$.images.main.height' AS BIGINT) AS height_px,
  TRY_CAST(json ->> '$.images.main.bits' AS BIGINT) AS bits, json ->> '$.images.main.sha256' AS image_sha256,
  TRY_CAST(json ->> '$.images.main.bytes' AS BIGINT) AS image_bytes, s.images, s.sources AS files,
  $base + row_number() OVER () AS position
FROM (
  SELECT json, from_json(json, '{"id": "VARCHAR", "card": "VARCHAR", "card_assumed": "BOOLEAN", "design": "VARCHAR",
    "session": "VARCHAR", "side": "VARCHAR", "origin": "VARCHAR", "status": "VARCHAR", "split": "VARCHAR", "dpi": "DOUBLE",
    "images": "JSON", "sources": "JSON"}') AS s
  FROM read_ndjson_objects($tail, ignore_errors = true) WHERE json_type(json) = 'OBJECT')
WHERE s.id IS NOT NULL
"""
ANNOTATIONS = """
INSERT INTO annotation_log BY NAME
SELECT $dataset AS dataset, $base + row_number() OVER () AS position, a.entry, a.annotation AS annotation_id,
  a.sample AS sample_id, a.layer, a.op, a.replaces, a.label, json ->> '$.value.type' AS type, nullif(a.value, 'null') AS value,
  a.attributes, a.who, CAST(TRY_CAST(a."when" AS TIMESTAMP) AS TIMESTAMP) AS logged, a.tool, a.suggested_by
FROM (
  SELECT json, from_json(json, '{"entry": "VARCHAR", "annotation": "VARCHAR", "sample": "VARCHAR", "layer": "VARCHAR",
    "op": "VARCHAR", "replaces": "VARCHAR", "label": "VARCHAR", "value": "JSON", "attributes": "JSON", "who": "VARCHAR",
    "when": "VARCHAR", "tool": "VARCHAR", "suggested_by": "VARCHAR"}') AS a
  FROM read_ndjson_objects($tail, ignore_errors = true) WHERE json_type(json) = 'OBJECT')
WHERE a.entry IS NOT NULL AND a.annotation IS NOT NULL
"""


@dataclass(frozen=True)
class Journal:
    """`path` in the workspace; `start` is how far the catalog has it, `size` how long it is now."""

    path: str
    file: Path
    start: int
    size: int

    @property
    def owner(self) -> str:
        """The run, job or dataset it belongs to."""
        return self.file.parent.name


@dataclass
class Journals:
    """What is new in the workspace's journals, and those that are gone or were replaced by others."""

    grown: list[Journal] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.grown or self.gone)


def look(ws: Workspace, known: Mapping[str, tuple[int, str]]) -> Journals:
    """Compare the journals on disk with `known` {path: (bytes folded, digest of the last of them)}."""
    found = Journals()
    there: set[str] = set()
    for file in _files(ws):
        path = file.relative_to(ws.root).as_posix()
        start, tail = known.get(path, (0, ""))
        try:
            size = file.stat().st_size
            other = start > 0 and (size < start or _tail(file, start) != tail)
        except OSError:
            continue
        there.add(path)
        if other:  # another journal in its place
            found.gone.append(path)
            start = 0
        if size > start:
            found.grown.append(Journal(path, file, start, size))
    found.gone += sorted(known.keys() - there)
    return found


def _tail(file: Path, end: int) -> str:
    """Digest of the last TAIL_BYTES before byte `end`."""
    with file.open("rb") as f:
        f.seek(max(0, end - TAIL_BYTES))
        return hashlib.sha256(f.read(min(end, TAIL_BYTES))).hexdigest()


def _files(ws: Workspace) -> Iterator[Path]:
    for parent in (ws.runs, ws.jobs):
        for folder in list_ids(parent):
            yield folder / "events.jsonl"
    for facts in ws.datasets.glob("[!.]*/dataset.json"):
        yield facts.parent / "samples.jsonl"
        yield facts.parent / "annotations.jsonl"


# --- in the transaction -----------------------------------------------------------------------------------------


def forget(con: Any, paths: list[str]) -> None:
    """Remove the rows of journals that are gone."""
    for path in paths:
        owner, name = path.split("/")[1:3]
        tables = {
            "events.jsonl": ("metrics_all", "resources", "run_events"),
            "samples.jsonl": ("samples",),
            "annotations.jsonl": ("annotation_log",),
        }[name]
        key = "run_id" if name == "events.jsonl" else "dataset"
        for table in tables:
            con.execute(f"DELETE FROM {table} WHERE {key} = ?", [owner])  # noqa: S608 (our own names)
        con.execute("DELETE FROM catalog_journals WHERE path = ?", [path])


def fold(con: Any, journals: list[Journal], tail: Path) -> None:
    """Insert every complete new line. `tail` is a scratch file."""
    _fold(con, [j for j in journals if j.file.name == "events.jsonl"], tail, _events)
    for journal in journals:
        if journal.file.name != "events.jsonl":
            insert = _samples if journal.file.name == "samples.jsonl" else _annotations
            _fold(con, [journal], tail, partial(insert, dataset=journal.owner))


def _fold(con: Any, journals: list[Journal], tail: Path, insert: Callable[[Any, str], None]) -> None:
    """Collect the new lines of `journals` in chunks of bounded size, and `insert` each chunk."""
    folded: dict[str, int] = {}
    size = 0
    out = tail.open("wb")
    try:
        for journal in journals:
            for lines in new_lines(journal):
                out.write(lines)
                size += len(lines)
                folded[journal.path] = folded.get(journal.path, journal.start) + len(lines)
                if size >= CHUNK_BYTES:
                    out.flush()
                    insert(con, str(tail))
                    out.seek(0)
                    out.truncate()
                    size = 0
        out.flush()
        if size:
            insert(con, str(tail))
    finally:
        out.close()
        tail.unlink(missing_ok=True)
    for journal in journals:
        if (offset := folded.get(journal.path)) is not None:
            con.execute("DELETE FROM catalog_journals WHERE path = ?", [journal.path])
            row = [journal.path, offset, _tail(journal.file, offset)]
            con.execute("INSERT INTO catalog_journals VALUES (?, ?, ?)", row)


def new_lines(journal: Journal) -> Iterator[bytes]:
    """The complete lines from `start` on, as far as the journal reached when it was looked at."""
    rest = b""
    try:
        f = journal.file.open("rb")
    except FileNotFoundError:
        return
    with f:
        f.seek(journal.start)
        left = journal.size - journal.start
        while left > 0 and (data := f.read(min(PIECE_BYTES, left))):
            left -= len(data)
            data = rest + data
            end = data.rfind(b"\n") + 1
            rest = data[end:]
            if end:
                yield data[:end]


def _events(con: Any, tail: str) -> None:
    from trugrade_core.catalog.schema import TABLE

    con.execute(EVENTS, [tail])
    con.execute(METRICS)
    names = [c.name for c in TABLE["resources"].columns if c.name not in ("run_id", "logged", "attempt")]
    con.execute(RESOURCES.format(columns=", ".join(f"m['{name}'] AS {name}" for name in names)))
    con.execute(OTHERS)


def _samples(con: Any, tail: str, dataset: str) -> None:
    """The last line of a sample is the sample."""
    con.execute(SAMPLES, {"tail": tail, "dataset": dataset, "base": _base(con, "samples", dataset)})
    con.execute("DELETE FROM samples WHERE dataset = ? AND sample_id IN (SELECT sample_id FROM chunk)", [dataset])
    con.execute(
        "INSERT INTO samples BY NAME SELECT * FROM chunk QUALIFY row_number() OVER (PARTITION BY sample_id ORDER BY position DESC) = 1"
    )


def _annotations(con: Any, tail: str, dataset: str) -> None:
    con.execute(ANNOTATIONS, {"tail": tail, "dataset": dataset, "base": _base(con, "annotation_log", dataset)})


def _base(con: Any, table: str, dataset: str) -> int:
    row = con.execute(f"SELECT coalesce(max(position), 0) FROM {table} WHERE dataset = ?", [dataset]).fetchone()  # noqa: S608
    return int(row[0])
