"""Where the lines of one sample lie in a dataset's journals, kept for each process and read on as they grow.

A dataset's log may hold 100,000 entries; a page asks for one sample's at every stroke.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from trugrade_core.data.journal import complete_lines, damaged_line, parsed
from trugrade_core.data.store import Dataset
from trugrade_core.errors import DatasetError, nearest
from trugrade_core.schema import LogEntry, Sample, SampleStatus

DRAWING_TOOLS = frozenset({"annotator", "canvas"})
"""Tools whose entries say where a person was at work."""
KEPT_SAMPLES = 8


@dataclass
class Lines:
    """What is known of a journal up to byte `end`; `refresh` takes in what was appended since.

    A journal that was replaced or mended by hand is told by the last line known, and read anew.
    """

    path: Path
    end: int = 0
    _last: tuple[int, bytes] = (0, b"")
    _inode: int = 0
    _own: threading.RLock = field(default_factory=threading.RLock)

    def refresh(self) -> None:
        """Raises DatasetError for a damaged line; what stands before it stays known."""
        with self._own:
            if self.end and not self._is_the_same():
                self.end, self._last = 0, (0, b"")
                self.forget()
            self._inode = self.path.stat().st_ino if self.path.exists() else 0
            for offset, line in complete_lines(self.path, self.end):
                with contextlib.suppress(ValueError):  # torn
                    record = json.loads(line)
                    try:
                        self.take(offset, record)
                    except (KeyError, TypeError, AttributeError) as e:
                        raise damaged_line(self.path, line, repr(e)) from e
                self.end, self._last = offset + len(line), (offset, line)

    def _is_the_same(self) -> bool:
        offset, line = self._last
        try:
            with self.path.open("rb") as f:
                f.seek(offset)
                return f.read(len(line)) == line and self.path.stat().st_ino == self._inode
        except FileNotFoundError:
            return False

    def forget(self) -> None:
        raise NotImplementedError

    def take(self, offset: int, record: Mapping[str, Any]) -> None:
        raise NotImplementedError

    def lines(self, offsets: Sequence[int]) -> Iterator[bytes]:
        if not offsets:
            return
        with self.path.open("rb") as f:
            for offset in offsets:
                f.seek(offset)
                yield f.readline()


@dataclass
class LogIndex(Lines):
    """Of annotations.jsonl: by sample the offsets of its entries, whose sample an annotation is of, and where each person
    left off."""

    offsets: dict[str, list[int]] = field(default_factory=dict)
    sample_of: dict[str, str] = field(default_factory=dict)
    left_off: dict[str, str] = field(default_factory=dict)
    """The last sample that each person worked on, in whatever layer."""
    voted: dict[str, dict[str, set[str]]] = field(default_factory=dict)
    """Of each layer but main, by sample, the annotations that stand in it."""
    _parsed: dict[str, dict[bytes, LogEntry]] = field(default_factory=dict)
    """Of the samples read last what each line says: at the next stroke only the new lines are parsed."""

    def forget(self) -> None:
        for known in (self.offsets, self.sample_of, self.left_off, self.voted):
            known.clear()

    def take(self, offset: int, record: Mapping[str, Any]) -> None:
        sample, annotation, layer = record["sample"], record["annotation"], record["layer"]
        who, tool = record["who"], record["tool"]
        if not all(isinstance(word, str) for word in (sample, annotation, layer, who)):
            raise TypeError("a sample, annotation, layer or person that is no text")
        self.offsets.setdefault(sample, []).append(offset)
        self.sample_of[annotation] = sample
        if tool in DRAWING_TOOLS:
            self.left_off[who] = sample
        if layer != "main":
            stand = self.voted.setdefault(layer, {}).setdefault(sample, set())
            (stand.add if record["op"] == "put" else stand.discard)(annotation)

    def entries(self, sample: str) -> list[LogEntry]:
        """Everything ever said of the sample, oldest first."""
        with self._own:
            self.refresh()
            before = self._parsed.pop(sample, {})
            lines = list(self.lines(self.offsets.get(sample, [])))
            found = {line: before.get(line) or parsed(LogEntry, self.path, line) for line in lines}
            self._parsed[sample] = found
            if len(self._parsed) > KEPT_SAMPLES:
                del self._parsed[next(iter(self._parsed))]
            return [found[line] for line in lines]


class Listed(NamedTuple):
    """What a queue and its filmstrip show of a sample."""

    offset: int
    status: SampleStatus
    excluded: bool
    name: str
    sha256: str
    pixels: int


@dataclass
class SampleList(Lines):
    """Of samples.jsonl: every sample by id, in the order of arrival, as its last line says."""

    rows: dict[str, Listed] = field(default_factory=dict)

    def forget(self) -> None:
        self.rows.clear()

    def take(self, offset: int, record: Mapping[str, Any]) -> None:
        sources = record.get("sources") or [record["id"]]
        main = record["images"]["main"]
        self.rows[record["id"]] = Listed(
            offset, record.get("status", "unlabelled"), record.get("excluded") is not None, str(sources[0]).rpartition("/")[2], main["sha256"],
            main["width"] * main["height"],
        )  # fmt: skip

    def sample(self, ds: Dataset, sample: str) -> Sample:
        """Raises DatasetError when the dataset has no sample of that id."""
        with self._own:
            self.refresh()
            row = self.rows.get(sample)
            if row is None:
                raise DatasetError(
                    f"dataset '{ds.name}' has no sample '{sample[:40]}'", where=str(self.path),
                    code="dataset.no_sample", what_to_do=nearest(sample, list(self.rows)[:1000]),
                )  # fmt: skip
            return parsed(Sample, self.path, next(self.lines([row.offset])))


_kept: dict[Path, Lines] = {}
_kept_lock = threading.Lock()
K = TypeVar("K", bound=Lines)


def _of(kind: type[K], path: Path) -> K:
    with _kept_lock:
        found = _kept.setdefault(path, kind(path))
    assert isinstance(found, kind)  # noqa: S101 (a path is of one journal)
    return found


def log_of(ds: Dataset) -> LogIndex:
    """This process's index of the dataset's annotation log, as far as it was read."""
    return _of(LogIndex, ds.log_path)


def samples_of(ds: Dataset) -> SampleList:
    """This process's list of the dataset's samples, as far as it was read."""
    return _of(SampleList, ds.samples_path)
