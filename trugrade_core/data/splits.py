"""Who is trained on and who is held out: whole cards always, and with them all that shares a design, print or session
where that is asked, so that nothing of a kind is seen on both sides. What holds of a person's set of cards, no files."""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from trugrade_core.data.stratify import Problem, least_off, off_share, share_out
from trugrade_core.errors import UsageError, nearest
from trugrade_core.schema import SPLITS, Sample

Ratios = tuple[float, float, float]
Said = tuple[str | None, Mapping[str, Any]]
"""A label's class name, and its value as JSON (which is read only where there is no name)."""
UNITS = ("card", "design", "print", "session")
"""What can be kept together. Each is a field of `Sample`; the design is the strongest."""
WHOLE, IMAGES = "cards", "images"
"""The first two rows of a balance; the others are traits such as `class:scratch`."""


@dataclass
class Card:
    """One physical card: its images (and those labelled), what it is stratified over, the (unit, value) it has, the
    splits it lies in now."""

    samples: int = 0
    labelled: int = 0
    traits: set[str] = field(default_factory=set)
    units: set[tuple[str, str]] = field(default_factory=set)
    splits: set[str] = field(default_factory=set)


def traits(sample: Sample, said: Iterable[Said]) -> set[str]:
    """What cards are stratified over: origin, classes, tags, score levels (half steps), and whether anything is labelled."""
    found = {f"origin:{sample.origin}"}
    if sample.status == "done":
        found.add("done")
    for label, value in said:
        if label is not None:
            found.add(f"class:{label}")
        elif value.get("type") == "tags":
            found.update(f"tag:{tag}" for tag in value["tags"])
        elif value.get("type") == "score":
            found.add(f"score:{round(value['score'] * 2) / 2:g}")
    return found


def census(samples: Iterable[Sample], said: Callable[[str], Iterable[Said]]) -> dict[str, Card]:
    """{card: what is known of it}. `said` gives a sample's labels. Excluded samples count for nothing."""
    cards: dict[str, Card] = defaultdict(Card)
    for sample in samples:
        if sample.excluded is not None:
            continue
        card = cards[sample.card]
        card.samples += 1
        card.labelled += sample.status == "done"
        card.traits |= traits(sample, said(sample.id))
        card.units |= {(unit, value) for unit in UNITS[1:] if (value := getattr(sample, unit))}
        if sample.split is not None:
            card.splits.add(sample.split)
    return dict(cards)


def check_ratios(ratios: Iterable[float]) -> Ratios:
    """Three shares that sum to 1. Raises UsageError."""
    found = tuple(float(r) for r in ratios)
    if len(found) != 3 or not all(math.isfinite(r) and r >= 0 for r in found) or not 0 < sum(found) < math.inf:
        raise UsageError(
            f"ratios must be three shares of train, val and test, not {found}", what_to_do="For example: 70/15/15"
        )
    whole = sum(found)
    return found[0] / whole, found[1] / whole, found[2] / whole


def check_units(by: Iterable[str]) -> tuple[str, ...]:
    """The units beside the card, in their order of strength. Raises UsageError for one that is none."""
    asked = list(by)
    for unit in asked:
        if unit not in UNITS:
            raise UsageError(f"'{unit}' is nothing to split by", what_to_do=nearest(unit, list(UNITS)))
    return tuple(unit for unit in UNITS[1:] if unit in asked)


def strictest(splits: Iterable[str], names: Sequence[str] = SPLITS) -> str:
    """Of several splits the one that is held out most: test before val before train."""
    return max(splits, key=names.index)


# --- groups -----------------------------------------------------------------------------------------------------


def components(cards: Mapping[str, Card], by: Sequence[str]) -> list[list[str]]:
    """Cards that must stay together, in order: those which share a value of any unit in `by`, also through others."""
    root = {card: card for card in cards}

    def find(card: str) -> str:
        while root[card] != card:
            root[card] = root[root[card]]
            card = root[card]
        return card

    first: dict[tuple[str, str], str] = {}
    for card in sorted(cards):
        for unit in cards[card].units:
            if unit[0] in by:
                a, b = sorted((find(first.setdefault(unit, card)), find(card)))
                root[b] = a
    groups: dict[str, list[str]] = defaultdict(list)
    for card in sorted(cards):
        groups[find(card)].append(card)
    return list(groups.values())


def name_of(group: Sequence[str], cards: Mapping[str, Card], by: Sequence[str]) -> str:
    """A group in words: the value most of its cards share, and how many other values hang on it."""
    values = Counter(unit for card in group for unit in cards[card].units if unit[0] in by)
    if not values:
        return f"card '{group[0]}'"
    (unit, value), _ = min(values.items(), key=lambda item: (-item[1], item[0]))
    more = f" and {len(values) - 1} more that hang together with it" if len(values) > 1 else ""
    return f"{unit} '{value}'{more}"


def leaks(cards: Mapping[str, Card], where: Mapping[str, str], by: Sequence[str]) -> list[dict[str, Any]]:
    """Each value of a unit in `by` whose cards lie in more than one split: {unit, value, splits: {split: cards}}."""
    found: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for card, facts in cards.items():
        for unit in facts.units:
            if unit[0] in by and card in where:
                found[unit][where[card]] += 1
    return [
        {"unit": unit, "value": value, "splits": {s: n[s] for s in SPLITS if n[s]}}
        for (unit, value), n in sorted(found.items())
        if len(n) > 1
    ]


# --- sharing out ------------------------------------------------------------------------------------------------


def assign(
    cards: Mapping[str, Card],
    ratios: Sequence[float],
    seed: int,
    kept: Mapping[str, str] | None = None,
    by: Sequence[str] = (),
    names: Sequence[str] = SPLITS,
) -> dict[str, str]:
    """{card: split}, whole groups (`components`) together, by `ratios` of `names` with the least imbalance.

    A group with cards in `kept` goes where they are, to the most held-out where they lie apart. The same cards, ratios
    and seed give the same result.
    """
    kept = kept or {}
    groups = {group[0]: group for group in components(cards, by)}
    settled = {
        name: strictest((kept[card] for card in group if card in kept), names)
        for name, group in groups.items()
        if any(card in kept for card in group)
    }
    free = sorted((name for name in groups if name not in settled), key=lambda name: _shuffle_key(seed, name))
    rows = _trait_names(cards)
    kinds: dict[tuple[int, ...], list[str]] = defaultdict(list)
    for name in free:
        kinds[tuple(_counts(groups[name], cards, rows))].append(name)
    base = np.zeros((len(rows), len(names)))
    for name, split in settled.items():
        base[:, names.index(split)] += _counts(groups[name], cards, rows)
    held = Counter(settled.values())
    problem = Problem(
        rows=np.array(list(kinds), float).reshape(len(kinds), len(rows)),
        number=np.array([len(members) for members in kinds.values()], np.int64),
        base=base,
        settled=np.array([held[split] for split in names], np.int64),
        shares=np.array(ratios),
        weights=_weights(rows),
    )
    where = dict(settled)
    for members, numbers in zip(kinds.values(), share_out(problem, seed), strict=True):
        for name, at in zip(members, _dealt(numbers.tolist()), strict=True):
            where[name] = names[at]
    return {card: where[name] for name, group in groups.items() for card in group}


def _shuffle_key(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed}:{name}".encode()).digest()


def _dealt(numbers: list[int]) -> list[int]:
    """For interchangeable groups in their shuffled order the split of each: the one that lacks most of its number."""
    found = []
    for _ in range(sum(numbers)):
        most = numbers.index(max(numbers))
        numbers[most] -= 1
        found.append(most)
    return found


def _trait_names(cards: Mapping[str, Card]) -> list[str]:
    """Rows of a balance: all cards, their images, and each trait that some cards have and others have not."""
    have = Counter(trait for card in cards.values() for trait in card.traits)
    several = any(card.samples != 1 for card in cards.values())
    return [WHOLE, *([IMAGES] if several else []), *sorted((t for t, n in have.items() if n < len(cards)), key=_order)]


def _order(trait: str) -> tuple[str, float, str]:
    """By kind, then by name; score levels by their number."""
    kind, _, value = trait.partition(":")
    return kind, float(value) if kind == "score" else 0.0, value


def _counts(group: Iterable[str], cards: Mapping[str, Card], names: Sequence[str]) -> list[int]:
    """How many cards of the group have each trait; the row of images counts those."""
    found: Counter[str] = Counter()
    for card in group:
        found.update(cards[card].traits)
        found[WHOLE] += 1
        found[IMAGES] += cards[card].samples
    return [found[name] for name in names]


def _weights(names: Sequence[str]) -> Any:
    """Half of the imbalance is the whole's, half the traits' on average."""
    whole = sum(name in (WHOLE, IMAGES) for name in names)
    others = len(names) - whole
    own = (0.5 if others else 1.0) / whole
    return np.array([own if name in (WHOLE, IMAGES) else 0.5 / others for name in names])


# --- judging ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Balance:
    """How far splits are from what was asked. `imbalance` is 0 when every trait lies in the splits by the shares; half
    of it is the part of all cards (and images) that lie in another split than the shares ask, half that of the traits'
    cards on average. `least` is what whole cards allow at best, each trait by itself. `rows`: {name, total, train, val,
    test, off}."""

    imbalance: float
    least: float
    rows: tuple[dict[str, Any], ...]


def balance(
    cards: Mapping[str, Card], where: Mapping[str, str], ratios: Sequence[float], names: Sequence[str] = SPLITS
) -> Balance:
    """The balance of `where` against `ratios`."""
    if not cards:
        return Balance(0.0, 0.0, ())
    traits = _trait_names(cards)
    shares = np.array(ratios)
    inside = [[card for card in cards if where.get(card) == split] for split in names]
    have = np.array([_counts(group, cards, traits) for group in inside], float).T
    off, weights = off_share(have, shares), _weights(traits)
    least = np.array([least_off(round(total), shares) for total in have.sum(1)])
    rows = tuple(
        {"name": name, "total": int(n.sum()), **dict(zip(names, map(int, n), strict=True)), "off": round(float(o), 4)}
        for name, n, o in zip(traits, have, off, strict=True)
    )
    return Balance(round(float(off @ weights), 4), round(float(least @ weights), 4), rows)
