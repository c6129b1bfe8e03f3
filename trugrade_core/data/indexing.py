"""The explorer's index: a row for each sample and each shape of a dataset, made from its files and kept up with them.

The files stay the truth. The index is made by reading `samples.jsonl` and `annotations.jsonl` once, then only what was
appended since (by byte offsets); it lies in WORKSPACE/cache/explore/NAME.duckdb, which is written whole, never changed,
and may be removed at any time. A new process asks that file where it lies, and has tables of its own once there is
something to add. The index is made anew when a file is not the one it was made from, as far as that shows: another inode,
shorter than before, or other bytes before the place that was read up to.

An annotation belongs to one layer; that is what its id is made of.
"""

# ruff: noqa: S608 -- names in SQL are this module's own, values are parameters
from __future__ import annotations

import contextlib
import gc
import hashlib
import json
import mmap
import os
import secrets
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from pydantic_core import from_json

from trugrade_core.data.index_rows import index_row
from trugrade_core.data.journal import batched, complete_lines, damaged_line, parsed
from trugrade_core.data.store import Dataset
from trugrade_core.runs import Progress
from trugrade_core.schema import Sample

FORMAT = 2
LINES = 20_000
ROWS = 5_000
WINDOW = 4096
"""Bytes before the place read up to that must be the same for the index to go on from there."""
SAVE_FROM = 1 << 20
"""Bytes that a new process reads again rather than that they are saved."""

TEXTS = pa.list_(pa.string())
SAMPLES = pa.schema(
    [("id", pa.string()), ("n", pa.int64()), ("starts", pa.int64()), ("words", pa.string()), ("file", pa.string()),
     ("sha256", pa.string()), ("card", pa.string()), ("design", pa.string()), ("session", pa.string()),
     ("side", pa.string()), ("origin", pa.string()), ("split", pa.string()), ("status", pa.string()),
     ("tags", TEXTS), ("excluded", pa.string()), ("region", pa.string()), ("dpi", pa.float64()), ("classes", TEXTS),
     ("shapes", pa.int32()), ("smallest_mm", pa.float64()), ("largest_mm", pa.float64()), ("score", pa.float64()),
     ("annotators", TEXTS), ("changed", pa.timestamp("us")), ("conflicts", pa.int32())]
)  # fmt: skip
"""`n` is the order of arrival, `starts` the byte at which the sample's last line begins, `words` what a search looks in."""
SHAPES = pa.schema(
    [("sample", pa.string()), ("label", pa.string()), ("kind", pa.string()), ("size_mm", pa.float64()),
     ("place", pa.int16())]
)  # fmt: skip
"""What is drawn, and a row of kind `tags` for each tag of a tag set; `place` is a cell of the position map."""
HEADS = pa.schema(
    [("annotation", pa.string()), ("entry", pa.string()), ("sample", pa.string()), ("layer", pa.string()),
     ("op", pa.string()), ("starts", pa.int64()), ("stood", pa.int64())]
)  # fmt: skip
"""Unreplaced log entries: the byte at which their line begins, and the one at which they stood first."""
TABLES = {"samples": SAMPLES, "shapes": SHAPES, "heads": HEADS}
SQL_TYPES = {pa.string(): "VARCHAR", pa.int64(): "BIGINT", pa.int32(): "INTEGER", pa.int16(): "SMALLINT", pa.float64(): "DOUBLE",
             TEXTS: "VARCHAR[]", pa.timestamp("us"): "TIMESTAMP"}  # fmt: skip


@dataclass(frozen=True)
class Place:
    """How far one of the two files was read, and how to tell that it is still that file."""

    inode: int = 0
    end: int = 0
    mark: str = ""


@dataclass(frozen=True)
class Read:
    """How far the index has read; `orphans` are {layer: entries that were replaced before they came}."""

    format: int = FORMAT
    samples: Place = Place()
    log: Place = Place()
    count: int = 0
    orphans: dict[str, list[str]] = field(default_factory=dict)


class Index:
    """The tables, for many readers at once; `refresh` takes in what was written since."""

    def __init__(self, ds: Dataset) -> None:
        self.ds = ds
        self.path = ds.ws.cache / "explore" / f"{ds.name}.duckdb"
        self.con = duckdb.connect(":memory:", config={"autoinstall_known_extensions": False})
        self.read = Read()
        self.generation = 0
        """Counts the changes: what was computed from the tables holds while it is the same."""
        self._saved = 0
        self._seen: tuple[object, ...] = ()
        self._attached = False
        """Whether the tables are those of the file at `path`, as it was opened."""
        self._unreadable = False
        self._lock = threading.Lock()
        for name in TABLES:
            _create(self.con, name)
        self._attach()

    @property
    def stamps(self) -> tuple[object, ...]:
        """Changes with either of the dataset's files."""
        return tuple(stamp(path) for path in (self.ds.samples_path, self.ds.log_path))

    def unread(self) -> int:
        """Bytes of the dataset's files that are not in the index yet."""
        sizes = [_size(path) for path in (self.ds.samples_path, self.ds.log_path)]
        return sum(sizes) - (self.read.samples.end + self.read.log.end if self._continues() else 0)

    def refresh(self, progress: Progress | None = None) -> None:
        """Take in what was appended since, from the start where the files are others. Raises DatasetError for a
        damaged line that counts; what was there before it stays."""
        with self._lock:
            stamps = self.stamps
            if stamps == self._seen:
                return
            goes_on = self._continues()
            if not goes_on or self.unread():
                told = progress or (lambda done, total, text: None)
                try:
                    self._take_in(goes_on, told)
                except duckdb.Error as e:
                    if not (self._attached and is_damage(e)):
                        raise
                    self._take_in(False, told)  # what was kept cannot be read: it is made again
            self._seen = stamps

    def _take_in(self, goes_on: bool, progress: Progress) -> None:
        """Bring the tables up to now, all or nothing."""
        before = self.read if goes_on else Read()
        collects = gc.isenabled()
        gc.disable()  # nothing here is circular, and looking for circles takes a fifth of the time
        try:
            with self._changing():
                self._own(filled=goes_on)
                read = _read_on(self.con, self.ds, before, progress)
        finally:
            if collects:
                gc.enable()
        self._detach("kept")
        self._attached = self._unreadable = False
        self._saved = self._saved if goes_on else 0
        self.generation += read != self.read
        self.read = read
        behind = read.samples.end + read.log.end - self._saved
        if behind > max(SAVE_FROM, self._saved // 20) or (not self._saved and read.count):
            self._save()

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        """All that is changed meanwhile holds, or nothing; who asks meanwhile sees the tables of before."""
        self.con.execute("BEGIN TRANSACTION")
        try:
            yield
            self.con.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(duckdb.Error):  # a commit that failed has put all back already
                self.con.execute("ROLLBACK")
            raise

    def _continues(self) -> bool:
        files = ((self.ds.samples_path, self.read.samples), (self.ds.log_path, self.read.log))
        return not self._unreadable and all(
            place == Place() or _place(path, place.end) == place for path, place in files
        )

    def _own(self, *, filled: bool) -> None:
        """Tables of one's own that can be changed, with what is in them now or empty."""
        for name in TABLES:
            if self._attached:
                self.con.execute(f"DROP VIEW {name}")
            if not filled:
                _create(self.con, name)
            elif self._attached:
                self.con.execute(f"CREATE TABLE {name} AS SELECT * FROM kept.{name}")

    def _attach(self) -> None:
        """Ask what another process has kept; nothing where it is of another make or cannot be read."""
        if not self.path.exists():
            return
        # A cache that cannot be read is made again.
        with contextlib.suppress(duckdb.Error, ValueError, KeyError, TypeError, IndexError):
            self.con.execute(f"ATTACH {_quoted(self.path)} AS kept (READ_ONLY)")
            found = json.loads(self.con.execute("SELECT body FROM kept.read").fetchall()[0][0])
            if found.get("format") == FORMAT:
                read = Read(**{**found, **{which: Place(**found[which]) for which in ("samples", "log")}})
                for name in TABLES:
                    self.con.execute(f"SELECT 1 FROM kept.{name} LIMIT 0")
                for name in TABLES:
                    self.con.execute(f"DROP TABLE {name}")
                    self.con.execute(f"CREATE VIEW {name} AS SELECT * FROM kept.{name}")
                self.read, self._attached = read, True
                self._saved = self.read.samples.end + self.read.log.end
        if not self._attached:
            self._detach("kept")

    def _detach(self, name: str) -> None:
        with contextlib.suppress(duckdb.Error):  # it is not there
            self.con.execute(f"DETACH {name}")

    def _save(self) -> None:
        self._saved = self.read.samples.end + self.read.log.end  # also where it fails: try again when it grew
        temp = self.path.with_name(f".{self.path.name}.{secrets.token_hex(4)}.tmp")
        # A full disk or one that cannot be written takes no cache.
        with contextlib.suppress(OSError, duckdb.IOException):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.con.execute(f"ATTACH {_quoted(temp)} AS saved")
            for name in TABLES:
                self.con.execute(f"CREATE TABLE saved.{name} AS SELECT * FROM {name}")
            self.con.execute("CREATE TABLE saved.read AS SELECT ? AS body", [json.dumps(asdict(self.read))])
            self.con.execute("DETACH saved")
            temp.replace(self.path)
        self._detach("saved")
        with contextlib.suppress(OSError):
            for left in (temp, temp.with_name(f"{temp.name}.wal")):
                left.unlink(missing_ok=True)


def _create(con: duckdb.DuckDBPyConnection, name: str) -> None:
    columns = ", ".join(f"{column.name} {SQL_TYPES[column.type]}" for column in TABLES[name])
    con.execute(f"CREATE OR REPLACE TABLE {name} ({columns})")


def is_damage(e: duckdb.Error) -> bool:
    """Whether a damaged file raises such an error: DuckDB's checksums have no kind of their own."""
    kinds = (duckdb.IOException, duckdb.SerializationException, duckdb.InternalException, duckdb.FatalException)
    return type(e) is duckdb.Error or isinstance(e, kinds)


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def stamp(path: Path) -> object:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _place(path: Path, end: int) -> Place:
    """What the file shows of itself when it was read up to `end`."""
    try:
        with path.open("rb") as f:
            inode = os.fstat(f.fileno()).st_ino
            start = max(0, end - WINDOW)
            f.seek(start)
            found = f.read(end - start)
    except FileNotFoundError:
        return Place()
    return Place(inode, start + len(found), hashlib.sha256(found).hexdigest())


# --- taking in what was appended ----------------------------------------------------------------------------------


def _read_on(con: duckdb.DuckDBPyConnection, ds: Dataset, read: Read, progress: Progress) -> Read:
    """Take what was appended since `read` into the tables; how far was read then."""
    ahead = _size(ds.samples_path) + _size(ds.log_path) - read.samples.end - read.log.end
    latest, samples_end = _new_samples(ds, read.samples.end)
    progress(ahead // 6, ahead, "Reading samples")
    touched = dict.fromkeys(latest)
    orphans = {layer: set(entries) for layer, entries in read.orphans.items()}
    log_end = read.log.end
    for batch in batched(complete_lines(ds.log_path, read.log.end), LINES):
        touched.update(dict.fromkeys(_fold(con, ds.log_path, batch, orphans)))
        log_end = batch[-1][0] + len(batch[-1][1])
        progress(ahead // 6 + (log_end - read.log.end) // 3, ahead, "Reading the log")
    count, done = read.count, 0
    for chunk in batched(touched, ROWS):
        count = _write_rows(con, ds, chunk, latest, count)
        done += len(chunk)
        progress(ahead * (len(touched) + done) // (2 * len(touched)), ahead, "Counting what is drawn")
    return replace(
        read,
        samples=_place(ds.samples_path, samples_end) if samples_end else Place(),
        log=_place(ds.log_path, log_end) if log_end else Place(),
        count=count,
        orphans={layer: sorted(entries) for layer, entries in orphans.items() if entries},
    )


def quick_json(line: bytes) -> Any:
    """As `json.loads`, whose word counts, and twice as fast."""
    try:
        return from_json(line)
    except ValueError:
        return json.loads(line)


def _new_samples(ds: Dataset, end: int) -> tuple[dict[str, int], int]:
    """{sample: where its last line begins} of the lines from `end` on, and the end of the last."""
    latest: dict[str, int] = {}
    path = ds.samples_path
    for offset, line in complete_lines(path, end):
        end = offset + len(line)
        with contextlib.suppress(ValueError):  # torn
            try:
                if not isinstance(id := quick_json(line)["id"], str):
                    raise TypeError(f"the id {id!r}")
                latest[id] = offset
            except (KeyError, TypeError) as e:
                raise damaged_line(path, line, e) from e
    return latest, end


Head = tuple[str, str, int, int]
"""Of an unreplaced entry: sample, op, where its line begins, where it stood first."""


def _fold(con: duckdb.DuckDBPyConnection, path: Path, lines: Sequence[tuple[int, bytes]],
          orphans: dict[str, set[str]]) -> set[str]:  # fmt: skip
    """Take log lines into `heads`, by the rules of `Dataset.current`; the samples that they speak of."""
    entries = []
    for at, line in lines:
        try:
            entry = quick_json(line)
        except ValueError:
            continue  # torn
        try:
            annotation, number, layer, replaces = entry["annotation"], entry["entry"], entry["layer"], entry["replaces"]
            op, sample = entry["op"], entry["sample"]
            if (
                op not in ("put", "delete")
                or not type(sample) is type(annotation) is type(number) is type(layer) is str
            ):
                raise ValueError(f"op {op!r} for sample {sample!r}")
        except (KeyError, TypeError, ValueError) as e:
            raise damaged_line(path, line, e) from e
        entries.append((annotation, number, layer, replaces, op, sample, at))
    heads: dict[tuple[str, str], dict[str, Head]] = {}
    spoken = {entry[5] for entry in entries}
    con.register("folded", pa.table({"annotation": pa.array(dict.fromkeys(e[0] for e in entries), pa.string())}))
    for annotation, number, sample, layer, op, at, place in con.execute(
        "SELECT h.* FROM heads h SEMI JOIN folded f ON h.annotation = f.annotation ORDER BY h.stood"
    ).fetchall():
        heads.setdefault((layer, annotation), {})[number] = (sample, op, at, place)
        spoken.add(sample)
    for annotation, number, layer, replaces, op, sample, at in entries:
        own = heads.setdefault((layer, annotation), {})
        gone = orphans.setdefault(layer, set())
        if replaces and own.pop(replaces, None) is None:
            gone.add(replaces)
        if number not in gone:
            own[number] = (sample, op, at, own[number][3] if number in own else at)
    con.execute("DELETE FROM heads USING folded WHERE heads.annotation = folded.annotation")
    _insert(con, "heads", [(annotation, number, sample, layer, op, at, place)
                           for (layer, annotation), own in heads.items()
                           for number, (sample, op, at, place) in own.items()])  # fmt: skip
    con.unregister("folded")
    return spoken


def _insert(con: duckdb.DuckDBPyConnection, name: str, rows: Sequence[tuple[Any, ...]]) -> None:
    if not rows:
        return
    schema = TABLES[name]
    columns = [pa.array(column, kind) for column, kind in zip(zip(*rows, strict=True), schema.types, strict=True)]
    con.register("brought", pa.table(columns, schema=schema))
    con.execute(f"INSERT INTO {name} SELECT * FROM brought")
    con.unregister("brought")


# --- rows ---------------------------------------------------------------------------------------------------------


def _write_rows(
    con: duckdb.DuckDBPyConnection, ds: Dataset, ids: Sequence[str], latest: dict[str, int], count: int
) -> int:
    """Make the rows of these samples anew; how many samples there are then."""
    con.register("asked", pa.table({"id": pa.array(ids, pa.string())}))
    known = {
        id: (n, at)
        for id, n, at in con.execute("SELECT id, n, starts FROM samples SEMI JOIN asked USING (id)").fetchall()
    }
    heads: dict[str, list[tuple[str, str, str, int]]] = defaultdict(list)
    for sample, annotation, layer, op, at in con.execute(
        "SELECT h.sample, h.annotation, h.layer, h.op, h.starts FROM heads h SEMI JOIN asked a ON h.sample = a.id"
        " ORDER BY h.stood"
    ).fetchall():
        heads[sample].append((annotation, layer, op, at))
    samples, shapes = [], []
    samples_path, log = ds.samples_path, ds.log_path
    with lines_of(samples_path) as sample_line, lines_of(log) as log_line:
        for id in ids:
            n, at = known.get(id, (count, -1))
            at = latest.get(id, at)
            if at < 0:
                continue  # the log speaks of a sample that has not come
            count += id not in known
            row, drawn = index_row(
                parsed(Sample, samples_path, sample_line(at)), n, at, heads.get(id, []), log, log_line
            )
            samples.append(row)
            shapes += drawn
    con.execute("DELETE FROM samples USING asked WHERE samples.id = asked.id")
    con.execute("DELETE FROM shapes USING asked WHERE shapes.sample = asked.id")
    _insert(con, "samples", samples)
    _insert(con, "shapes", shapes)
    con.unregister("asked")
    return count


@contextlib.contextmanager
def lines_of(path: Path) -> Iterator[Callable[[int], bytes]]:
    """A function from the byte at which a line begins to the line."""
    if not _size(path):
        yield lambda at: b""
        return
    with path.open("rb") as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        yield lambda at: mapped[at : mapped.find(b"\n", at) + 1]
