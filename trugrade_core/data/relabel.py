"""Changing a dataset's classes: rename, merge, add, retire, each shown before it is done and undone as one step.

The labels follow by new log entries, in every layer; versions that were kept stay as they were. Undoing is `steps.undo`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field
from ulid import ULID

from trugrade_core.data.classes import check_class_name
from trugrade_core.data.journal import parsed
from trugrade_core.data.steps import Held, Step, check_free, check_who, take
from trugrade_core.data.store import DELETED, Dataset, said
from trugrade_core.errors import UsageError, nearest
from trugrade_core.schema import ClassDef, LogEntry, Record, ShapeKind, Tags
from trugrade_core.workspace import now

KIND = "class edit"
EXAMPLES = 12


class Rename(Record):
    do: Literal["rename"] = "rename"
    old: str
    new: str

    def words(self) -> str:
        return f"rename '{self.old}' to '{self.new}'"


class Merge(Record):
    do: Literal["merge"] = "merge"
    names: tuple[str, ...] = Field(min_length=1)
    into: str

    def words(self) -> str:
        return f"merge {', '.join(repr(name) for name in self.names)} into '{self.into}'"


class Add(Record):
    do: Literal["add"] = "add"
    name: str
    shape: ShapeKind = "box"

    def words(self) -> str:
        return f"add '{self.name}'"


class Retire(Record):
    """The class leaves the list, and what is drawn of it is deleted (in the log; old versions keep it)."""

    do: Literal["retire"] = "retire"
    name: str

    def words(self) -> str:
        return f"retire '{self.name}'"


ClassEdit = Annotated[Rename | Merge | Add | Retire, Field(discriminator="do")]


# --- the list ---------------------------------------------------------------------------------------------------


def edited(classes: Sequence[ClassDef], edit: ClassEdit) -> tuple[ClassDef, ...]:
    """The class list afterwards; what stays keeps its order. Raises UsageError: an unknown class, a name that cannot be
    or is taken, classes of different kinds merged."""
    names = [c.name for c in classes]
    if isinstance(edit, Add):
        return (*classes, ClassDef(name=check_class_name(edit.name, names), shape=edit.shape))
    if isinstance(edit, Rename):
        _known(edit.old, names)
        new = check_class_name(edit.new, [name for name in names if name != edit.old])
        if new == edit.old:
            raise UsageError(f"the class is called '{new}' already", code="class.exists", what_to_do="Give a new name.")
        return tuple(c.model_copy(update={"name": new}) if c.name == edit.old else c for c in classes)
    if isinstance(edit, Retire):
        _known(edit.name, names)
        return tuple(c for c in classes if c.name != edit.name)
    shapes = {c.name: c.shape for c in classes}
    _known(edit.into, names)
    for name in edit.names:
        _known(name, names)
        if _family(shapes[name]) != _family(shapes[edit.into]):
            raise UsageError(f"'{name}' ({shapes[name]}) cannot be merged into '{edit.into}' ({shapes[edit.into]})",
                             code="class.kind", what_to_do="Merge shapes with shapes, tags with tags.")  # fmt: skip
    if edit.into in edit.names:
        raise UsageError(f"'{edit.into}' cannot be merged into itself", code="class.merge", what_to_do="Name another class.")  # fmt: skip
    return tuple(c for c in classes if c.name not in edit.names)


def _known(name: str, names: list[str]) -> None:
    if name not in names:
        raise UsageError(f"no class '{name[:60]}' in this dataset", code="class.unknown", what_to_do=nearest(name, names) or "It has no classes yet.")  # fmt: skip


def _family(shape: ShapeKind) -> str:
    return "shapes" if shape in ("box", "polygon", "mask") else shape


def _renaming(edit: ClassEdit) -> dict[str, str | None]:
    """{class: what it is called afterwards, None where it is gone}"""
    if isinstance(edit, Rename):
        return {edit.old: check_class_name(edit.new, ())}
    if isinstance(edit, Merge):
        return dict.fromkeys(edit.names, edit.into)
    return {edit.name: None} if isinstance(edit, Retire) else {}


# --- the labels -------------------------------------------------------------------------------------------------


@dataclass
class _Found:
    """What an edit would write, and what it comes to."""

    classes: tuple[ClassDef, ...]
    entries: list[LogEntry] = field(default_factory=list)
    shapes: Counter[str] = field(default_factory=Counter)
    """By class: annotations of layer main."""
    votes: int = 0
    samples: dict[str, None] = field(default_factory=dict)
    both: set[str] = field(default_factory=set)
    """Samples that have labels of the class merged into as well."""
    bare: set[str] = field(default_factory=set)
    """Samples left without a label."""


def _look(ds: Dataset, edit: ClassEdit, who: str, tool: str) -> _Found:
    found = _Found(edited(ds.classes, edit))
    renaming = _renaming(edit)
    if not renaming:
        return found
    labels: dict[str, Counter[str]] = {}
    for heads in _heads(ds):
        found.entries += _all_followed(heads, renaming, edit.words(), who, tool)
        for head in heads:
            own = labels.setdefault(head.sample, Counter()) if head.layer == "main" else Counter()
            own.update(_labels(head))
            touched = [name for name in _labels(head) if name in renaming]
            if not touched:
                continue
            found.samples[head.sample] = None
            if head.layer == "main":
                found.shapes.update(touched)
            else:
                found.votes += 1
    for sample in found.samples:
        rest = labels.get(sample, Counter())
        if isinstance(edit, Merge) and rest[edit.into]:
            found.both.add(sample)
        if isinstance(edit, Retire) and set(rest) <= {edit.name}:
            found.bare.add(sample)
    return found


def _heads(ds: Dataset) -> Iterator[list[LogEntry]]:
    """The unreplaced entries of each annotation of any layer of which something is said; of a conflict all."""
    for lines in ds.heads_by_annotation(None).values():
        if any(json.loads(line)["op"] == "put" for line in lines):
            yield [parsed(LogEntry, ds.log_path, line) for line in lines]


def _labels(entry: LogEntry) -> list[str]:
    return [*([entry.label] if entry.label is not None else []), *(entry.value.tags if isinstance(entry.value, Tags) else ())]  # fmt: skip


def _all_followed(
    heads: Sequence[LogEntry], renaming: Mapping[str, str | None], why: str, who: str, tool: str
) -> Iterator[LogEntry]:
    """What must be said of one annotation. Heads that say the same afterwards become one: an entry with a line for each."""
    alike: dict[str, list[tuple[LogEntry, LogEntry]]] = {}
    for head in heads:
        new = _followed(head, renaming, why, who, tool)
        alike.setdefault(said(new), []).append((head, new))
    for own in alike.values():
        if any(name in renaming for head, _ in own for name in _labels(head)):
            for _, new in own:
                yield new.model_copy(update={"entry": own[0][1].entry})


def _followed(head: LogEntry, renaming: Mapping[str, str | None], why: str, who: str, tool: str) -> LogEntry:
    """The entry that says what `head` says under the new names; a deletion where its class is gone."""
    changes: dict[str, Any] = {"entry": str(ULID()), "replaces": head.entry, "who": who, "when": now(), "tool": tool, "reason": why}  # fmt: skip
    if isinstance(head.value, Tags):
        tags = (renaming.get(tag, tag) for tag in head.value.tags)
        changes["value"] = Tags(tags=tuple(dict.fromkeys(tag for tag in tags if tag is not None)))
    if head.label is not None:
        label = renaming.get(head.label, head.label)
        changes["label"] = label
        if label is None:
            changes |= DELETED
    return head.model_copy(update=changes)


# --- doing ------------------------------------------------------------------------------------------------------


def preview(ds: Dataset, edit: ClassEdit) -> dict[str, Any]:
    """What `apply` would do: {what, classes, annotations, votes, samples, examples, notes}. Raises as `edited`."""
    return _told(ds, edit, _look(ds, edit, "", ""))


def _told(ds: Dataset, edit: ClassEdit, found: _Found) -> dict[str, Any]:
    before = {c.name: n for n, c in enumerate(ds.classes, 1)}
    after = {c.name: n for n, c in enumerate(found.classes, 1)}
    shifted = [f"{name} {before[name]} to {after[name]}" for name in before if name in after and before[name] != after[name]]  # fmt: skip
    notes = [f"class ids change in new versions: {', '.join(shifted)}"] if shifted else []
    if found.votes:
        notes.append(f"{found.votes} graders' own vote(s) follow")
    if found.both:
        notes.append(f"{len(found.both)} sample(s) have labels of both: look for shapes drawn twice")
    if found.bare:
        notes.append(f"{len(found.bare)} sample(s) keep no label: those that are done then count as 'nothing there'")
    if isinstance(edit, Merge):
        shapes = {c.name: c.shape for c in ds.classes}
        notes += [f"what was drawn as {shapes[name]} stays {shapes[name]}; '{edit.into}' is drawn as {shapes[edit.into]}"
                  for name in edit.names if shapes[name] != shapes[edit.into]]  # fmt: skip
    return {
        "what": edit.words(),
        "classes": {"before": [c.name for c in ds.classes], "after": [c.name for c in found.classes]},
        "annotations": sum(found.shapes.values()),
        "votes": found.votes,
        "samples": len(found.samples),
        "examples": list(found.samples)[:EXAMPLES],
        "notes": notes,
    }


def apply(ds: Dataset, edit: ClassEdit, *, who: str, tool: str, held: Held = lambda ids: {}) -> dict[str, Any]:
    """Do it in one step; {"step", …} as `preview`. Raises as `edited`, and DatasetError, changing nothing, when labels
    that would change are held elsewhere."""
    who = check_who(who)
    with ds.lock():
        found = _look(ds, edit, who, tool)
        check_free(ds, held(list(found.samples)))
        told = _told(ds, edit, found)
        facts = {"classes": [c.model_dump() for c in found.classes]}
        step = take(ds, Step(KIND, edit.words(), found.entries, (), facts), who=who)
    return {"step": step, **told}
