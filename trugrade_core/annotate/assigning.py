"""Who is to label what: `assignments.jsonl`, append-only. Several people on one sample vote blind, each in a layer of
their own; one person works in layer main."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from trugrade_core.annotate.saving import person
from trugrade_core.data.journal import append_to, records
from trugrade_core.data.store import Dataset
from trugrade_core.errors import UsageError, nearest
from trugrade_core.schema import Record
from trugrade_core.workspace import now


class Assignment(Record):
    """A line of the file: `samples` are given to (or taken from) `who`, who works in `layer`."""

    op: Literal["give", "take"]
    who: str
    layer: str
    samples: tuple[str, ...]
    by: str
    when: datetime


@dataclass(frozen=True)
class Given:
    """What one person has to do of a dataset, in the order in which it was given: {sample: layer}."""

    who: str
    samples: Mapping[str, str]


def _path(ds: Dataset) -> Path:
    return ds.path / "assignments.jsonl"


def assign(
    ds: Dataset, samples: Sequence[str], people: Sequence[str], *, count: int = 0, each: int = 1, by: str
) -> dict[str, int]:
    """Share `samples` out so that every one has `each` of the people, who have as many as one another; {person: how many
    new ones}. With `count` no more than the first so many of those that lack people. Who has a sample already keeps it,
    and counts; who works on it in layer main is no blind voter, and may be given it again as one. Raises UsageError."""
    names = list(dict.fromkeys(person(who) for who in people))
    if each > 1 and "main" in names:
        raise UsageError("nobody can vote blind under the name 'main': it stands for what holds", code="assign.people",
                         what_to_do="Give the person another name.")  # fmt: skip
    if not 1 <= each <= len(names):
        raise UsageError(f"{each} people for each sample cannot be had of {len(names)}", code="assign.people",
                         what_to_do="Name more people, or ask for fewer for each sample.")  # fmt: skip
    with ds.lock():
        index = ds.index()
        unknown = [id for id in samples if id not in index.offsets]
        if unknown:
            raise UsageError(f"no sample '{unknown[0]}' in '{ds.name}'", code="assign.sample",
                             what_to_do=nearest(unknown[0], list(index.offsets)[:1000]))  # fmt: skip
        have = {who: dict(given.samples) for who, given in assignments(ds).items()}
        load = {who: len(have.get(who, {})) for who in names}
        new: dict[str, list[str]] = {who: [] for who in names}
        lacking = 0
        for sample in dict.fromkeys(samples):
            holders = [who for who in have if sample in have[who] and (each == 1 or have[who][sample] != "main")]
            free = sorted((who for who in names if who not in holders), key=lambda who: load[who])
            taking = free[: max(0, each - len(holders))]
            lacking += bool(taking)
            if count and lacking > count:
                break
            for who in taking:
                new[who].append(sample)
                load[who] += 1
        at = now()
        lines = [
            Assignment(
                op="give", who=who, layer=who if each > 1 else "main", samples=tuple(ids), by=person(by), when=at
            )
            for who, ids in new.items()
            if ids
        ]
        append_to(_path(ds), [line.model_dump_json().encode() for line in lines])
    return {who: len(ids) for who, ids in new.items()}


def withdraw(ds: Dataset, samples: Sequence[str], who: str, *, by: str) -> int:
    """Take samples from a person again; what they have labelled stays. Returns how many they had."""
    with ds.lock():
        given = assignments(ds).get(person(who))
        had = {id: layer for id in samples if given and (layer := given.samples.get(id))}
        for layer in sorted(set(had.values())):
            ids = tuple(id for id, own in had.items() if own == layer)
            line = Assignment(op="take", who=person(who), layer=layer, samples=ids, by=person(by), when=now())
            append_to(_path(ds), [line.model_dump_json().encode()])
    return len(had)


def assignments(ds: Dataset) -> dict[str, Given]:
    """By person. Raises DatasetError for a damaged line."""
    found: dict[str, dict[str, str]] = {}
    for one in records(Assignment, _path(ds)):
        own = found.setdefault(one.who, {})
        for sample in one.samples:
            if one.op == "give":
                own[sample] = one.layer
            else:
                own.pop(sample, None)
    return {who: Given(who, samples) for who, samples in found.items() if samples}
