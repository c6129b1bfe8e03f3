"""Looking through a dataset of any size: which samples fit a filter, in which order, and what they are like together.

Answers come from the index (`indexing`), samples and annotations from the dataset's own files by their place in them.
"""

# ruff: noqa: S608 -- names in SQL are this module's own, values are parameters
from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import duckdb
import pyarrow as pa

from trugrade_core.data.filters import PLACES, Filter, order, shape_where, where
from trugrade_core.data.indexing import Index, is_damage, lines_of, quick_json, stamp
from trugrade_core.data.journal import complete_lines, damaged_line, parsed
from trugrade_core.data.store import Dataset
from trugrade_core.errors import WorkspaceError
from trugrade_core.schema import Annotation, LogEntry, Sample, Status
from trugrade_core.workspace import read_json

SIZES_MM = (0.0, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)
BLUR_PX = (0.0, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0, 5.0)
"""Edges of the bars of sizes and of blur; the last bar has no end."""
FIELDS = ("status", "split", "origin", "side", "design", "session", "region")


@dataclass(frozen=True)
class Found:
    """A sample as it is now, with what is currently said of it in layer main."""

    sample: Sample
    annotations: tuple[Annotation, ...]
    score: float | None
    annotators: tuple[str, ...]
    changed: datetime | None
    """When something was last said of it, UTC without a zone."""
    conflicts: int
    findings: tuple[str, ...]


@dataclass(frozen=True)
class Page:
    total: int
    """How many samples fit."""
    number: int
    pages: int
    rows: tuple[Found, ...]


@dataclass(frozen=True)
class Neighbours:
    """Where a sample stands among those that fit, from 1, and which are beside it."""

    at: int
    total: int
    before: str | None
    after: str | None


class Explorer(Index):
    """The index with its questions. Any number of threads may ask at once."""

    def __init__(self, ds: Dataset) -> None:
        super().__init__(ds)
        self.con.execute("CREATE TABLE findings (sample VARCHAR, code VARCHAR, severity VARCHAR)")
        self.con.execute("CREATE TABLE measures (sha256 VARCHAR, blur_px DOUBLE)")

    def total(self) -> int:
        return self.count(Filter())

    def count(self, f: Filter) -> int:
        condition, values = where(f)
        with self.asking() as ask:
            return int(ask.execute(f"SELECT count(*) FROM samples WHERE {condition}", values).fetchall()[0][0])

    def counts(self) -> dict[str, int]:
        """As the function `counts`."""
        with self.asking() as ask:
            row = ask.execute(
                "SELECT count(*), count(DISTINCT card), count(*) FILTER (status = 'done'),"
                " count(*) FILTER (origin = 'synthetic') FROM samples"
            ).fetchall()[0]
        return dict(zip(("samples", "cards", "labelled", "synthetic"), map(int, row), strict=True))

    def count_also(self, f: Filter, condition: str, values: Sequence[Any]) -> int:
        """How many samples fit, and a condition in SQL on `samples`."""
        fits, given = where(f)
        with self.asking() as ask:
            sql = f"SELECT count(*) FROM samples WHERE {fits} AND {condition}"
            return int(ask.execute(sql, [*given, *values]).fetchall()[0][0])

    def ids(self, f: Filter, sort: str = "arrival") -> list[str]:
        """Every sample that fits, in order."""
        condition, values = where(f)
        with self.asking() as ask:
            found = ask.execute(f"SELECT id FROM samples WHERE {condition} ORDER BY {order(sort)}", values).fetchall()
        return [id for (id,) in found]

    def page(self, f: Filter, *, sort: str = "arrival", number: int = 1, size: int = 60) -> Page:
        """The samples that fit, `size` at a time; a number beyond the last page gives the last."""
        condition, values = where(f)
        with self.asking() as ask:
            (total,) = ask.execute(f"SELECT count(*) FROM samples WHERE {condition}", values).fetchall()[0]
            pages = max(1, -(-total // size))
            number = min(max(number, 1), pages)
            # The narrow columns are sorted, the wide ones fetched for one page.
            sql = f"SELECT id FROM samples WHERE {condition} ORDER BY {order(sort)} LIMIT {size} OFFSET {(number - 1) * size}"
            rows = self._found(ask, [id for (id,) in ask.execute(sql, values).fetchall()])
        return Page(total, number, pages, tuple(rows))

    def get(self, ids: Sequence[str]) -> list[Found]:
        """The samples of those ids that there are, in their order."""
        with self.asking() as ask:
            return self._found(ask, ids)

    def neighbours(self, f: Filter, sort: str, sample: str) -> Neighbours | None:
        """Where a sample stands among those that fit; None when it does not fit."""
        condition, values = where(f)
        by = order(sort)
        sql = (
            "SELECT nth, total, before, after FROM (SELECT id, row_number() OVER w AS nth, count(*) OVER () AS total,"
            f" lag(id) OVER w AS before, lead(id) OVER w AS after FROM samples WHERE {condition}"
            f" WINDOW w AS (ORDER BY {by})) WHERE id = ?"
        )
        with self.asking() as ask:
            found = ask.execute(sql, [*values, sample]).fetchall()
        return Neighbours(*found[0]) if found else None

    def values(self) -> dict[str, list[str]]:
        """What can be filtered by in this dataset: {field: its values, the most frequent first}."""
        with self.asking() as ask:
            found = {name: _counts(ask, f"SELECT {name} AS v FROM samples WHERE {name} IS NOT NULL", [])
                     for name in ("design", "session", "side", "region")}  # fmt: skip
            for name in ("tags", "annotators"):
                found[name] = _counts(ask, f"SELECT unnest({name}) AS v FROM samples", [])
            found["findings"] = _counts(ask, "SELECT DISTINCT sample, code AS v FROM findings", [])
            found["classes"] = _counts(ask, "SELECT label AS v FROM shapes WHERE label IS NOT NULL", [])
        return {name: [value for value, _ in rows] for name, rows in found.items()}

    def statistics(self, f: Filter) -> dict[str, Any]:
        """What the samples that fit are like; counts of shapes go by the filter's class, size and place too.

        `classes`, `size_mm` and `place` count shapes, all else samples. Fields are [(value, count)], the most
        frequent first, None last; `score` and `dpi` in order of value.
        """
        condition, values = where(f)
        shape, shape_values = shape_where(f)
        with self.asking() as ask:
            chosen, drawn = "samples", "shapes"
            if not f.is_empty:
                chosen, drawn = "chosen", "drawn"
                ask.execute(
                    f"CREATE OR REPLACE TEMP TABLE chosen AS SELECT * EXCLUDE (words, file) FROM samples WHERE {condition}",
                    values,
                )
                ask.execute(
                    "CREATE OR REPLACE TEMP TABLE drawn AS SELECT label, sample, size_mm, place FROM shapes SEMI JOIN chosen c ON sample = c.id"
                )
            head = ask.execute(
                "SELECT count(*) AS samples, count(DISTINCT card) AS cards, count(*) FILTER (status = 'done') AS labelled,"
                " count(excluded) AS excluded, count(*) FILTER (conflicts > 0) AS conflicts, coalesce(sum(shapes), 0) AS shapes,"
                f" count(*) FILTER (dpi IS NULL) AS without_dpi FROM {chosen}"
            ).fetchall()[0]  # fmt: skip
            names = ("samples", "cards", "labelled", "excluded", "conflicts", "shapes", "without_dpi")
            found: dict[str, Any] = dict(zip(names, map(int, head), strict=True))
            found |= _field_statistics(ask, chosen)
            for name in ("tags", "annotators"):
                found[name] = _counts(ask, f"SELECT unnest({name}) AS v FROM {chosen}", [])
            found["findings"] = _counts(
                ask,
                f"SELECT DISTINCT f.sample, f.code AS v FROM findings f SEMI JOIN {chosen} c ON f.sample = c.id",
                [],
            )
            found["blur_px"] = _bars(
                ask, f"SELECT blur_px AS v FROM measures m SEMI JOIN {chosen} c ON m.sha256 = c.sha256", [], BLUR_PX
            )
            found |= _shape_statistics(ask, drawn, shape, shape_values)
        return found

    def know_findings(self, found: Iterable[tuple[str, str, str]]) -> None:
        """What checks hold against samples, instead of what was known: (sample, code, severity)."""
        columns = list(zip(*found, strict=True)) or [(), (), ()]
        names = ("sample", "code", "severity")
        table = pa.table([pa.array(column, pa.string()) for column in columns], names=names)
        self._learn("DELETE FROM findings", "findings", table)

    def know_blur(self, blur_px: Mapping[str, float]) -> None:
        """How blurred pictures are, by sha256, beside what was known: the sigma of their sharpest edges."""
        table = pa.table(
            {"sha256": pa.array(blur_px, pa.string()), "blur_px": pa.array(blur_px.values(), pa.float64())}
        )
        self._learn("DELETE FROM measures WHERE sha256 IN (SELECT sha256 FROM known)", "measures", table)

    def _learn(self, first: str, name: str, table: pa.Table) -> None:
        with self._lock:
            self.con.register("known", table)
            try:
                with self._changing():
                    self.con.execute(first)
                    self.con.execute(f"INSERT INTO {name} SELECT * FROM known")
            finally:
                self.con.unregister("known")
            self.generation += 1

    @contextlib.contextmanager
    def asking(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection of one's own that sees the tables as they are now, whatever is taken in meanwhile. Raises
        WorkspaceError where the kept file is damaged; the next `refresh` makes it anew."""
        con = self.con.cursor()
        try:
            con.execute("BEGIN TRANSACTION")
            yield con
        except duckdb.Error as e:
            if not (self._attached and is_damage(e)):
                raise
            self._unreadable, self._seen = True, ()
            raise WorkspaceError("the index of the samples was damaged", where=str(self.path), code="explore.index",
                                 what_to_do="Look again: it is made anew from the dataset, in which nothing was changed.") from e  # fmt: skip
        finally:
            con.close()

    def _found(self, ask: duckdb.DuckDBPyConnection, ids: Sequence[str]) -> list[Found]:
        wanted = [list(ids)]
        rows = ask.execute(
            "SELECT id, starts, score, annotators, changed, conflicts FROM samples WHERE id IN (SELECT unnest(?))",
            wanted,
        ).fetchall()
        by_id = {row[0]: row for row in rows}
        heads: dict[str, dict[str, int]] = {}
        for sample, annotation, at in ask.execute(
            "SELECT sample, annotation, starts FROM heads WHERE sample IN (SELECT unnest(?)) AND layer = 'main' AND op = 'put'"
            " ORDER BY stood", wanted
        ).fetchall():  # fmt: skip
            heads.setdefault(sample, {})[annotation] = at
        codes: dict[str, list[str]] = {}
        for sample, code in ask.execute(
            "SELECT DISTINCT sample, code FROM findings WHERE sample IN (SELECT unnest(?)) ORDER BY code", wanted
        ).fetchall():
            codes.setdefault(sample, []).append(code)
        found = []
        with lines_of(self.ds.samples_path) as sample_line, lines_of(self.ds.log_path) as log_line:
            for id in ids:
                if id not in by_id:
                    continue
                _, at, score, annotators, changed, conflicts = by_id[id]
                lines = [log_line(place) for place in heads.get(id, {}).values()]
                annotations = [self.ds.annotation(line) for line in lines]
                found.append(Found(
                    parsed(Sample, self.ds.samples_path, sample_line(at)),
                    tuple(a for a in annotations if not isinstance(a.value, Status)),
                    score, tuple(annotators), changed, conflicts, tuple(codes.get(id, ())),
                ))  # fmt: skip
        return found

    def entries(self, ids: Sequence[str]) -> Iterator[tuple[str, list[LogEntry]]]:
        """(sample, its unreplaced log entries of layer main, oldest first) of each that has any."""
        with self.asking() as ask:
            rows = ask.execute(
                "SELECT sample, starts FROM heads WHERE sample IN (SELECT unnest(?)) AND layer = 'main' ORDER BY sample, stood",
                [list(ids)],
            ).fetchall()
        by_sample: dict[str, list[LogEntry]] = {}
        with lines_of(self.ds.log_path) as log_line:
            for sample, at in rows:
                by_sample.setdefault(sample, []).append(parsed(LogEntry, self.ds.log_path, log_line(at)))
        yield from by_sample.items()


def counts(ds: Dataset) -> dict[str, int]:
    """How many samples and cards there are, how many labelled and how many synthetic, without loading a dataset: read
    once from its samples' lines, kept in the cache while that file is the same. Raises DatasetError for a damaged line."""
    path, kept = ds.samples_path, ds.ws.cache / "explore" / f"{ds.name}.counts.json"
    now = json.loads(json.dumps(stamp(path)))
    with contextlib.suppress(OSError, WorkspaceError, KeyError, TypeError):
        found = read_json(kept)
        if found["stamp"] == now:
            return {name: int(found[name]) for name in ("samples", "cards", "labelled", "synthetic")}
    latest: dict[str, tuple[str, bool, bool]] = {}
    for _, line in complete_lines(path, 0):
        with contextlib.suppress(ValueError):  # torn
            row = quick_json(line)
            try:
                latest[row["id"]] = row["card"], row["status"] == "done", row["origin"] == "synthetic"
            except (KeyError, TypeError) as e:
                raise damaged_line(path, line, e) from e
    rows = latest.values()
    made = {
        "samples": len(rows),
        "cards": len({card for card, _, _ in rows}),
        "labelled": sum(done for _, done, _ in rows),
        "synthetic": sum(synthetic for _, _, synthetic in rows),
    }
    with contextlib.suppress(OSError):  # a workspace that cannot be written has no cache
        kept.parent.mkdir(parents=True, exist_ok=True)
        temp = kept.with_name(f".{kept.name}.{secrets.token_hex(4)}.tmp")
        temp.write_text(json.dumps({"stamp": now, **made}))
        temp.replace(kept)
    return made


def _counts(ask: duckdb.DuckDBPyConnection, sql: str, values: Sequence[Any]) -> list[tuple[str, int]]:
    found = ask.execute(f"SELECT v, count(*) AS n FROM ({sql}) GROUP BY v ORDER BY n DESC, v", values).fetchall()
    return [(str(value), n) for value, n in found]


def _bars(ask: duckdb.DuckDBPyConnection, sql: str, values: Sequence[Any], edges: Sequence[float]) -> dict[str, Any]:
    """The numbers `v` of a query in bars: `counts[i]` from `edges[i]` up to the next edge; the last bar has no end."""
    steps = " ".join(f"WHEN v < {edge} THEN {i}" for i, edge in enumerate(edges[1:]))
    counted = [0] * len(edges)
    for i, n in ask.execute(
        f"SELECT CASE {steps} ELSE {len(edges) - 1} END AS bar, count(*) FROM ({sql}) WHERE v IS NOT NULL GROUP BY bar",
        values,
    ).fetchall():
        counted[i] = n
    low, middle, high = ask.execute(f"SELECT min(v), median(v), max(v) FROM ({sql})", values).fetchall()[0]
    return {"edges": list(edges), "counts": counted, "min": low, "median": middle, "max": high}


def _field_statistics(ask: duckdb.DuckDBPyConnection, chosen: str) -> dict[str, list[tuple[Any, int]]]:
    columns = (*FIELDS, "score", "dpi")
    found: dict[str, list[tuple[Any, int]]] = {name: [] for name in columns}
    for *row, which, n in ask.execute(
        f"SELECT {', '.join(columns)}, grouping({', '.join(columns)}), count(*) FROM {chosen}"
        f" GROUP BY GROUPING SETS ({', '.join(f'({name})' for name in columns)})"
    ).fetchall():
        at = len(row) - (~which & ((1 << len(row)) - 1)).bit_length()  # the column whose bit is not set
        found[columns[at]].append((row[at], n))
    for name in FIELDS:
        found[name].sort(key=lambda pair: (pair[0] is None, -pair[1], pair[0]))
    for name in ("score", "dpi"):
        found[name] = sorted(pair for pair in found[name] if pair[0] is not None)
    return found


def _shape_statistics(ask: duckdb.DuckDBPyConnection, drawn: str, shape: str, values: Sequence[Any]) -> dict[str, Any]:
    classes = ask.execute(
        f"SELECT label, count(*), count(DISTINCT sample) FROM {drawn} WHERE label IS NOT NULL GROUP BY label ORDER BY 2 DESC, 1"
    ).fetchall()
    sizes = _bars(ask, f"SELECT size_mm AS v FROM {drawn} WHERE {shape}", values, SIZES_MM)
    places = [0] * (PLACES[0] * PLACES[1])
    for i, n in ask.execute(
        f"SELECT place, count(*) FROM {drawn} WHERE place IS NOT NULL AND {shape} GROUP BY place", values
    ).fetchall():
        places[i] = n
    return {
        "classes": [tuple(row) for row in classes],
        "size_mm": sizes,
        "place": places,
    }
