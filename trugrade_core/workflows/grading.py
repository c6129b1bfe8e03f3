"""Several graders: who labels what, whether they agree, what is reviewed, and what in the end holds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

from trugrade_core.annotate import agreement as agreeing
from trugrade_core.annotate import assigning, consensus
from trugrade_core.annotate.agreement import Votes
from trugrade_core.annotate.label_studio import pull
from trugrade_core.annotate.label_studio.book import read_book
from trugrade_core.annotate.locks import pushed
from trugrade_core.annotate.saving import state_of
from trugrade_core.data import steps
from trugrade_core.data.store import Dataset
from trugrade_core.errors import DatasetError, UsageError, nearest
from trugrade_core.schema import BY_HAND, Annotation, LogEntry, digest
from trugrade_core.workspace import Workspace

QUEUE = 200
PAUSE_MINUTES = 5.0
"""A longer time from one change to the next is no work; as in the catalog's view annotation_activity."""


def assign(ws: Workspace, name: str, people: Sequence[str], *, samples: Sequence[str] | None = None, count: int = 0, each: int = 1, by: str) -> dict[str, Any]:  # fmt: skip
    """Give samples (those named, else the unlabelled ones; `count` of those that lack people) to people, `each` of them
    several people who vote blind. {"assigned": {person: new}}."""
    ds = Dataset.open(ws, name)
    if samples is None:
        samples = [s.id for s in ds.iter_samples() if s.status == "unlabelled" and s.excluded is None]
    return {"dataset": name, "assigned": assigning.assign(ds, samples, people, count=count, each=each, by=by)}


def withdraw(ws: Workspace, name: str, who: str, *, samples: Sequence[str] | None = None, by: str) -> dict[str, Any]:
    """Take samples (all without `samples`) from a person again: {"withdrawn": how many}. Raises UsageError."""
    ds = Dataset.open(ws, name)
    given = assigning.assignments(ds)
    if who not in given:
        raise UsageError(f"nothing of '{name}' is assigned to '{who}'", what_to_do=nearest(who, list(given)))
    taken = list(given[who].samples) if samples is None else samples
    return {"dataset": name, "withdrawn": assigning.withdraw(ds, taken, who, by=by)}


def progress(ws: Workspace, name: str) -> list[dict[str, Any]]:
    """A row for each person who was given something or has worked by hand: {"who", "assigned", "done", "blind", "minutes",
    "there", "there_minutes"}. Done is what of the assigned this one has said something of; `there` are the tasks done at
    Label Studio, with the minutes that it counted."""
    ds = Dataset.open(ws, name)
    given = assigning.assignments(ds)
    said: dict[tuple[str, str], set[str]] = {}
    worked: dict[str, list[datetime]] = defaultdict(list)
    for entry in ds.log():
        if entry.op == "put":  # who only turned a suggestion down has said nothing yet
            said.setdefault((entry.who, entry.layer), set()).add(entry.sample)
        if entry.tool in BY_HAND:
            worked[entry.who].append(entry.when)
    there = pull.people_of(read_book(ds))
    rows = []
    for who in sorted({*given, *worked, *there}):
        samples = given[who].samples if who in given else {}
        rows.append({
            "who": who, "assigned": len(samples),
            "done": sum(id in said.get((who, layer), ()) for id, layer in samples.items()),
            "blind": sum(layer != "main" for layer in samples.values()),
            "minutes": _minutes(worked.get(who, ())),
            "there": int(there.get(who, {}).get("tasks", 0)), "there_minutes": there.get(who, {}).get("minutes", 0.0),
        })  # fmt: skip
    return rows


def _minutes(moments: Sequence[datetime]) -> float:
    """From each change to the next; pauses are left out."""
    ordered = sorted(moments)
    gaps = [(b - a).total_seconds() / 60 for a, b in pairwise(ordered)]
    return sum((gap for gap in gaps if gap <= PAUSE_MINUTES), 0.0)


def agreement(ws: Workspace, name: str) -> dict[str, Any]:
    """See `annotate.agreement.agreement`."""
    return {"dataset": name, **agreeing.agreement(agreeing.read_votes(Dataset.open(ws, name)).values())}


@dataclass(frozen=True)
class Review:
    """The samples with several votes: those to be settled, furthest apart first, and the settled ones, newest first.
    Rows of {"sample", "card", "disagreement", "graders", "scores"}, of the settled with "who", "when", "reason" too."""

    votes: Mapping[str, Votes]
    queue: Sequence[dict[str, Any]]
    settled: Sequence[dict[str, Any]]


def review(ws: Workspace, name: str) -> Review:
    """What a grader said after the decision opens the sample again; what others wrote among that one's votes (a class
    renamed, a conflict settled) does not. Raises DatasetError for a damaged log."""
    ds = Dataset.open(ws, name)
    votes = agreeing.read_votes(ds)
    decided: dict[str, LogEntry] = {}
    edited = steps.written(ds)
    began: dict[tuple[str, str], str] = {}
    for entry in ds.log():
        if entry.layer == "main" and entry.tool == consensus.TOOL:
            if entry.op == "put":
                decided[entry.sample] = entry
        elif entry.layer != "main":
            # A layer may be named otherwise than its grader, whose name at Label Studio may also change.
            first = began.setdefault((entry.sample, entry.layer), entry.who)
            own = entry.who in (entry.layer, first) or entry.tool == pull.TOOL
            if own and entry.entry not in edited:
                decided.pop(entry.sample, None)
    queue: list[dict[str, Any]] = []
    settled: list[dict[str, Any]] = []
    for id, one in votes.items():
        row = {"sample": id, "card": one.sample.card, "disagreement": agreeing.disagreement(one),
               "graders": list(one.by), "scores": {g: one.score(g) for g in one.by}}  # fmt: skip
        if by := decided.get(id):
            settled.append({**row, "who": by.who, "when": by.when.isoformat(), "reason": _reason(by)})
        elif len(one.by) > 1:
            queue.append(row)
    queue.sort(key=lambda row: (-row["disagreement"], row["sample"]))
    settled.sort(key=lambda row: row["when"], reverse=True)
    return Review(votes, queue, settled)


def _reason(entry: LogEntry) -> str:
    said = entry.attributes.get("reason") or getattr(entry.value, "comment", "")
    return str(said or "")


def review_queue(ws: Workspace, name: str) -> list[dict[str, Any]]:
    """Samples with several votes that nobody has settled, those furthest apart first; see `Review`."""
    return list(review(ws, name).queue)


def within(queue: Iterable[Mapping[str, Any]], most: float) -> list[str]:
    """Of a review queue, the samples whose votes are no further apart than `most`: what `settle` would settle."""
    return [row["sample"] for row in queue if row["disagreement"] <= most]


def would_hold(votes: Votes, grader: str = "") -> list[Annotation]:
    """What `settle` would make hold of a sample: the majority's vote, or `grader`'s."""
    return consensus.of_grader(votes, grader) if grader else consensus.agreed(votes)


def settle(
    ws: Workspace, name: str, *, who: str, reason: str, samples: Sequence[str] | None = None, grader: str = "",
    most: float | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Make the votes on `samples` (else all in the review queue that are no further apart than `most`) hold: the
    majority's, or `grader`'s. With `most` only those no further apart. {"settled", "left", "held"}: votes are kept either
    way; `held` are those that cannot be changed now, with why. Raises DatasetError for a sample that was named without
    `most` and cannot be settled."""
    ds = Dataset.open(ws, name)
    found = review(ws, name)
    votes, queue = found.votes, {row["sample"]: row["disagreement"] for row in found.queue}
    wanted = list(queue) if samples is None else list(samples)
    held = [
        {"sample": id, "why": why} for id in wanted if (samples is None or most is not None) and (why := pushed(ds, id))
    ]
    busy = {row["sample"] for row in held}
    wanted = [id for id in wanted if id not in busy]
    for id in wanted:
        if id not in votes:
            raise DatasetError("nobody has voted on it", where=id, code="grading.no_votes",
                               what_to_do="Assign it to several people: trugrade data assign NAME --to ada --to ben --each 2")  # fmt: skip
    chosen = [id for id in wanted if most is None or queue.get(id, 0.0) <= most]
    if grader and samples is None:  # whoever has not voted on a sample decides nothing there
        chosen = [id for id in chosen if grader in votes[id].by]
    for id in chosen:
        holds = would_hold(votes[id], grader)
        consensus.settle(ds, votes[id], holds, who=who, reason=reason, commit=_commit(ds, votes[id], grader, reason))
    taken = set(chosen)
    return {"dataset": name, "settled": chosen, "left": [id for id in wanted if id not in taken], "held": held}


def _commit(ds: Dataset, votes: Votes, grader: str, reason: str) -> str:
    """The same decision over the same votes and the same that held before is one commit."""
    held = [e.entry for e in state_of(ds, votes.sample.id).shown]
    said = {g: [a.model_dump(mode="json") for a in own] for g, own in votes.by.items()}
    return f"consensus-{digest({'votes': said, 'grader': grader, 'reason': reason, 'held': held})[:32]}"
