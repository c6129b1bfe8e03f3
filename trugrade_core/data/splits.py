"""Who is trained on and who is held out: by physical card, so that no card is seen on both sides."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from trugrade_core.schema import SPLITS, Annotation, Sample, Score, Tags

Ratios = tuple[float, float, float]


def traits(sample: Sample, annotations: Iterable[Annotation]) -> set[str]:
    """What cards are stratified over: origin, classes, tags, whole scores, and whether anything is labelled."""
    found = {f"origin:{sample.origin}"}
    if sample.status == "done":
        found.add("done")
    for annotation in annotations:
        if annotation.label is not None:
            found.add(f"class:{annotation.label}")
        elif isinstance(annotation.value, Tags):
            found.update(f"tag:{tag}" for tag in annotation.value.tags)
        elif isinstance(annotation.value, Score):
            found.add(f"score:{annotation.value.score:.0f}")
    return found


def assign(cards: Mapping[str, set[str]], ratios: Ratios, seed: int, kept: Mapping[str, str]) -> dict[str, str]:
    """{card: split} for cards with their traits.

    Cards of the same traits are shared out by `ratios` (train, val, test); what cannot be shared out among them
    evens out the whole.
    """
    strata: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for card in sorted(cards):
        strata[tuple(sorted(cards[card]))].append(card)
    where = {card: split for card, split in kept.items() if card in cards}
    left: list[str] = []
    for _, members in sorted(strata.items()):
        have = Counter(where[card] for card in members if card in where)
        for card in sorted((c for c in members if c not in where), key=lambda c: _shuffle_key(seed, c)):
            split, missing = _neediest(ratios, len(members), have)
            if missing < 1 - 1e-9:
                left.append(card)
            else:
                where[card] = split
                have[split] += 1
    total = Counter(where.values())
    for card in sorted(left, key=lambda c: _shuffle_key(seed, c)):
        where[card], _ = _neediest(ratios, len(cards), total)
        total[where[card]] += 1
    _fill_empty(where, ratios, seed, set(kept))
    return dict(sorted(where.items()))


def _shuffle_key(seed: int, card: str) -> bytes:
    return hashlib.sha256(f"{seed}:{card}".encode()).digest()


def _neediest(ratios: Ratios, count: int, have: Mapping[str, int]) -> tuple[str, float]:
    """The split that lacks most of its share of `count` cards, and how many it lacks."""
    missing = {
        split: ratio * count - have.get(split, 0) for split, ratio in zip(SPLITS, ratios, strict=True) if ratio > 0
    }
    split = max(missing, key=lambda s: missing[s])
    return split, missing[split]


def _fill_empty(where: dict[str, str], ratios: Ratios, seed: int, kept: set[str]) -> None:
    """Give each wanted split one card as far as the cards go, taken from the largest, never a kept one."""
    for split, ratio in zip(SPLITS, ratios, strict=True):
        sizes = Counter(where.values())
        if ratio <= 0 or sizes[split] or not sizes:
            continue
        giver = max(SPLITS, key=lambda s: sizes[s])
        free = sorted(
            (c for c, s in where.items() if s == giver and c not in kept), key=lambda c: _shuffle_key(seed, c)
        )
        if sizes[giver] > 1 and free:
            where[free[-1]] = split
