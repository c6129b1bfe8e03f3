"""class_balance and annotation_coverage: the numbers that are said, and when they weigh."""

from __future__ import annotations

from pathlib import Path

import pytest
from scipy.stats import beta

from tests.data_room.checking import BORDERS, OUTER, bordered, codes, facts, label, needs, sample
from trugrade_core.data.checks.balance import all_right_bound, class_balance, wilson
from trugrade_core.data.checks.coverage import annotation_coverage
from trugrade_core.schema import ClassDef, Score, Tags

SCORES = needs(
    task="corner_analysis.quality_classification",
    kind="score",
    shapes=("score",),
    scores=tuple(n / 2 for n in range(2, 21)),
    whole_card=False,
    borders=(),
)


def split_rows(train: int, val: int, test: int) -> list:
    splits = ["train"] * train + ["val"] * val + ["test"] * test
    return [bordered(n, split=split) for n, split in enumerate(splits)]


def test_intervals_are_the_known_ones() -> None:
    assert wilson(9, 10) == pytest.approx((0.5958, 0.9821), abs=1e-4)  # Brown, Cai and DasGupta's method, by hand
    assert wilson(0, 0) == (0.0, 1.0)
    for cards in (1, 6, 59, 1497):
        assert all_right_bound(cards) == pytest.approx(beta.ppf(0.05, cards, 1))
    assert all_right_bound(59) >= 0.95 > all_right_bound(58)


def test_enough_of_everything_raises_nothing(tmp_path: Path) -> None:
    found = class_balance(facts(split_rows(60, 30, 59), tmp_path))
    assert (found.status, found.score, codes(found.findings)) == ("ok", 1.0, {})
    assert [f.why for f in found.findings] == ["labels of each class: outer_border 149, graphical_border 149"]


def test_small_classes_come_with_what_can_be_said_of_them(tmp_path: Path) -> None:
    found = class_balance(facts(split_rows(20, 8, 6), tmp_path)).findings
    assert set(codes(found)) == {"balance.small_class:train", "balance.small_class:test", "balance.small_test"}
    why = {f.key: f.why for f in found}
    assert why["balance.small_test"].startswith(
        "6 test cards: a model without one error on them is shown to be right on 61 %"
    )
    assert (
        "outer_border 6, graphical_border 6; of outer_border, if 9 of 10 were found, the truth could be 44 to 97 %"
        in why["balance.small_class:test"]
    )


def test_a_class_missing_in_a_split_and_one_without_any_label(tmp_path: Path) -> None:
    rows = split_rows(40, 40, 60)
    rows = [(own, labels[:1] if own.split in ("train", "test") else labels) for own, labels in rows]
    classes = tuple(ClassDef(name=name) for name in (*BORDERS, "sticker"))
    found = class_balance(facts(rows, tmp_path, classes=classes))
    assert {f.key: f.severity for f in found.findings if f.severity != "info"} == {
        "balance.missing_class:train": "error",
        "balance.missing_class:test": "warning",
        "balance.unused_class": "warning",
    }
    assert found.status == "fail" and found.score == 0


def test_one_class_far_more_often_than_another(tmp_path: Path) -> None:
    rows = []
    for n in range(210):
        own = sample(n, split="train")
        rows.append((own, [label(own, BORDERS[n >= 200], OUTER)]))
    assert "balance.ratio" not in codes(class_balance(facts(rows, tmp_path)).findings)  # 20 to 1
    rows = rows[:209]
    found = {f.code: f.why for f in class_balance(facts(rows, tmp_path)).findings}
    assert found["balance.ratio"] == "outer_border has 200 labels and graphical_border 9: 22 to 1"


def scored(levels: dict[float, int], split: str = "train") -> list:
    rows = []
    for score, count in levels.items():
        for _ in range(count):
            own = sample(len(rows) + 1000 * (split == "test"), split=split)
            rows.append((own, [label(own, None, Score(score=score))]))
    return rows


def test_one_grade_that_always_fits_is_said_to_look_good(tmp_path: Path) -> None:
    found = {
        f.code: f for f in class_balance(facts(scored({9.5: 70, 9.0: 30, 3.0: 5}), tmp_path, needs=SCORES)).findings
    }
    assert found["balance.majority_score"].why.startswith("67 % of 105 scores are 9.5")
    assert found["balance.few_scores"].why == "fewer than 30 samples have the score 3 (5)"
    assert found["balance.scores"].details["levels"] == {"3": 5, "9": 30, "9.5": 70}
    only = class_balance(facts(scored({10.0: 50}), tmp_path, needs=SCORES))
    assert only.status == "fail" and "balance.one_score" in codes(only.findings)
    both = class_balance(facts([*scored({9.0: 40, 8.0: 40}), *scored({9.0: 70}, "test")], tmp_path, needs=SCORES))
    assert "balance.missing_score:test" in codes(both.findings)


@pytest.mark.parametrize(
    ("test", "train", "severity"),
    [("synthetic", "real", "error"), ("mixed", "real", "warning"), ("synthetic", "synthetic", "warning")],
)
def test_made_up_cards_in_test_support_no_claim(tmp_path: Path, test: str, train: str, severity: str) -> None:
    rows = []
    for own, labels in split_rows(40, 40, 60):
        origin = train if own.split != "test" else "synthetic" if test == "synthetic" or int(own.id, 16) % 2 else "real"
        rows.append((own.model_copy(update={"origin": origin}), labels))
    found = {f.code: f for f in class_balance(facts(rows, tmp_path)).findings}
    assert found["balance.synthetic_test"].severity == severity
    assert all(s in {own.id for own, _ in rows if own.split == "test"} for s in found["balance.synthetic_test"].samples)


def test_not_split_and_not_labelled_are_said(tmp_path: Path) -> None:
    unsplit = class_balance(facts([bordered(n, split=None) for n in range(5)], tmp_path))
    assert "balance.not_split" in {f.code for f in unsplit.findings} and unsplit.status == "ok"
    nothing = class_balance(facts([(sample(1, status="unlabelled"), [])], tmp_path))
    assert nothing.status == "not_checked" and nothing.why == "no sample is labelled yet"
    no_train = class_balance(facts(split_rows(0, 40, 60), tmp_path))
    assert {f.key: f.severity for f in no_train.findings if f.code == "balance.empty_split"} == {
        "balance.empty_split:train": "error"
    }


# --- coverage -------------------------------------------------------------------------------------------------------


def test_everything_labelled_is_full_coverage(tmp_path: Path) -> None:
    found = annotation_coverage(facts(split_rows(3, 2, 1), tmp_path))
    assert (found.status, found.score, found.why) == ("ok", 1.0, "6 of 6 samples labelled")
    assert [f.code for f in found.findings] == ["coverage.amount"]


def test_open_samples_are_counted_by_split_and_weigh_from_their_share_on(tmp_path: Path) -> None:
    rows = split_rows(6, 2, 2)
    states = {0: "unlabelled", 1: "unlabelled", 2: "unlabelled", 3: "rescan", 8: "unsure", 9: "skipped"}
    rows = [
        (own.model_copy(update={"status": states.get(n, "done")}), [] if n in states else labels)
        for n, (own, labels) in enumerate(rows)
    ]
    found = {f.code: f for f in annotation_coverage(facts(rows, tmp_path)).findings}
    assert found["coverage.unlabelled"].why == "3 of 10 samples have nobody's word yet (50 % of train)"
    assert {c: f.severity for c, f in found.items()} == {
        "coverage.unlabelled": "warning",  # 30 %
        "coverage.unsure": "warning",  # 10 %
        "coverage.rescan": "warning",
        "coverage.skipped": "info",
        "coverage.bare_cards": "info",
        "coverage.amount": "info",
    }
    assert found["coverage.rescan"].samples == (rows[3][0].id,)


def test_done_and_empty_weighs_where_a_border_must_be_and_is_background_elsewhere(tmp_path: Path) -> None:
    rows = split_rows(5, 0, 0)
    rows[2] = rows[2][0], []
    assert codes(annotation_coverage(facts(rows, tmp_path)).findings) == {"coverage.empty": (rows[2][0].id,)}
    defects = needs(whole_card=False, borders=())
    found = annotation_coverage(facts(rows, tmp_path, needs=defects)).findings
    assert codes(found) == {} and "coverage.background" in {f.code for f in found}
    nothing = [(own, []) for own, _ in rows]
    assert annotation_coverage(facts(nothing, tmp_path, needs=defects)).status == "fail"
    tagged = [(own, [label(own, None, Tags(tags=()))]) for own, _ in rows]
    tags = needs(kind="tags", shapes=("tags",), whole_card=False, borders=())
    assert "coverage.nothing_drawn" in codes(annotation_coverage(facts(tagged, tmp_path, needs=tags)).findings)


def test_a_border_that_others_have_and_labels_that_nobody_declared_done(tmp_path: Path) -> None:
    rows = split_rows(5, 0, 0)
    rows[1] = bordered(1, inner=None)
    rows[4] = bordered(4, status="unlabelled")
    found = {f.key: f for f in annotation_coverage(facts(rows, tmp_path)).findings}
    assert found["coverage.missing_border:graphical_border"].samples == (rows[1][0].id,)
    assert found["coverage.not_done"].samples == (rows[4][0].id,)


def test_a_side_that_other_cards_have(tmp_path: Path) -> None:
    rows = [bordered(n, card=f"c{n // 2}", side=("front", "back")[n % 2]) for n in range(5)]
    found = {f.code: f for f in annotation_coverage(facts(rows, tmp_path)).findings}
    assert found["coverage.missing_side"].why == "1 card of 3 lacks a side that others have (back, front)"
    assert found["coverage.missing_side"].samples == (rows[4][0].id,)


def test_an_empty_dataset_is_not_checked(tmp_path: Path) -> None:
    assert annotation_coverage(facts([], tmp_path)).why == "the dataset has no samples"
