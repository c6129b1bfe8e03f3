"""Splits of a dataset: planned and shown before anything is written, then applied."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trugrade_core.data.journal import batched
from trugrade_core.data.splits import (
    Balance,
    Card,
    Ratios,
    Said,
    assign,
    balance,
    census,
    check_ratios,
    check_units,
    components,
    leaks,
    name_of,
    strictest,
)
from trugrade_core.data.store import Dataset
from trugrade_core.errors import DatasetError
from trugrade_core.schema import SPLITS

DEFAULT_RATIOS: Ratios = (0.7, 0.15, 0.15)
BATCH = 5000
LISTED = 5


@dataclass(frozen=True)
class Plan:
    """Where each card would go. `frozen` says that cards which had a split keep it."""

    dataset: str
    cards: dict[str, Card]
    where: dict[str, str]
    ratios: Ratios
    seed: int
    by: tuple[str, ...]
    frozen: bool
    excluded: int

    def moves(self) -> Counter[tuple[str, str]]:
        """{(split now, split then): cards}"""
        return Counter((_now(card), self.where[name]) for name, card in self.cards.items())

    def move_notes(self) -> list[str]:
        """What a move of cards costs."""
        freed = sum(n for (was, to), n in self.moves().items() if was in ("val", "test") and to == "train")
        held = sum(n for (was, to), n in self.moves().items() if was == "train" and to in ("val", "test"))
        notes = []
        if freed or held:
            notes.append(
                f"{freed} held-out card(s) come into train and {held} of train are held out: figures of runs on "
                "earlier versions cannot be compared with new ones"
            )
        return notes

    def as_json(self) -> dict[str, Any]:
        """What `data split --preview` answers: see `report`, and what would move."""
        moves = self.moves()
        found = report(self.cards, self.where, self.ratios, self.by)
        notes = self.move_notes()
        if self.frozen and not notes:
            notes = ["ratios, seed and units are those of the last time: cards keep their split, new ones are added"]
        if self.excluded:
            notes.append(f"{self.excluded} excluded samples are left out")
        found["notes"] = [*notes, *found["notes"]]
        found["moves"] = [{"from": was, "to": to, "cards": n} for (was, to), n in sorted(moves.items()) if was != to]
        return {"dataset": self.dataset, "seed": self.seed, "ratios": list(self.ratios), **found}


def _now(card: Card) -> str:
    return strictest(card.splits) if card.splits else "none"


# --- what is there ----------------------------------------------------------------------------------------------


def read_cards(ds: Dataset) -> tuple[dict[str, Card], int]:
    """({card: what is known of it now}, how many samples are excluded)."""
    lines, excluded = ds.current(), 0

    def said(sample: str) -> Iterator[Said]:
        for line in lines.get(sample, ()):
            annotation = ds.annotation(line)
            yield annotation.label, {} if annotation.label is not None else annotation.value.model_dump(mode="json")

    def counted() -> Iterator[Any]:
        nonlocal excluded
        for sample in ds.iter_samples():
            excluded += sample.excluded is not None
            yield sample

    return census(counted(), said), excluded


def kept_cards(ds: Dataset) -> dict[str, str]:
    """{card: split} of cards that have one. A card found in two is held out: test before val before train."""
    kept: dict[str, str] = {}
    for sample in ds.iter_samples():
        if sample.split is not None and sample.excluded is None:
            kept[sample.card] = strictest((sample.split, kept.get(sample.card, "train")))
    return kept


# --- planning ---------------------------------------------------------------------------------------------------


def last_split(ds: Dataset) -> tuple[Ratios, int, tuple[str, ...]]:
    """Ratios, seed and units of the last split, else the defaults."""
    last = ds.facts().get("split") or {"ratios": DEFAULT_RATIOS, "seed": 0}
    return check_ratios(last["ratios"]), int(last["seed"]), check_units(last.get("by", ()))


def plan_split(ds: Dataset, ratios: Sequence[float] = DEFAULT_RATIOS, seed: int = 0, by: Sequence[str] = ()) -> Plan:
    """Share the cards out, writing nothing. `by` names what is kept together beside the card: design, print, session.

    Planned again with the ratios, seed and units of the last time, cards keep their place and only new ones are shared
    out; where a new card ties kept ones together that lie apart, all of them are held out. With others, or for the
    first time, everything is shared out anew. Raises DatasetError when no such split exists, and says which is nearest.
    """
    shares, units = check_ratios(ratios), check_units(by)
    last = ds.facts().get("split")
    # Not ==: shares that were divided by their sum once more differ in the last bit.
    frozen = (
        last is not None
        and all(math.isclose(a, b) for a, b in zip(last["ratios"], shares, strict=True))
        and (last["seed"], tuple(last.get("by", ()))) == (seed, units)
    )
    cards, excluded = read_cards(ds)
    _check_possible(ds, cards, shares, units)
    kept = {name: strictest(card.splits) for name, card in cards.items() if card.splits} if frozen else {}
    where = assign(cards, shares, seed, kept, units)
    if units and not frozen:
        _check_reached(ds, cards, where, shares, units)
    return Plan(ds.name, cards, where, shares, seed, units, frozen and bool(kept), excluded)


def _check_possible(ds: Dataset, cards: Mapping[str, Card], shares: Ratios, by: tuple[str, ...]) -> None:
    if not cards:
        raise empty(ds)
    wanted = sum(share > 0 for share in shares)
    if len(cards) == 1 and wanted > 1:
        name, card = next(iter(cards.items()))
        raise DatasetError(
            f"all {card.samples} samples are of one card ('{name}'): a card is never split",
            where=ds.name,
            code="dataset.one_card",
            what_to_do="Import more cards, or give each its own with --cards or --card-pattern.",
        )
    for unit in by:
        if not any(unit == named for card in cards.values() for named, _ in card.units):
            raise DatasetError(
                f"no sample names its {unit}, so there is nothing to split by",
                where=ds.name,
                code="dataset.no_unit",
                what_to_do=f"Import the images again with --cards CSV (columns file, {unit}), or with a group "
                f"(?P<{unit}>…) in --card-pattern; nothing is added twice.",
            )
    groups = components(cards, by)
    if by and len(groups) < wanted:
        raise no_split(
            ds.name, cards, by, f"the {len(cards)} cards fall into {len(groups)} group(s), and {wanted} splits are asked",
            "Ask for fewer splits: --ratios " + "/".join(["80", "20", "0"] if len(groups) == 2 else ["100", "0", "0"]),
        )  # fmt: skip


def _check_reached(
    ds: Dataset, cards: Mapping[str, Card], where: Mapping[str, str], shares: Ratios, by: tuple[str, ...]
) -> None:
    """Raise when a split of at least one card gets less than half of what was asked: the groups are too large for it."""
    got = Counter(where.values())
    short = [
        split for split, share in zip(SPLITS, shares, strict=True)
        if share * len(cards) >= 1 and got[split] < share * len(cards) / 2
    ]  # fmt: skip
    if short:
        nearest = "/".join(f"{round(100 * got[split] / len(cards), 1):g}" for split in SPLITS)
        asked = "/".join(f"{round(100 * share, 1):g}" for share in shares)
        raise no_split(
            ds.name, cards, by, f"none comes near the shares {asked}, since the groups are too large", f"The nearest is --ratios {nearest}",
            nearest=nearest,
        )  # fmt: skip


def no_split(
    dataset: str, cards: Mapping[str, Card], by: tuple[str, ...], why: str, instead: str, **details: Any
) -> DatasetError:
    """'No leak-free split exists', with the largest groups and what would do."""
    groups = group_facts(cards, by)
    largest = groups["largest"][0]
    alone = {unit: group_facts(cards, (unit,)) for unit in by} if len(by) > 1 else {}
    hints = [
        f"by {unit} alone there are {facts['count']} groups, the largest of {facts['largest'][0]['cards']}"
        for unit, facts in alone.items()
    ]
    also = f" ({'; '.join(hints)})" if hints else ""
    return DatasetError(
        f"no leak-free split by {' and '.join(by)} exists: {why}; the largest group, {largest['name']}, holds "
        f"{largest['cards']} of {len(cards)} cards",
        where=dataset,
        code="dataset.no_split",
        what_to_do=f"{instead}. Or bring more cards of other groups, or keep less together{also}; what then lies on two "
        "sides is counted as a leak.",
        by=list(by), groups=groups["count"], largest=groups["largest"], **({"alone": alone} if alone else {}), **details,
    )  # fmt: skip


def group_facts(cards: Mapping[str, Card], by: Sequence[str]) -> dict[str, Any]:
    """How many groups there are, and the largest by name and cards."""
    groups = components(cards, by)
    largest = sorted(groups, key=lambda group: -len(group))[:LISTED]
    return {
        "count": len(groups),
        "largest": [{"name": name_of(group, cards, by), "cards": len(group)} for group in largest],
    }


def empty(ds: Dataset) -> DatasetError:
    return DatasetError("the dataset has no samples", where=ds.name, code="dataset.empty",
                        what_to_do=f"Import some: trugrade data import FOLDER --dataset {ds.name}")  # fmt: skip


# --- applying ---------------------------------------------------------------------------------------------------


def apply_split(ds: Dataset, plan: Plan) -> None:
    """Write the split of every sample whose split changes, and how it was made."""
    write_splits(ds, plan.where)
    with ds.lock():
        ds.note_facts(split={"ratios": plan.ratios, "seed": plan.seed, "by": plan.by})


def add_new_cards(ds: Dataset) -> None:
    """Give cards without a split one, as the last time; others stay where they are."""
    ratios, seed, by = last_split(ds)
    cards, _ = read_cards(ds)
    if not cards:
        raise empty(ds)
    kept = kept_cards(ds)
    write_splits(ds, assign(cards, ratios, seed, kept, by) | kept)
    with ds.lock():
        ds.note_facts(split={"ratios": ratios, "seed": seed, "by": by})


def write_splits(ds: Dataset, where: Mapping[str, str]) -> None:
    """Append the samples whose split is another now than their card's in `where`."""
    index = ds.index()
    changed = [s.id for s in index.read_all(index.offsets) if s.split != where.get(s.card, s.split)]
    for batch in batched(changed, BATCH):
        with ds.lock():  # read again: a person may have changed the sample meanwhile
            index.refresh()
            found = index.read_all(batch)
            ds.append_samples([s.model_copy(update={"split": where.get(s.card, s.split)}) for s in found])


# --- judging ----------------------------------------------------------------------------------------------------


def report(cards: Mapping[str, Card], where: Mapping[str, str], ratios: Ratios, by: Sequence[str]) -> dict[str, Any]:
    """A split in numbers: `splits`, `leaks` (units in `by` that lie on two sides), `imbalance`, `notes`, `details`."""
    counts: dict[str, Counter[str]] = {name: Counter() for name in SPLITS}
    for name, card in cards.items():
        if name in where:
            counts[where[name]].update(samples=card.samples, cards=1, labelled=card.labelled)
    found: Balance = balance(cards, where, ratios)
    leaking = leaks(cards, where, by)
    named = {unit: sum(unit in {u for u, _ in card.units} for card in cards.values()) for unit in by}
    notes = [
        f"{len(cards) - n} of {len(cards)} cards name no {unit}: each of them counts as its own"
        for unit, n in named.items()
        if n < len(cards)
    ]
    notes += _two_sides(cards, where, by)
    return {
        "splits": {name: {key: counts[name][key] for key in ("samples", "cards", "labelled")} for name in SPLITS},
        "by": list(by),
        "leaks": len(leaking),
        "imbalance": found.imbalance,
        "least_imbalance": found.least,
        "notes": notes,
        "details": {"leaks": leaking, "balance": list(found.rows), "groups": group_facts(cards, by)},
    }


def _two_sides(cards: Mapping[str, Card], where: Mapping[str, str], by: Sequence[str]) -> list[str]:
    """A note for each unit that was not asked for and has values on two sides."""
    notes = []
    for unit in ("design", "print", "session"):
        shared = leaks(cards, where, (unit,)) if unit not in by else []
        if shared:
            examples = ", ".join(f"'{row['value']}'" for row in shared[:3]) + ("…" if len(shared) > 3 else "")
            notes.append(
                f"{len(shared)} {unit}(s) lie on two sides ({examples}), so a model may know what it is tested on; "
                f"splitting by {unit} too keeps them together"
            )
    return notes
