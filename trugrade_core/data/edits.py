"""What can be done to many samples at once, and what was done: the history in `edits.jsonl` (see `editing`)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, FiniteFloat, TypeAdapter

from trugrade_core.data.journal import append_to, complete_lines, damaged_line
from trugrade_core.data.store import Dataset
from trugrade_core.errors import DatasetError, UsageError
from trugrade_core.schema import Record, SampleStatus

LONGEST = 500
"""Characters of a tag or a reason."""


class Tag(Record):
    """Put a working mark on samples, or take it off."""

    do: Literal["tag"] = "tag"
    tag: str = Field(min_length=1, max_length=LONGEST)
    on: bool = True

    def words(self) -> str:
        return f"tag '{self.tag}'" if self.on else f"take off the tag '{self.tag}'"


class GiveScore(Record):
    do: Literal["score"] = "score"
    score: FiniteFloat

    def words(self) -> str:
        return f"give the score {self.score:g}"


class Reclass(Record):
    """Give shapes another class: those of class `old`, or all."""

    do: Literal["class"] = "class"
    old: str | None = None
    new: str

    def words(self) -> str:
        return f"make '{self.old}' '{self.new}'" if self.old else f"make every shape '{self.new}'"


class SetStatus(Record):
    do: Literal["status"] = "status"
    status: SampleStatus
    comment: str = Field("", max_length=LONGEST)

    def words(self) -> str:
        return f"set the status {self.status}"


class Exclude(Record):
    """Leave samples out of new versions, for a reason; without one, take them in again."""

    do: Literal["exclude"] = "exclude"
    reason: str | None = Field(None, min_length=1, max_length=LONGEST)

    def words(self) -> str:
        return f"exclude: {self.reason}" if self.reason else "take in again"


Edit = Annotated[Tag | GiveScore | Reclass | SetStatus | Exclude, Field(discriminator="do")]
_EDIT: TypeAdapter[Edit] = TypeAdapter(Edit)


@dataclass(frozen=True)
class Batch:
    """A line of the history. `undone` is the batch that undid it."""

    id: str
    who: str
    when: str
    what: str
    where: str
    samples: int
    undoes: str | None = None
    undone: str | None = None


def history(ds: Dataset, most: int = 50) -> list[Batch]:
    """The batches, newest first. Raises DatasetError for a damaged line."""
    heads: dict[str, dict[str, Any]] = {}
    counts: dict[str, int] = {}
    undone: dict[str, str] = {}
    for line in lines(ds):
        batch = line["batch"]
        if "edit" in line:
            heads[batch] = line
            if line.get("undoes"):
                undone[line["undoes"]] = batch
        counts[batch] = counts.get(batch, 0) + len(line.get("changes", []))
    return [
        Batch(id, head["who"], head["when"], ("undo: " if head.get("undoes") else "") + edit_in(ds, head).words(),
              head.get("where", ""), counts[id], head.get("undoes"), undone.get(id))
        for id, head in reversed(list(heads.items())[-most:])
    ]  # fmt: skip


def asked(ds: Dataset, batch: str) -> Batch:
    known = history(ds, most=1_000_000)
    if not batch:
        last = next((b for b in known if not (b.undone or b.undoes)), None)
        if last is None:
            raise UsageError("there is nothing to undo", where=ds.name, code="edit.nothing",
                             what_to_do=f"What was done: trugrade data edits {ds.name}")  # fmt: skip
        return last
    found = [b for b in known if b.id.startswith(batch.upper())]
    if len(found) != 1:
        raise UsageError(f"no edit '{batch}'" if not found else f"'{batch}' is the beginning of {len(found)} edits",
                         where=ds.name, code="edit.unknown", what_to_do=f"See: trugrade data edits {ds.name}")  # fmt: skip
    (one,) = found
    if one.undoes:
        raise UsageError("this is an undo; do the edit again instead", where=one.id, code="edit.undo",
                         what_to_do=f"See: trugrade data edits {ds.name}")  # fmt: skip
    if one.undone:
        by = next(b for b in known if b.id == one.undone)
        raise UsageError(f"{by.who} has undone it", where=one.id, code="edit.undone", what_to_do=f"At {by.when[:16]}.")
    return one


def edit_of(ds: Dataset, batch: str) -> Edit:
    return next(edit_in(ds, line) for line in lines(ds) if line["batch"] == batch and "edit" in line)


def edit_in(ds: Dataset, line: dict[str, Any]) -> Edit:
    try:
        return _EDIT.validate_python(line["edit"])
    except ValueError as e:
        raise DatasetError(f"an edit cannot be understood ({e})", where=str(ds.path / "edits.jsonl"),
                           code="dataset.damaged_line", what_to_do="Restore the file from a copy.") from e  # fmt: skip


def lines(ds: Dataset) -> Iterator[dict[str, Any]]:
    path = ds.path / "edits.jsonl"
    for _, line in complete_lines(path, 0):
        try:
            found = json.loads(line)
        except ValueError:
            continue  # torn
        if not isinstance(found, dict) or "batch" not in found or not ("edit" in found or "changes" in found):
            raise damaged_line(path, line, "no edit")
        yield found


def note(ds: Dataset, *lines: dict[str, Any]) -> None:
    append_to(ds.path / "edits.jsonl", [json.dumps(line, ensure_ascii=False).encode() for line in lines])
