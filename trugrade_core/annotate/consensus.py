"""From several votes to one label: the median score, the tags and shapes of the majority, or what a person decides."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from trugrade_core.annotate.agreement import Votes
from trugrade_core.annotate.alike import same_shapes
from trugrade_core.annotate.saving import Op, Saved, save, state_of
from trugrade_core.data.store import Dataset, status_id
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
    from scipy.sparse.csgraph import connected_components

    drawn = [a for g in graders for a in votes.shapes(g)]
    overlap = same_shapes(drawn, drawn)
    count, part = connected_components(overlap > 0, directed=False) if drawn else (0, overlap)
    found = []
    for number in range(count):  # apart, for what lies elsewhere has no say: hundreds of shapes would take minutes
        left = np.flatnonzero(part == number).tolist()
        while left:
            alike = {n: _nearest(n, left, drawn, overlap) for n in left}
            best = max(left, key=lambda n: (len(alike[n]), sum(overlap[n, m] for m in alike[n].values())))
            group = alike[best].values()
            if 2 * len(group) > len(graders):
                id = digest({"consensus": drawn[best].id})[:16]
                found.append(drawn[best].model_copy(update={"layer": "main", "id": id}))
            left = [n for n in left if n != best and n not in group]
    return found


def _nearest(
    one: int, left: Sequence[int], drawn: Sequence[Annotation], overlap: NDArray[np.float64]
) -> dict[str, int]:
    """Of each grader the shape that means the same as `one`: the one that overlaps it most."""
    same = sorted((n for n in left if overlap[one, n]), key=lambda n: overlap[one, n])
    return {drawn[n].layer: n for n in same}


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
    about = status_id(votes.sample.id)
    others = [head for head in heads.get(about, []) if head != state.status_entry]
    ops += [Op(op="put", annotation=about, value=said, replaces=head) for head in others]
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
