"""From several votes to one label: the median score, the tags and shapes of the majority, or what a person decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from trugrade_core.annotate.agreement import Votes
from trugrade_core.annotate.alike import MATCH_IOU, iou
from trugrade_core.annotate.saving import Op, Saved, save, state_of
from trugrade_core.data import rle
from trugrade_core.data.store import Dataset
from trugrade_core.errors import DatasetError, UsageError, nearest
from trugrade_core.schema import Annotation, LogEntry, Score, Status, Tags, digest

TOOL = "consensus"


def agreed(votes: Votes) -> list[Annotation]:
    """What the majority says: the median of the scores in half steps (between two, the lower), the tags of more than
    half, and of shapes that more than half drew (IoU >= 0.5) the one nearest to the others."""
    graders = list(votes.by)
    found: list[Annotation] = []
    scores = sorted(s for g in graders if (s := votes.score(g)) is not None)
    if scores:
        found.append(_made(votes, None, Score(score=float(np.ceil(2 * np.median(scores) - 0.5) / 2))))
    tagged = [t for g in graders if (t := votes.tags(g)) is not None]
    if tagged:
        names = sorted({tag for tags in tagged for tag in tags})
        kept = tuple(tag for tag in names if 2 * sum(tag in tags for tags in tagged) > len(tagged))
        found.append(_made(votes, None, Tags(tags=kept)))
    return found + _shapes(votes, graders)


def _made(votes: Votes, label: str | None, value: Score | Tags) -> Annotation:
    id = digest({"sample": votes.sample.id, "consensus": value.type})[:16]
    return Annotation(id=id, sample=votes.sample.id, label=label, value=value)


def _shapes(votes: Votes, graders: Sequence[str]) -> list[Annotation]:
    left = [a for g in graders for a in votes.shapes(g)]
    outlines = {a.id: rle.outlines(a.value) for a in left}
    overlap = {(a.id, b.id): iou(outlines[a.id], outlines[b.id]) for a in left for b in left if a.label == b.label}
    found = []
    while left:
        alike = {a.id: _nearest(a, left, overlap) for a in left}
        best = max(left, key=lambda a: (len(alike[a.id]), sum(overlap[a.id, b.id] for b in alike[a.id].values())))
        group = alike[best.id]
        if 2 * len(group) > len(graders):
            found.append(best.model_copy(update={"layer": "main", "id": digest({"consensus": best.id})[:16]}))
        left = [a for a in left if a.id != best.id and a not in group.values()]
    return found


def _nearest(
    one: Annotation, left: Sequence[Annotation], overlap: Mapping[tuple[str, str], float]
) -> dict[str, Annotation]:
    """Of each grader the shape that means the same as `one`: the one that overlaps it most."""
    alike = [b for b in left if b.label == one.label and overlap[one.id, b.id] >= MATCH_IOU]
    return {b.layer: b for b in sorted(alike, key=lambda b: overlap[one.id, b.id])}


def settle(
    ds: Dataset, votes: Votes, annotations: Sequence[Annotation], *, who: str, reason: str, commit: str
) -> Saved:
    """Write `annotations` as what holds of the sample: into layer main, in place of what stood there of the same kind: a
    score, tags, shapes of a class that somebody drew, or every shape where all saw nothing. Votes stay."""
    if not reason.strip():
        raise UsageError("a decision needs its reason", where=votes.sample.id, what_to_do="Say why in a few words.")
    state = state_of(ds, votes.sample.id)
    # Every head is replaced, a deletion too: of two the other would go on to hold.
    heads = {id: [head.entry for head in found] for id, found in state.heads.items() if found}
    wanted = {a.id for a in annotations}
    gone = [e.annotation for e in state.shown if e.annotation not in wanted and _is_of(e, votes)]
    note = {"reason": reason.strip()[:500], "votes": ", ".join(votes.by)[:500]}
    ops = [
        Op(op="put", annotation=a.id, label=a.label, value=a.value, attributes={**a.attributes, **note}, replaces=head)
        for a in annotations for head in heads.get(a.id, [None])
    ] + [Op(op="delete", annotation=id, replaces=head) for id in gone for head in heads[id]]  # fmt: skip
    # The reason stands with the status too: where the votes agree that nothing is there, no shape carries it.
    said = Status(status="done", comment=note["reason"])
    return save(ds, votes.sample.id, ops, who=who, tool=TOOL, commit=commit, status=said,
                status_replaces=state.status_entry)  # fmt: skip


def _is_of(held: LogEntry, votes: Votes) -> bool:
    """Whether the votes speak of what this entry says."""
    spoken = [a for own in votes.by.values() for a in own]
    if held.tool == TOOL:
        return True
    if isinstance(held.value, Score | Tags):
        return any(a.value.type == held.value.type for a in spoken)
    return not spoken or held.label in {a.label for a in spoken if not isinstance(a.value, Score | Tags)}


def of_grader(votes: Votes, grader: str) -> list[Annotation]:
    """One grader's vote, as what would hold. Raises DatasetError when that one did not vote."""
    if grader not in votes.by:
        raise DatasetError(
            f"'{grader}' has not voted on it", where=votes.sample.id, what_to_do=nearest(grader, list(votes.by))
        )
    return [a.model_copy(update={"layer": "main", "id": digest({"consensus": a.id})[:16]}) for a in votes.by[grader]]
