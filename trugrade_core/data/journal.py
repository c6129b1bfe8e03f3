"""The files of a dataset that only grow: whole lines of JSON, read by their place, torn ends left alone."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from trugrade_core.errors import DatasetError
from trugrade_core.schema import Record, Sample
from trugrade_core.workspace import append_lines, sync_folder

T = TypeVar("T")
R = TypeVar("R", bound=Record)


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    batch: list[T] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def complete_lines(path: Path, start: int) -> Iterator[tuple[int, bytes]]:
    """(offset, line) for every complete line from byte `start` on."""
    try:
        with path.open("rb") as f:
            f.seek(start)
            for line in f:
                if not line.endswith(b"\n"):
                    return
                yield start, line
                start += len(line)
    except FileNotFoundError:
        return


def is_torn(line: bytes) -> bool:
    """Whether a line is no JSON: a kill cut it off, and it stands alone since."""
    try:
        json.loads(line)
    except ValueError:
        return True
    return False


def parsed(kind: type[R], path: Path, line: bytes) -> R:
    """The record in a line of the journal at `path`. Raises DatasetError saying where it lies when it is none."""
    try:
        return kind.model_validate_json(line)
    except ValidationError as e:
        wrong = "; ".join(f"{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in e.errors()[:3])
        raise damaged_line(path, line, wrong) from e


def records(kind: type[R], path: Path) -> Iterator[R]:
    """Every record of a journal, oldest first; torn lines are left alone. Raises DatasetError for a damaged one."""
    for _, line in complete_lines(path, 0):
        if not is_torn(line):
            yield parsed(kind, path, line)


def damaged_line(path: Path, line: bytes, wrong: object) -> DatasetError:
    """What to say of a line that is JSON and not what the lab writes: it is not left out, for nobody would know."""
    number = next((n for n, (_, found) in enumerate(complete_lines(path, 0), 1) if found == line), 0)
    return DatasetError(f"line {number} was damaged or changed by hand ({wrong!s})", where=str(path),
                        code="dataset.damaged_line",
                        what_to_do="Restore the file from a copy, or mend that line; nothing was changed.")  # fmt: skip


def append_to(path: Path, lines: list[bytes]) -> None:
    is_new = not path.exists()
    append_lines(path, lines, sync=True)
    if is_new and lines:
        sync_folder(path.parent)


@dataclass
class SampleIndex:
    """Where the last line of each sample lies in samples.jsonl."""

    path: Path
    offsets: dict[str, int] = field(default_factory=dict)
    end: int = 0

    def refresh(self) -> None:
        """Take in what was appended since."""
        for offset, line in complete_lines(self.path, self.end):
            with contextlib.suppress(ValueError):  # torn
                try:
                    self.offsets[json.loads(line)["id"]] = offset
                except (KeyError, TypeError) as e:
                    raise damaged_line(self.path, line, e) from e
            self.end = offset + len(line)

    def read(self, sample: str) -> Sample:
        """The sample of that id. Raises KeyError."""
        return next(self.read_all([sample]))

    def read_all(self, samples: Iterable[str]) -> Iterator[Sample]:
        """The samples of those ids, in their order, one at a time in memory. Raises KeyError, and DatasetError for
        a damaged line."""
        f = None
        try:
            for sample in samples:
                offset = self.offsets[sample]
                f = f or self.path.open("rb")
                f.seek(offset)
                yield parsed(Sample, self.path, f.readline())
        finally:
            if f is not None:
                f.close()
