"""From Label Studio to the lab's log: what was added, changed, removed, skipped there; shown first, then taken in.

Nothing is merged. What both sides last agreed on is in the book; what Label Studio changed since replaces that very
entry, so where somebody changed it in the lab too, both stand and are shown as a conflict.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from trugrade_core.annotate.label_studio.book import Book, Known, Task, Work, alone, read_book, write_book
from trugrade_core.annotate.label_studio.client import Server
from trugrade_core.annotate.label_studio.config import Config, parse
from trugrade_core.annotate.label_studio.convert import from_annotation
from trugrade_core.annotate.label_studio.push import check_server, said
from trugrade_core.annotate.saving import Op, SampleState, save, state_of
from trugrade_core.data.store import Dataset, annotation_in
from trugrade_core.errors import LabelStudioError, TruGradeError
from trugrade_core.runs import Progress
from trugrade_core.schema import Annotation, Box, Mask, Polygon, Score, Status, Tags, Value, digest

OVERLAP = timedelta(seconds=2)
"""Read again of what was read before: two changes may carry the same moment."""
TOOL = "label_studio"
Names = Callable[[int], str]
"""The lab's name of a Label Studio user."""


@dataclass
class Diff:
    """Rows of {sample, annotation, label, who, …}. `problems` were not understood and are left at Label Studio."""

    added: list[dict[str, Any]] = field(default_factory=list)
    changed: list[dict[str, Any]] = field(default_factory=list)
    removed: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[dict[str, Any]] = field(default_factory=list)
    conflicts: list[dict[str, Any]] = field(default_factory=list)
    statuses: list[dict[str, Any]] = field(default_factory=list)
    problems: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    samples: int = 0

    def as_json(self) -> dict[str, Any]:
        return dict(vars(self))


@dataclass(frozen=True)
class _Change:
    """What one person's annotation of a task says, and how it changes a layer."""

    sample: str
    layer: str
    who: str
    user: int
    annotation: Mapping[str, Any]
    ops: list[Op]
    status: Status | None
    state: SampleState
    agreed: dict[str, str]
    """{annotation: digest of what Label Studio has}, of all that is there now."""
    gone: frozenset[str] | None = None
    """Of a person who has deleted theirs: the rows of `work` that went with it."""


def pull(
    ds: Dataset, server: Server, names: Names, *, apply: bool, scores: Sequence[float] | None = None, progress: Progress | None = None
) -> Diff:  # fmt: skip
    """What changed at Label Studio since the last pull; with `apply` it is written to the log. `scores` are those that may
    be given (None: any).

    Raises LabelStudioError: nothing was ever pushed, or to another server; the server is down, refuses, or has lost the
    project.
    """
    with alone(ds):
        book = read_book(ds)
        if book.project is None:
            raise LabelStudioError("nothing of this dataset is at Label Studio", where=ds.name,
                                   code="label_studio.no_project", what_to_do=f"trugrade label push {ds.name}")  # fmt: skip
        check_server(ds, server, book)
        # The template as it is there: what does not fit the lab is told result by result.
        config, diff = parse(server.label_config(book.project)), Diff()
        there = server.task_ids(book.project)
        by_task = {task.id: sample for sample, task in book.samples.items()}
        gone = [sample for id, sample in by_task.items() if id not in there]
        if gone:
            diff.notes.append(f"{len(gone)} tasks were deleted at Label Studio; what was pulled of them stays here")
        latest, changes = book.pulled_to, list[_Change]()
        since = latest - OVERLAP if latest else None
        for found in server.annotated_tasks(book.project, since):
            latest = max(filter(None, (latest, found["updated_at"])), default=None)
            if found["id"] in by_task:
                changes += _of_task(ds, book, by_task[found["id"]], found["annotations"], config, names, diff)
                if progress:
                    progress(len(changes), len(book.samples), "reading tasks")
        if apply:
            _apply(ds, book, changes, diff, scores, progress)
            for sample in gone:
                book.samples[sample].state = "released"
            if not diff.problems:  # what could not be taken in is asked for again
                book.pulled_to = latest
            write_book(ds, book)
    return diff


# --- reading --------------------------------------------------------------------------------------------------------


def _of_task(
    ds: Dataset, book: Book, sample: str, annotations: Sequence[Mapping[str, Any]], config: Config, names: Names, diff: Diff
) -> list[_Change]:  # fmt: skip
    """The newest annotation of each person, and those of people who have deleted theirs."""
    task = book.samples[sample]
    newest: dict[int, Mapping[str, Any]] = {}
    for annotation in sorted(annotations, key=lambda a: (str(a.get("updated_at")), a.get("id") or 0)):
        newest[_user(annotation)] = annotation
    layers = _layers(task, list(newest), names)
    diff.samples += bool(newest)
    return [
        _change(ds, task, sample, annotation, config, layers[user], names(user), diff)
        for user, annotation in newest.items()
    ] + [
        _taken_back(ds, task, sample, user, layer, names(user), {str(a.get("id")) for a in annotations}, diff)
        for user, layer in task.layers.items()
        if user not in newest and task.known.get(layer)
    ]


def _layers(task: Task, users: Sequence[int], names: Names) -> dict[int, str]:
    """{user: layer}. Whoever was alone at the first pull speaks for layer main; the others, and all where several began
    together, vote in a layer of their own name. Who has one keeps it."""
    found = dict(task.layers)
    for user in users:
        if user in found:
            continue
        own = names(user)
        if own == "main" or own in found.values():  # two of one name are two people all the same
            own = f"{own} (Label Studio {user})"
        found[user] = "main" if not found and len(users) == 1 else own
    return found


def _taken_back(
    ds: Dataset, task: Task, sample: str, user: int, layer: str, who: str, there: Collection[str], diff: Diff
) -> _Change:  # fmt: skip
    """The person has deleted the annotation there as a whole; `there` are those of others."""
    state = state_of(ds, sample, layer)
    known = task.known[layer]
    said_there = digest({id: k.entry for id, k in known.items()})[:32]
    deleted = {"id": f"deleted-{user}-{said_there}", "updated_at": datetime.now(UTC).isoformat()}
    gone = frozenset(id for id, work in task.work.items() if work.who == who and id not in there)
    change = _Change(sample, layer, who, user, deleted, [], None, state, {}, gone)
    for id, before in known.items():
        _delete(id, before, change, {"sample": sample, "who": who, "layer": layer}, diff)
    return change


def _user(annotation: Mapping[str, Any]) -> int:
    by = annotation.get("completed_by")
    return int(by["id"] if isinstance(by, Mapping) else by or 0)


def _change(
    ds: Dataset, task: Task, sample: str, annotation: Mapping[str, Any], config: Config, layer: str, who: str, diff: Diff
) -> _Change:  # fmt: skip
    state = state_of(ds, sample, layer)
    image = state.sample.main
    known = [annotation_in(e) for e in state.shown] if layer == "main" else []
    came = from_annotation(annotation, config, width=image.width, height=image.height, sample=sample, layer=layer, known=known)  # fmt: skip
    where = {"sample": sample, "who": who, "layer": layer}
    diff.problems += [{**where, "result": p.id, "why": str(p)} for p in came.problems]
    diff.notes += [f"{sample}: {note}" for note in came.notes]
    arrived = [_in_layer(one.annotation, layer) for one in came.arrived]
    sent = {_layer_id(one.annotation.id, layer): one.entry for one in came.arrived}
    agreed = task.known.get(layer, {})
    change = _Change(sample, layer, who, _user(annotation), annotation, [], came.status, state,
                     {a.id: said(a) for a in arrived})  # fmt: skip
    if came.status and came.status.status == "skipped":  # its shapes are not taken, and what stood before stays
        diff.skipped.append({**where, "reason": came.status.comment})
        change.agreed.update({id: known.digest for id, known in agreed.items()})
        return change
    if came.status is None:
        empty = Status(status="unsure", comment="submitted empty at Label Studio, and not marked 'nothing there'")
        change = replace(change, status=empty)
    if change.status != state.status and change.status is not None:
        diff.statuses.append({**where, "status": change.status.status, "comment": change.status.comment})
    for one in arrived:
        _put(one, agreed.get(one.id), sent[one.id], change, where, diff)
    there = {_layer_id(id, layer) for id in came.ids}
    for id, before in agreed.items():
        if id not in there:
            _delete(id, before, change, where, diff)
    return change


def _in_layer(annotation: Annotation, layer: str) -> Annotation:
    """One annotation drawn by two people is two, each in its layer."""
    return annotation.model_copy(update={"id": _layer_id(annotation.id, layer), "layer": layer})


def _layer_id(id: str, layer: str) -> str:
    return id if layer == "main" else digest({"annotation": id, "layer": layer})[:16]


def _put(
    one: Annotation, before: Known | None, sent: str | None, change: _Change, where: dict[str, str], diff: Diff
) -> None:  # fmt: skip
    """Add the operation that says `one`, unless nothing was changed there or the lab says it already. It replaces the
    entry it was drawn over there: the one `sent` with it where that still holds, else what both sides last agreed on."""
    heads = change.state.heads.get(one.id, ())
    saying = [h for h in heads if h.op == "put"]
    if (before and said(one) == before.digest) or any(said(annotation_in(h)) == said(one) for h in saying):
        return
    row = {**where, "annotation": one.id, "label": one.label}
    holding = {h.entry for h in heads}
    over = sent if sent in holding else before.entry if before else None
    change.ops.append(Op(op="put", annotation=one.id, label=one.label, value=one.value, attributes=one.attributes,
                         replaces=over))  # fmt: skip
    if before is None and not heads:
        diff.added.append({**row, "after": words(one.value)})
        return
    was = words(saying[-1].value) if saying else "deleted"
    diff.changed.append({**row, "before": was, "after": words(one.value)})
    if over not in holding:
        diff.conflicts.append({**row, "why": "it was changed in the lab too"})


def _delete(id: str, before: Known, change: _Change, where: dict[str, str], diff: Diff) -> None:
    heads = change.state.heads.get(id, ())
    saying = [h for h in heads if h.op == "put"]
    if not saying:
        return
    row = {**where, "annotation": id, "label": saying[-1].label}
    diff.removed.append({**row, "before": words(saying[-1].value)})
    change.ops.append(Op(op="delete", annotation=id, replaces=before.entry))
    if before.entry not in {h.entry for h in heads}:
        diff.conflicts.append({**row, "why": "it was deleted there and changed in the lab"})


def words(value: Value | None) -> str:
    """What a value is, in a few words for a table."""
    if isinstance(value, Box):
        return "box " + ", ".join(f"{v:.1f}" for v in value.xyxy)
    if isinstance(value, Polygon):
        return f"polygon of {len(value.points)} points"
    if isinstance(value, Mask):
        return "mask"
    if isinstance(value, Score):
        return f"score {value.score:g}"
    return ", ".join(value.tags) or "no tags" if isinstance(value, Tags) else ""


# --- taking in ------------------------------------------------------------------------------------------------------


def _apply(
    ds: Dataset, book: Book, changes: Sequence[_Change], diff: Diff, scores: Sequence[float] | None, progress: Progress | None
) -> None:  # fmt: skip
    """Write the changes to the log, then to the book. Cut off in between, the next pull finds them there already."""
    held = {change.sample: book.samples[change.sample].state for change in changes}
    for sample in held:
        book.samples[sample].state = "pulled"
    write_book(ds, book)  # before the first save, which refuses what is pushed
    for done, change in enumerate(changes, 1):
        try:
            _take(ds, book.samples[change.sample], change, scores)
        except TruGradeError as e:
            where = {"sample": change.sample, "who": change.who, "layer": change.layer}
            diff.problems.append({**where, "result": "", "why": e.message})
            book.samples[change.sample].state = held[change.sample]
        if progress:
            progress(done, len(changes), "writing annotations")


def _take(ds: Dataset, task: Task, change: _Change, scores: Sequence[float] | None) -> None:
    commit = f"label-studio-{change.annotation.get('id')}-{change.annotation.get('updated_at')}-{change.layer}"
    saved = save(
        ds, change.sample, change.ops, who=change.who, tool=TOOL, commit=commit[:200], layer=change.layer,
        status=change.status, status_replaces=change.state.status_entry, scores=scores,
    )  # fmt: skip
    entries = {h.annotation: h.entry for heads in change.state.heads.values() for h in heads}
    entries |= dict(zip(saved.annotations, saved.entries, strict=True))
    task.known[change.layer] = {
        id: Known(entry=entries[id], digest=text) for id, text in change.agreed.items() if id in entries
    }
    task.layers[change.user] = change.layer
    if change.gone is not None:
        task.work = {id: work for id, work in task.work.items() if id not in change.gone}
        return
    when = datetime.fromisoformat(str(change.annotation["updated_at"]).replace("Z", "+00:00"))
    seconds = float(change.annotation.get("lead_time") or 0)
    task.work[str(change.annotation["id"])] = Work(who=change.who, seconds=seconds, when=when)


def people_of(book: Book) -> dict[str, dict[str, float]]:
    """{person: {"tasks", "minutes"}} of what was pulled."""
    found: dict[str, dict[str, float]] = {}
    for task in book.samples.values():
        for work in task.work.values():
            row = found.setdefault(work.who, {"tasks": 0, "minutes": 0.0})
            row["tasks"] += 1
            row["minutes"] += work.seconds / 60
    return found
