"""Splits: by card, stratified, the same every time, and what is once held out stays held out."""

from __future__ import annotations

import random
from collections import Counter, defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trugrade_core.data.splits import Ratios, assign, traits
from trugrade_core.schema import Annotation, Box, ImageRef, Sample, Score, Tags, digest

RATIOS = (0.7, 0.15, 0.15)


def sample(n: int, card: str, **facts: object) -> Sample:
    ref = ImageRef(sha256=digest(n), suffix=".png", width=10, height=10, bytes=1)
    return Sample.model_validate(
        {"id": digest(n)[:16], "images": {"main": ref}, "card": card, "card_assumed": False, "status": "done", **facts}
    )


def split_samples(
    samples: list[Sample],
    annotations: dict[str, list[Annotation]],
    ratios: Ratios,
    seed: int,
    kept: dict[str, str] | None = None,
) -> dict[str, str]:
    cards: dict[str, set[str]] = defaultdict(set)
    for s in samples:
        cards[s.card] |= traits(s, annotations.get(s.id, ()))
    return assign(cards, ratios, seed, kept or {})


def labelled(s: Sample, label: str) -> dict[str, list[Annotation]]:
    return {s.id: [Annotation(id=s.id, sample=s.id, label=label, value=Box(xyxy=(0, 0, 5, 5)))]}


def some(count: int, per_card: int = 1) -> list[Sample]:
    return [sample(n, f"card {n // per_card}") for n in range(count)]


def counts(where: dict[str, str]) -> tuple[int, int, int]:
    found = Counter(where.values())
    return found["train"], found["val"], found["test"]


def test_ratios_are_met() -> None:
    assert counts(split_samples(some(100), {}, RATIOS, 0)) == (70, 15, 15)
    assert counts(split_samples(some(41), {}, RATIOS, 0)) == (29, 6, 6)
    assert counts(split_samples(some(10), {}, (1.0, 0.0, 0.0), 0)) == (10, 0, 0)


def test_a_card_is_never_split() -> None:
    where = split_samples(some(60, per_card=3), {}, RATIOS, 0)
    assert len(where) == 20 and counts(where) == (14, 3, 3)


def test_the_seed_decides_and_the_order_of_samples_does_not() -> None:
    samples = some(50)
    first = split_samples(samples, {}, RATIOS, 0)
    shuffled = samples[:]
    random.Random(1).shuffle(shuffled)
    assert split_samples(shuffled, {}, RATIOS, 0) == first
    assert split_samples(samples, {}, RATIOS, 1) != first


def test_a_known_split() -> None:
    """Written down, so that a change of the method does not pass unseen: it would move held-out cards."""
    where = split_samples(some(12), {}, RATIOS, 7)
    assert sorted(c for c, s in where.items() if s == "val") == ["card 5", "card 7"]
    assert sorted(c for c, s in where.items() if s == "test") == ["card 1", "card 9"]


def test_classes_and_origin_are_shared_out_evenly() -> None:
    samples, annotations = [], {}
    for n in range(80):
        s = sample(n, f"c{n}", origin="synthetic" if n % 4 == 0 else "real")
        samples.append(s)
        annotations |= labelled(s, "rare" if n % 8 == 1 else "common")
    where = split_samples(samples, annotations, RATIOS, 3)
    for pick in (lambda n: n % 4 == 0, lambda n: n % 8 == 1):
        group = [where[f"c{n}"] for n in range(80) if pick(n)]
        assert abs(group.count("train") - 0.7 * len(group)) < 1.01
        assert abs(group.count("test") - 0.15 * len(group)) < 1.01


def test_scores_and_tags_are_strata_too() -> None:
    samples = some(40)
    annotations = {
        s.id: [Annotation(id=s.id, sample=s.id, value=Score(score=9.0) if n < 20 else Tags(tags=("worn",)))]
        for n, s in enumerate(samples)
    }
    where = split_samples(samples, annotations, RATIOS, 0)
    assert counts({c: s for c, s in where.items() if int(c.split()[1]) < 20}) == (14, 3, 3)


@pytest.mark.parametrize(
    ("cards", "wanted"), [(0, (0, 0, 0)), (1, (1, 0, 0)), (2, (1, 1, 0)), (3, (1, 1, 1)), (5, (3, 1, 1))]
)
def test_few_cards(cards: int, wanted: tuple[int, int, int]) -> None:
    assert counts(split_samples(some(cards), {}, RATIOS, 0)) == wanted


def test_kept_cards_stay_and_new_ones_make_up_the_balance() -> None:
    before = split_samples(some(20), {}, RATIOS, 0)
    after = split_samples(some(100), {}, RATIOS, 0, kept=before)
    assert {c: after[c] for c in before} == before
    assert counts(after) == (70, 15, 15)


@given(
    st.lists(st.tuples(st.integers(0, 30), st.sampled_from("abc"), st.booleans()), max_size=60),
    st.integers(0, 5),
    st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(1, 5)),
)
def test_any_data_is_shared_out_whole(
    rows: list[tuple[int, str, bool]], seed: int, parts: tuple[int, int, int]
) -> None:
    """Every card has one split, an unwanted split stays empty, and the whole is within reach of the ratios."""
    ratios = (parts[0] / sum(parts), parts[1] / sum(parts), parts[2] / sum(parts))
    samples = [sample(n, f"c{card}", origin="real" if real else "synthetic") for n, (card, _, real) in enumerate(rows)]
    annotations = {k: v for s, (_, label, _) in zip(samples, rows, strict=True) for k, v in labelled(s, label).items()}
    where = split_samples(samples, annotations, ratios, seed)
    assert set(where) == {s.card for s in samples}
    for got, ratio in zip(counts(where), ratios, strict=True):
        assert got == 0 if ratio == 0 else abs(got - ratio * len(where)) <= 2
