"""Saving what a person drew or said, so that nothing is lost and nobody's work is overwritten unseen.

A commit is what a person did in one stroke: some operations on one sample. It is written whole or not at all, in one
batch that is on the disk before the answer. A browser sends it again when it heard no answer; the second time adds
nothing, since an entry's id ends in a digest of the commit and the place in it. Each operation names the entry it
replaces, as its author saw it; two that replace the same entry are a conflict, which both keep until somebody settles it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field
from ulid import ULID

from trugrade_core.annotate.indexes import log_of, samples_of
from trugrade_core.annotate.locks import pushed
from trugrade_core.annotate.shapes import inside
from trugrade_core.data.store import Conflict, Dataset, said, status_id
from trugrade_core.errors import DatasetError, UsageError, nearest
from trugrade_core.schema import Box, LogEntry, Mask, Polygon, Record, Sample, Score, Status, Tags, Value
from trugrade_core.workspace import now

SEVERITIES = ("micro", "minor", "moderate", "heavy")
LONGEST_WORD = 1000
TAIL = 16
"""Characters of an entry's id that follow from its commit: the ULID's 80 bits beside its time."""


class Op(Record):
    """One change. `annotation` None is a new one; `replaces` the entry its author saw (None for a new one)."""

    op: Literal["put", "delete"]
    annotation: str | None = None
    label: str | None = None
    value: Value | None = None
    attributes: dict[str, str | float | bool | None] = Field(default={})
    replaces: str | None = None
    suggested_by: str | None = None


class Decision(Record):
    """What became of a suggestion: kept in the log as a deletion of its id with this word as the reason."""

    suggestion: str
    word: Literal["accepted", "rejected", "restored"]
    by: str


@dataclass(frozen=True)
class Saved:
    """The answer to a commit: by operation (then status and decisions) the entry and annotation it made; conflicts it is part of;
    what was changed on the way (a box clipped to the image). `status_entry` says its status: made by it, or by who said the same
    before; None without one. `again`: it had been saved before, and nothing was added."""

    sample: str
    commit: str
    entries: tuple[str, ...]
    status_entry: str | None
    annotations: tuple[str, ...]
    conflicts: tuple[Conflict, ...]
    notes: tuple[str, ...]
    again: bool


@dataclass(frozen=True)
class SampleState:
    """What holds of a sample in a layer. `shown` has one put for each annotation (of those in conflict the newest)."""

    sample: Sample
    layer: str
    shown: tuple[LogEntry, ...]
    heads: dict[str, tuple[LogEntry, ...]]
    status: Status
    status_entry: str | None
    conflicts: tuple[Conflict, ...]
    last: LogEntry | None
    decided: frozenset[str]
    """Ids of the suggestions that were accepted or rejected."""


# --- reading ----------------------------------------------------------------------------------------------------


def state_of(ds: Dataset, sample_id: str, layer: str = "main") -> SampleState:
    """Reads this sample's lines alone. Raises DatasetError: no such sample, or a damaged line."""
    sample = samples_of(ds).sample(ds, sample_id)
    return _state(sample, layer, log_of(ds).entries(sample_id))


def _state(sample: Sample, layer: str, entries: Sequence[LogEntry]) -> SampleState:
    own = [e for e in entries if e.layer == layer]
    heads = heads_of(own)
    about = status_id(sample.id, layer)
    said = next((e for e in reversed(heads.get(about, ())) if isinstance(e.value, Status)), None)
    shown = [next((e for e in reversed(found) if e.op == "put"), None) for id, found in heads.items() if id != about]
    return SampleState(
        sample=sample, layer=layer, heads=heads, shown=tuple(e for e in shown if e is not None),
        status=said.value if said and isinstance(said.value, Status)
        else Status(status=sample.status if layer == "main" else "unlabelled"),
        status_entry=said.entry if said else None, conflicts=_conflicts(heads, heads), last=own[-1] if own else None,
        decided=frozenset(id for id, found in heads.items() if found and found[-1].reason in ("accepted", "rejected")),
    )  # fmt: skip


def heads_of(entries: Iterable[LogEntry]) -> dict[str, tuple[LogEntry, ...]]:
    """{annotation: its unreplaced entries, oldest first}, in the order in which annotations appeared."""
    heads: dict[str, dict[str, LogEntry]] = {}
    replaced: set[str] = set()
    for entry in entries:
        own = heads.setdefault(entry.annotation, {})
        if entry.replaces:
            own.pop(entry.replaces, None)
            replaced.add(entry.replaces)
        if entry.entry not in replaced:
            own[entry.entry] = entry
    return {annotation: tuple(found.values()) for annotation, found in heads.items()}


def _conflicts(heads: dict[str, tuple[LogEntry, ...]], annotations: Iterable[str]) -> tuple[Conflict, ...]:
    return tuple(
        Conflict(annotation, heads[annotation][0].sample, heads[annotation])
        for annotation in dict.fromkeys(annotations)
        if len(heads.get(annotation, ())) > 1 and len({said(entry) for entry in heads[annotation]}) > 1
    )


# --- saving -----------------------------------------------------------------------------------------------------


def save(
    ds: Dataset,
    sample_id: str,
    ops: Sequence[Op],
    *,
    who: str,
    tool: str,
    commit: str,
    layer: str = "main",
    status: Status | None = None,
    status_replaces: str | None = None,
    decisions: Sequence[Decision] = (),
    scores: Sequence[float] | None = None,
    tags: Sequence[str] | None = None,
) -> Saved:
    """Write the commit of that id. `scores` and `tags` are what the task allows (None: any score, the dataset's tags).

    Raises DatasetError or UsageError, and writes nothing: no such sample, worked on in Label Studio, an unknown class,
    a shape that cannot be (`shapes.inside`), a mask of another size, a replaced entry that is not in the log, a damaged log.
    """
    who = person(who)
    if not 8 <= len(commit) <= 200:
        raise UsageError("a commit needs an id of 8 to 200 characters of its own", what_to_do="Give a random UUID.")
    with ds.lock():
        _check_free(ds, sample_id)
        sample = samples_of(ds).sample(ds, sample_id)
        entries = log_of(ds).entries(sample_id)
        batch = _Batch(ds, sample, entries, who=who, tool=tool, commit=commit, layer=layer, scores=scores, tags=tags)
        for number, op in enumerate(ops):
            batch.add(str(number), op)
        held = _state(sample, layer, entries)
        status_entry = held.status_entry if status is not None else None
        if status is not None and _says_more(status, held):
            about = status_id(sample_id, layer)
            batch.add("status", Op(op="put", annotation=about, value=status, replaces=status_replaces))
            status_entry = batch.entries[-1]
        for one in decisions:
            decided = Op(op="delete", annotation=one.suggestion, suggested_by=one.by)
            batch.add(f"{one.word} {one.suggestion}", decided, one.word)
        ds.append_entries(batch.new)
        heads = heads_of(e for e in [*entries, *batch.new] if e.layer == layer)
        if layer == "main":
            _keep_status(ds, sample, heads)
    return Saved(
        sample=sample_id, commit=commit, entries=tuple(batch.entries), status_entry=status_entry, annotations=tuple(batch.annotations),
        conflicts=_conflicts(heads, batch.annotations), notes=tuple(batch.notes), again=not batch.new,
    )  # fmt: skip


def _check_free(ds: Dataset, sample_id: str) -> None:
    if reason := pushed(ds, sample_id):
        raise DatasetError(f"cannot be changed here: {reason}", where=sample_id, code="annotate.read_only",
                           what_to_do="trugrade label pull brings its annotations; the page opens the task.")  # fmt: skip


def person(who: str) -> str:
    """The name as it is kept. Any characters; raises UsageError for none, or for ones that no file can hold."""
    who = who.strip()
    if not who:
        raise UsageError("nobody has said who is at work", code="annotate.who", what_to_do="Give a name first.")
    if len(who) > LONGEST_WORD or (
        not who.isprintable() and any(ord(c) < 32 or 0xD800 <= ord(c) < 0xE000 for c in who)
    ):
        raise UsageError("this name cannot be kept", code="annotate.who",
                         what_to_do=f"Use up to {LONGEST_WORD} characters in one line.")  # fmt: skip
    return who


def _says_more(status: Status, held: SampleState) -> bool:
    """Whether this status is not what already holds undisputed, so that pressing a key twice writes one line."""
    about = status_id(held.sample.id, held.layer)
    return (
        held.status != status
        or (held.status_entry is None and status.status != "unlabelled")
        or any(conflict.annotation == about for conflict in held.conflicts)
    )


def _keep_status(ds: Dataset, sample: Sample, heads: dict[str, tuple[LogEntry, ...]]) -> None:
    """Bring the sample's own status to what was said last. Also mends it after a crash between the two files."""
    said = heads.get(status_id(sample.id), ())
    if said and isinstance(said[-1].value, Status) and said[-1].value.status != sample.status:
        ds.append_samples([sample.model_copy(update={"status": said[-1].value.status})])


class _Batch:
    """The entries of one commit as they are checked, before any is written."""

    def __init__(
        self, ds: Dataset, sample: Sample, entries: Sequence[LogEntry], *, who: str, tool: str, commit: str, layer: str,
        scores: Sequence[float] | None, tags: Sequence[str] | None,
    ) -> None:  # fmt: skip
        self.sample, self.layer, self.commit = sample, layer, commit
        self.who, self.tool = who, tool
        self.scores, self.tags = scores, tags
        self.classes = {c.name: c for c in ds.classes}
        self.elsewhere = log_of(ds).sample_of
        self.seen = {e.annotation: set[str]() for e in entries if e.layer == layer}
        for e in entries:
            if e.layer == layer:
                self.seen[e.annotation].add(e.entry)
        self.written = {(e.entry[-TAIL:], e.replaces): e.entry for e in entries}
        self.first: dict[tuple[str, str, str], str] = {}
        self.new: list[LogEntry] = []
        self.entries: list[str] = []
        self.annotations: list[str] = []
        self.notes: list[str] = []

    def add(self, place: str, op: Op, reason: str = "") -> None:
        """`place` names the operation within its commit."""
        annotation = (
            op.annotation
            or hashlib.sha256(f"{self.commit}:{self.sample.id}:{self.layer}:{place}".encode()).hexdigest()[:16]
        )
        # What says the same of one annotation in one commit settles its heads: one entry that replaces them all.
        place = self.first.setdefault((annotation, said(op), reason), place)
        random = hashlib.sha256(f"{self.commit}:{self.sample.id}:{self.layer}:{place}".encode()).digest()[:10]
        at = now()
        entry = str(ULID.from_bytes(int(at.timestamp() * 1000).to_bytes(6, "big") + random))
        entry = next((e.entry for e in self.new if e.entry[-TAIL:] == entry[-TAIL:]), entry)
        found = self.written.get((entry[-TAIL:], op.replaces))
        if found is None and isinstance(op.value, Status):  # sent again, it may be told to replace a later one
            found = next((known for (tail, _), known in self.written.items() if tail == entry[-TAIL:]), None)
        if found is None:
            label, value, note = self._checked(op)
            self._check_place(op, annotation)
            self.seen.setdefault(annotation, set()).add(entry)
            self.new.append(LogEntry(
                entry=entry, annotation=annotation, sample=self.sample.id, layer=self.layer, op=op.op, replaces=op.replaces,
                label=label, value=value, attributes=op.attributes if value else {}, who=self.who, when=at, tool=self.tool,
                suggested_by=op.suggested_by, reason=reason,
            ))  # fmt: skip
            self.notes += [note] if note else []
        self.entries.append(found or entry)
        self.annotations.append(annotation)

    def _check_place(self, op: Op, annotation: str) -> None:
        if self.elsewhere.get(annotation, self.sample.id) != self.sample.id:
            raise self._wrong(f"annotation '{annotation}' is of another sample", "Reload the page.")
        known = self.seen.get(annotation, set())
        if op.replaces is not None and op.replaces not in known:
            raise self._wrong(f"it replaces entry '{op.replaces[:40]}', which is not in the log of this annotation",
                              "Reload the sample: the log was restored from an older copy, or the entry is another annotation's.")  # fmt: skip
        if op.op == "delete" and not known and not op.suggested_by:
            raise self._wrong(f"there is no annotation '{annotation}' to delete", "Reload the sample.")

    def _wrong(self, message: str, what_to_do: str, code: str = "annotate.op") -> DatasetError:
        return DatasetError(message, where=self.sample.id, code=code, what_to_do=what_to_do)

    def _checked(self, op: Op) -> tuple[str | None, Value | None, str]:
        """(label, value, what was changed) of an operation as they are kept."""
        if op.op == "delete":
            return None, None, ""
        value = op.value
        severity = op.attributes.get("severity")
        if severity is not None and severity not in SEVERITIES:
            raise self._wrong(f"severity {severity!r} is not known", f"known: {', '.join(SEVERITIES)}")
        if isinstance(value, Box | Polygon | Mask):
            self._check_class(op.label, ("box", "polygon", "mask"))
            try:
                kept, note = inside(value, self.sample.main.width, self.sample.main.height)
            except DatasetError as e:
                raise self._wrong(e.message, e.what_to_do, e.code) from e
            return op.label, kept, note
        if isinstance(value, Score):
            if self.scores is not None and value.score not in self.scores:
                raise self._wrong(f"{value.score:g} is not a score that can be given",
                                  f"{min(self.scores):g} to {max(self.scores):g} in half steps.")  # fmt: skip
            if op.label is not None:
                self._check_class(op.label, ("score",))
            return op.label, value, ""
        if isinstance(value, Tags):
            known = (
                list(self.tags)
                if self.tags is not None
                else [c.name for c in self.classes.values() if c.shape == "tags"]
            )
            for tag in value.tags:
                if tag not in known:
                    raise self._wrong(f"tag '{tag[:60]}' is not known", nearest(tag, known))
            return None, Tags(tags=tuple(dict.fromkeys(value.tags))), ""
        if isinstance(value, Status):
            return None, value, ""
        raise self._wrong("a put says nothing", "Give a value.")

    def _check_class(self, label: str | None, kinds: tuple[str, ...]) -> None:
        known = [name for name, c in self.classes.items() if c.shape in kinds]
        if label is None:
            raise self._wrong("the shape has no class", f"Choose one of: {', '.join(known)}" if known else
                              "The dataset has no classes yet: add one first.")  # fmt: skip
        if label not in known:
            raise self._wrong(f"class '{label[:60]}' is not one of the dataset's", nearest(label, known))


# --- settling a conflict ----------------------------------------------------------------------------------------


def resolve(
    ds: Dataset, annotation: str, keep_entry: str, *, who: str, reason: str, tool: str = "annotator"
) -> LogEntry:
    """Settle a conflict: what `keep_entry` says holds, by a new entry that replaces every head, with its reason.

    Raises DatasetError, and writes nothing: no such annotation, no conflict, or an entry that is no longer a head of it.
    """
    who = person(who)
    with ds.lock():
        log = log_of(ds)
        log.refresh()
        sample_id = log.sample_of.get(annotation)
        if sample_id is None:
            raise DatasetError(f"no annotation '{annotation[:40]}' in this dataset", where=ds.name, code="annotate.op",
                               what_to_do=f"trugrade data conflicts {ds.name} lists what is to be settled.")  # fmt: skip
        _check_free(ds, sample_id)
        heads = heads_of(e for e in log.entries(sample_id) if e.annotation == annotation)[annotation]
        kept = next((e for e in heads if e.entry == keep_entry), None)
        if kept is None or len(heads) < 2:
            raise DatasetError(
                f"entry '{keep_entry[:40]}' is not one of {len(heads)} that stand against each other" if len(heads) > 1
                else "is settled already", where=annotation, code="annotate.settled",
                what_to_do="Look at it again: somebody may have changed it meanwhile.")  # fmt: skip
        settled = kept.model_copy(update={
            "entry": str(ULID()), "who": who, "when": now(), "tool": tool, "reason": reason.strip()[:LONGEST_WORD],
        })  # fmt: skip
        ds.append_entries([settled.model_copy(update={"replaces": head.entry}) for head in heads])
        if kept.layer == "main" and isinstance(kept.value, Status):
            sample = samples_of(ds).sample(ds, sample_id)
            _keep_status(ds, sample, {annotation: (settled,)})
    return settled
