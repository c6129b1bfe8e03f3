"""Going back to an old version: its labels, statuses, classes, splits and facts become what holds now, by new lines.

Nothing is rewritten or lost: what came since stays in the log, samples that the version has not are left out of new
versions (with the reason), and the step can be undone. The next version then has the old one's digest.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from trugrade_core.data.diff import diff, now_side, version_side
from trugrade_core.data.steps import Held, Step, check_free, check_who, take
from trugrade_core.data.store import DELETED, Dataset, put_entry, status_id
from trugrade_core.data.versions import Version
from trugrade_core.errors import DatasetError
from trugrade_core.schema import Annotation, LogEntry, Sample, Status
from trugrade_core.workspace import now

KIND = "restore"
Say = Callable[[Annotation], LogEntry]


def preview(ds: Dataset, version: Version) -> dict[str, Any]:
    """What `restore` would change, as `diff` from now to the version. Raises DatasetError for another dataset's."""
    _check_own(ds, version)
    return diff(now_side(ds), version_side(version))


def _check_own(ds: Dataset, version: Version) -> None:
    if version.manifest.dataset != ds.name:
        raise DatasetError(f"is a version of '{version.manifest.dataset}', not of '{ds.name}'", where=version.name,
                           code="dataset.other_dataset", what_to_do="Its images can be imported, its labels exported.")  # fmt: skip


def restore(ds: Dataset, version: Version, *, who: str, tool: str, held: Held = lambda ids: {}) -> dict[str, int | str]:
    """Make the version what holds now: {"step", "entries", "samples", "left_out"}.

    Raises DatasetError and changes nothing: a version of another dataset, or labels held elsewhere.
    """
    _check_own(ds, version)
    who = check_who(who)
    with ds.lock():
        index, wanted = ds.index(), {}
        for sample in version.iter_samples():
            wanted[sample.id] = sample
        entries = list(_entries(ds, version, wanted, who, tool))
        changed = [s for s in wanted.values() if s.id not in index.offsets or index.read(s.id) != s]
        said = dict.fromkeys(entry.sample for entry in entries)
        check_free(ds, held(list(said)))
        since = (s for s in index.read_all(index.offsets) if s.id not in wanted and s.excluded is None)
        left_out = [s.model_copy(update={"excluded": f"not in {version.manifest.version}"}) for s in since]
        made = version.manifest
        facts = {"classes": [c.model_dump() for c in made.classes],
                 "split": {"ratios": made.ratios, "seed": made.seed, "by": made.by}}  # fmt: skip
        what = f"back to {made.version}"
        step = take(ds, Step(KIND, what, entries, [*changed, *left_out], facts), who=who)
    return {"step": step, "entries": len(entries), "samples": len(changed), "left_out": len(left_out)}


def _entries(ds: Dataset, version: Version, wanted: Mapping[str, Sample], who: str, tool: str) -> Iterator[LogEntry]:
    """What must be said so that the version's labels and statuses hold, and no others, on its samples."""
    reason = f"as in {version.manifest.version}"
    heads = ds.heads_by_annotation("main")

    def say(annotation: Annotation) -> LogEntry:
        return put_entry(annotation, who=who, tool=tool).model_copy(update={"reason": reason})

    kept: set[str] = set()
    for said_then in version.annotations().values():
        for annotation in said_then:
            kept.add(annotation.id)
            yield from _put(ds, annotation, heads.get(annotation.id, ()), say)
    for id, lines in heads.items():
        entries = [json.loads(line) for line in lines]
        if id in kept or not entries or (sample := entries[0]["sample"]) not in wanted or id == status_id(sample):
            continue
        put = next((line for line, entry in zip(lines, entries, strict=True) if entry["op"] == "put"), None)
        if put is not None:
            gone = say(ds.annotation(put)).model_copy(update={**DELETED, "when": now()})
            yield from _for_each(gone, lines)
    index = ds.index()
    for sample in wanted.values():
        if sample.id in index.offsets and index.read(sample.id).status != sample.status:
            about = status_id(sample.id)
            status = Annotation(id=about, sample=sample.id, value=Status(status=sample.status, comment=reason))
            yield from _for_each(say(status), heads.get(about, ()))


def _put(ds: Dataset, annotation: Annotation, heads: Sequence[bytes], say: Say) -> Iterator[LogEntry]:
    """The entry that says `annotation`, for each head it replaces; none when it is what counts already."""
    puts = [line for line in heads if json.loads(line)["op"] == "put"]
    if not puts or ds.annotation(puts[-1]) != annotation:
        yield from _for_each(say(annotation), heads)


def _for_each(entry: LogEntry, heads: Sequence[bytes]) -> Iterator[LogEntry]:
    """The entry once for each head it replaces, under one number: as several heads the same words would be replaced one
    by one. As it is where there is nothing yet."""
    for replaces in [json.loads(line)["entry"] for line in heads] or [None]:
        yield entry.model_copy(update={"replaces": replaces})
