"""format_validation: what is missing, changed, damaged, foreign or on both sides of a split; acceptance and the verdict."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.data_room.checking import bordered, codes, facts, label, needs, sample
from trugrade_core.data import acceptance
from trugrade_core.data.checks import CHECKS, FUNCTIONS, run_checks
from trugrade_core.data.checks.base import Finding, Result, judged
from trugrade_core.data.checks.format import damage, format_validation, leaks
from trugrade_core.data.checks.verdict import RULES, Standing, verdict
from trugrade_core.data.store import Dataset
from trugrade_core.data.versions import Version, snapshot
from trugrade_core.errors import DatasetError, UsageError
from trugrade_core.schema import ClassDef, Score
from trugrade_core.workspace import Workspace

LINES = "0 0.5 0.5 0.6 0.6\n1 0.5 0.5 0.3 0.3\n"


@pytest.fixture
def ds(ws: Workspace, bring: Callable[..., Any], yolo: Callable[..., Path]) -> Dataset:
    bring(yolo({f"c{n}": LINES for n in range(6)}))
    return Dataset.open(ws, "d")


def of(ds: Dataset, **changes: Any) -> Any:
    labels = ds.annotations()
    words = {
        "ws": ds.ws,
        "name": ds.name,
        "dataset": ds,
        "classes": ds.classes,
        "needs": needs(borders=("outer", "inner")),
    }
    rows = [(s, labels.get(s.id, [])) for s in ds.iter_samples()]
    return facts(rows, ds.path, image_path=ds.image_path, **words | changes)


def test_a_whole_dataset_is_sound(ds: Dataset) -> None:
    snapshot(ds)
    for deep in (False, True):
        found = format_validation(of(ds, deep=deep))
        assert (found.status, found.score, codes(found.findings)) == ("ok", 1.0, {})
    assert found.why == "6 samples, each file read whole"


def test_a_picture_that_is_gone_cut_or_changed(ds: Dataset) -> None:
    first, second, third, *_ = ds.iter_samples()
    ds.image_path(first).unlink()
    cut = ds.image_path(second)
    cut.write_bytes(cut.read_bytes()[:-9])
    changed = bytearray(ds.image_path(third).read_bytes())
    changed[-20] ^= 1
    ds.image_path(third).write_bytes(changed)
    quick = codes(format_validation(of(ds)).findings)
    assert quick == {"format.missing_file": (first.id,), "format.changed_file": (second.id,)}
    whole = codes(format_validation(of(ds, deep=True)).findings)
    assert whole == {"format.missing_file": (first.id,), "format.changed_file": (second.id, third.id)}


def test_a_header_that_says_another_size_than_is_recorded(ds: Dataset) -> None:
    first = next(ds.iter_samples())
    wrong = first.main.model_copy(update={"width": 65})
    ds.put_samples([first.model_copy(update={"images": {"main": wrong}})])
    found = format_validation(of(ds, deep=True)).findings
    assert codes(found) == {"format.other_header": (first.id,)}
    assert found[0].details["by_sample"] == {first.id: "width 64, recorded 65"}


def test_a_damaged_line_is_named_and_nothing_else_is_checked(ds: Dataset) -> None:
    lines = ds.log_path.read_text().splitlines()
    lines[2] = json.dumps({**json.loads(lines[2]), "value": {"type": "box", "xyxy": [5, 5, 1, 1]}})
    ds.log_path.write_text("\n".join(lines) + "\n")
    found = damage(ds)
    assert [f.key for f in found] == ["format.damaged_line:annotations.jsonl:3"]
    assert (
        "line 3 of annotations.jsonl was damaged or changed by hand" in found[0].why
        and "box has no area" in found[0].why
    )
    results = run_checks(of_unread(ds))
    assert results["format_validation"].status == "fail"
    assert {results[name].status for name in CHECKS if name != "format_validation"} == {"not_checked"}
    assert "line 3 of annotations.jsonl" in results["class_balance"].why


def of_unread(ds: Dataset) -> Any:
    return facts([], ds.path, ws=ds.ws, dataset=ds)


def test_a_torn_line_is_no_error_and_a_repeated_id_is(ds: Dataset) -> None:
    with ds.log_path.open("a") as f:
        f.write('{"entry": "01J\n')
    assert [(f.key, f.severity) for f in damage(ds)] == [("format.torn_line:annotations.jsonl", "info")]
    lines = ds.log_path.read_text().splitlines()
    with ds.log_path.open("a") as f:
        f.write(json.dumps({**json.loads(lines[0]), "who": "somebody else"}) + "\n")
    assert "format.duplicate_entry" in {f.code for f in damage(ds)}


def test_a_damaged_dataset_json(ds: Dataset) -> None:
    (ds.path / "dataset.json").write_text("{")
    assert [f.code for f in damage(ds)] == ["format.dataset_json"]


def test_a_version_whose_rows_were_changed(ds: Dataset) -> None:
    snapshot(ds)
    table = ds.versions_path / "v1" / "samples.parquet"
    table.write_bytes(table.read_bytes()[:-4])
    assert codes(format_validation(of(ds)).findings) == {}
    found = format_validation(of(ds, deep=True)).findings
    assert codes(found) == {"format.version:v1": ()} and found[0].severity == "warning"
    with pytest.raises(DatasetError, match="is not what it was"):
        Version.open(ds.ws, "d@v1")


def test_a_card_in_two_splits_is_a_leak(tmp_path: Path) -> None:
    rows = [bordered(n, card=f"card-{n // 2}", split=("train", "test")[n == 3]) for n in range(6)]
    found = [f for f in format_validation(facts(rows, tmp_path)).findings if f.code == "leak.card"]
    assert found[0].samples == (rows[2][0].id, rows[3][0].id) and found[0].severity == "error"
    assert "1 card stands in more than one split (card-1)" in found[0].why
    assert found[0].details["by_sample"] == {
        rows[2][0].id: "card card-1 in train",
        rows[3][0].id: "card card-1 in test",
    }


def test_labels_that_the_task_does_not_learn_from(tmp_path: Path) -> None:
    own = sample(1)
    asked = facts(
        [(own, [label(own, None, Score(score=9))])], tmp_path, classes=(ClassDef(name="damage", shape="tags"),)
    )
    found = {f.key: f.severity for f in format_validation(asked).findings if not f.code.startswith("format.missing")}
    assert found == {"format.foreign_shape:score": "info", "format.no_class": "error"}


def test_labels_of_samples_that_are_gone(ds: Dataset) -> None:
    gone = next(ds.iter_samples()).id
    kept = [line for line in ds.samples_path.read_text().splitlines() if gone not in line]
    ds.samples_path.write_text("\n".join(kept) + "\n")
    found = {f.code: f.why for f in format_validation(of(ds)).findings}
    assert found["format.orphan_labels"] == "2 labels of 1 sample that the dataset does not have"


def test_what_an_import_says_of_a_folder(tmp_path: Path) -> None:
    report = {
        "taken": 0,
        "skipped": [{"file": "a", "reason": "is empty"}, {"file": "b", "reason": "is empty"}],
        "notes": ["odd"],
    }
    found = {f.code: f for f in format_validation(facts([], tmp_path, imported=report)).findings}
    assert found["format.skipped"].why == "an import would leave out 2 files or labels: is empty (2)"
    assert found["format.nothing_taken"].severity == "error" and found["format.note"].why == "odd"


def test_every_name_has_its_function() -> None:
    assert tuple(FUNCTIONS) == CHECKS


# --- what findings come to ------------------------------------------------------------------------------------------


def held(code: str = "label.x", severity: str = "warning", samples: tuple[str, ...] = ("a",), **words: Any) -> Finding:
    return Finding.model_validate(
        {
            "check": "label_consistency",
            "code": code,
            "severity": severity,
            "samples": samples,
            "why": f"why {code}",
            "action": "do",
            **words,
        }
    )


def test_the_score_is_the_share_that_nothing_is_held_against() -> None:
    assert judged([], 0, why="none").status == "not_checked"
    assert judged([held(severity="info", samples=tuple("abc"))], 4).score == 1
    assert judged([held(samples=("a", "b")), held("label.y", samples=("b", "c"))], 4).score == 0.25
    assert judged([held(samples=()), held(severity="error")], 4).score == 0.375
    assert judged([held(samples=(), severity="error")], 4).score == 0
    worst_first = judged([held(severity="info"), held(severity="error")], 4)
    assert [f.severity for f in worst_first.findings] == ["error", "info"] and worst_first.status == "fail"


ALL_OK = {name: Result(status="ok", score=1.0) for name in CHECKS}


@pytest.mark.parametrize(
    ("findings", "samples", "expected", "reason"),
    [
        ([], 100, "fit", "all five checks were made"),
        ([held(severity="info")], 100, "fit", "all five"),
        ([held()], 100, "reservations", "why label.x"),
        ([held(severity="error", samples=tuple("abcd"))], 100, "reservations", "why label.x"),
        ([held(severity="error", samples=tuple("abcde"))], 100, "not_fit", "5 of 100 samples (5 %) have an error"),
        ([held("leak.card", "error")], 100, "not_fit", "why leak.card"),
        ([held(severity="error", samples=())], 100, "not_fit", "why label.x"),
        ([], 0, "not_fit", "it has no samples"),
    ],
)
def test_the_first_rule_that_applies_is_the_verdict(
    findings: list[Finding], samples: int, expected: str, reason: str
) -> None:
    found, _, why = verdict(Standing(findings, ALL_OK, samples))
    assert found == expected and why.startswith(reason)


def test_what_was_not_checked_is_a_reservation_that_says_why() -> None:
    results = {**ALL_OK, "image_quality": Result(status="not_checked", why="no picture was read")}
    found, _, why = verdict(Standing([], results, 9))
    assert (found, why) == ("reservations", "not everything was checked (image quality: no picture was read)")
    assert RULES[-1].verdict == "fit"


def test_without_a_task_nothing_is_fit_for_one() -> None:
    found, _, why = verdict(Standing([], ALL_OK, 9, has_task=False))
    assert found == "reservations" and why.startswith("no task is named")


# --- letting a finding stand ----------------------------------------------------------------------------------------


def test_an_accepted_finding_stands_for_its_samples_alone(ds: Dataset) -> None:
    finding = held(samples=("a", "b"))
    acceptance.accept(ds, finding, who=" ada ", reason="looked at")
    later = held(samples=("b", "c"))
    (weighed,) = acceptance.weigh([later], acceptance.acceptances(ds))
    assert weighed.open is not None and weighed.open.samples == ("c",)
    assert [(a.who, a.reason) for a in weighed.accepted] == [("ada", "looked at")]
    (same,) = acceptance.weigh([finding], acceptance.acceptances(ds))
    assert same.open is None
    (other,) = acceptance.weigh([held(samples=("a",), subject="scratch")], acceptance.acceptances(ds))
    assert other.open is not None and other.accepted == ()


def test_a_finding_about_the_whole_dataset_and_taking_back(ds: Dataset) -> None:
    whole = held(samples=())
    acceptance.accept(ds, whole, who="ada", reason="meant so")
    assert acceptance.weigh([whole], acceptance.acceptances(ds))[0].open is None
    acceptance.withdraw(ds, whole.key, who="ben", reason="was wrong")
    assert acceptance.weigh([whole], acceptance.acceptances(ds))[0].open == whole
    assert [line.op for line in acceptance.history(ds)] == ["accept", "withdraw"]  # nothing is ever removed
    with pytest.raises(DatasetError, match=r"nothing of 'label\.x' was accepted"):
        acceptance.withdraw(ds, whole.key, who="ben", reason="again")


def test_a_finding_about_the_whole_dataset_stands_for_what_it_names(ds: Dataset) -> None:
    """That nobody minds one class missing says nothing of the class that is missing next."""
    one, two = (held("balance.missing_class", "error", (), details={"names": n}) for n in (["dent"], ["dent", "fold"]))
    acceptance.accept(ds, two, who="ada", reason="too rare")
    assert [w.open for w in acceptance.weigh([one, two], acceptance.acceptances(ds))] == [None, None]
    acceptance.withdraw(ds, two.key, who="ada", reason="again")
    acceptance.accept(ds, one, who="ada", reason="too rare")
    assert [w.open for w in acceptance.weigh([one, two], acceptance.acceptances(ds))] == [None, two]


@pytest.mark.parametrize(("who", "reason", "missing"), [(" ", "why", "a name"), ("ada", "  ", "a reason")])
def test_nothing_is_accepted_without_a_name_and_a_reason(ds: Dataset, who: str, reason: str, missing: str) -> None:
    with pytest.raises(UsageError, match=f"cannot be accepted without {missing}"):
        acceptance.accept(ds, held(), who=who, reason=reason)
    assert acceptance.history(ds) == []


def test_only_samples_of_the_finding_can_be_accepted(ds: Dataset) -> None:
    with pytest.raises(UsageError, match="is not held against sample 'z'"):
        acceptance.accept(ds, held(samples=("a", "b")), who="ada", reason="why", samples=["a", "z"])


def test_samples_are_not_searched_one_by_one(ds: Dataset) -> None:
    """100,000 samples of one finding are accepted while a person waits."""
    compared = 0

    class Id(str):
        __hash__ = str.__hash__

        def __eq__(self, other: object) -> bool:
            nonlocal compared
            compared += 1
            return str.__eq__(self, other)

    ids = [f"{n:016x}" for n in range(300)]
    acceptance.accept(ds, held(samples=tuple(ids)), who="ada", reason="why", samples=map(Id, ids))
    assert compared < 10 * len(ids)


def leak(*pairs: str, found: int | None = None, code: str = "leak.same_scan") -> Finding:
    """Of samples named by a letter: "ab" is a leak between a and b."""
    listed = [{"samples": list(pair), "splits": ["train", "test"]} for pair in pairs]
    said = {me: f"like {other}, in test" for pair in reversed(pairs) for me, other in (pair, pair[::-1])}
    return held(code, "error", tuple(said), details={"pairs": listed, "found": found or len(pairs), "by_sample": said})


def test_a_leak_is_let_stand_by_its_pairs(ds: Dataset) -> None:
    """Two leaks that somebody looked at say nothing of a third between their samples."""
    acceptance.accept(ds, leak("ab", "cd"), who="ada", reason="repeats")
    (weighed,) = acceptance.weigh([leak("ba", "dc", "ad")], acceptance.acceptances(ds))
    assert weighed.open is not None and set(weighed.open.samples) == {"a", "d"}
    assert [pair["samples"] for pair in weighed.open.details["pairs"]] == [["a", "d"]]
    assert weighed.open.why == "why leak.same_scan; 1 pair of these open"
    assert weighed.open.details["by_sample"] == {"a": "like d", "d": "like a"}
    assert weighed.passed is not None and set(weighed.passed.samples) == set("abcd")
    assert weighed.passed.why == "why leak.same_scan; 2 pairs of these let stand"
    (same,) = acceptance.weigh([leak("cd")], acceptance.acceptances(ds), "surface_analysis.defect_detection")
    assert same.open is None and same.passed == leak("cd")
    acceptance.accept(ds, weighed.open, who="ben", reason="that too")
    (all_of_it,) = acceptance.weigh([leak("ba", "dc", "ad")], acceptance.acceptances(ds))
    assert all_of_it.open is None and [a.who for a in all_of_it.accepted] == ["ada", "ben"]


def torn(**cards: str) -> Finding:
    """`torn(x="ab")`: card x lies in train with sample a, in test with b."""
    (finding,) = leaks({("card", card): {"train": [a], "test": [b]} for card, (a, b) in cards.items()})
    return finding


def test_a_torn_card_is_let_stand_by_where_its_samples_lie(ds: Dataset) -> None:
    """Two torn cards that somebody looked at say nothing of a third that their samples make."""
    acceptance.accept(ds, torn(x="ab", y="cd"), who="ada", reason="known")
    accepted = acceptance.acceptances(ds)
    still = {name: acceptance.weigh([finding], accepted)[0].open for name, finding in {
        "same": torn(y="cd", x="ab"), "healed": torn(x="ab"), "third": torn(z="ad"), "turned": torn(x="ba"),
        "other": torn(x="cb"), "new": torn(x="ab", y="ce")}.items()}  # fmt: skip
    assert {name: found and found.samples for name, found in still.items()} == {
        "same": None, "healed": None, "third": ("a", "d"), "turned": ("b", "a"), "other": ("c",), "new": ("e",)
    }  # fmt: skip
    assert still["new"] is not None and still["new"].why.endswith("; 1 sample of these open")


def test_some_samples_of_a_leak_are_whole_pairs(ds: Dataset) -> None:
    with pytest.raises(UsageError, match="has no pair among these samples") as e:
        acceptance.accept(ds, leak("ab", "cd"), who="ada", reason="why", samples=["a", "c"])
    assert "name both samples of one" in e.value.what_to_do
    said = acceptance.accept(ds, leak("ab", "cd"), who="ada", reason="why", samples=["a", "b", "c"])
    assert said.samples == ("a", "b") and said.pairs == (("a", "b"),)


def test_more_pairs_than_are_listed_stand_open(ds: Dataset) -> None:
    many = leak("ab", "cd", found=5)
    with pytest.raises(UsageError, match="has 3 pairs beyond those that are listed") as e:
        acceptance.accept(ds, many, who="ada", reason="why")
    assert "Mend some first" in e.value.what_to_do
    acceptance.accept(ds, many, who="ada", reason="why", samples=many.samples)
    (weighed,) = acceptance.weigh([many], acceptance.acceptances(ds))
    assert weighed.open is not None and weighed.open.samples == many.samples
    assert weighed.open.why.endswith("; 3 pairs of these open") and weighed.open.details["pairs"] == []
    assert weighed.passed is not None and weighed.passed.why.endswith("; 2 pairs of these let stand")


DPI_LOW = held("image.dpi_low", samples=("a", "b"))
BORDER, DEFECTS = "border_detection.dual_class", "surface_analysis.defect_detection"


def open_for(ds: Dataset, finding: Finding) -> list[str]:
    """The tasks for which it stands open."""
    accepted = acceptance.acceptances(ds)
    return [task for task in (BORDER, DEFECTS, "") if acceptance.weigh([finding], accepted, task)[0].open is not None]


def test_what_is_no_matter_to_one_task_stands_open_for_another(ds: Dataset) -> None:
    acceptance.accept(ds, DPI_LOW, who="ada", reason="borders are coarse", task=BORDER)
    assert open_for(ds, DPI_LOW) == [DEFECTS, ""]
    with pytest.raises(DatasetError, match=f"was accepted for {DEFECTS}") as e:
        acceptance.withdraw(ds, DPI_LOW.key, who="ben", reason="no", task=DEFECTS)
    assert e.value.what_to_do == f"It was for {BORDER}: name that one with --task."
    acceptance.accept(ds, DPI_LOW, who="ada", reason="large defects", task=DEFECTS)
    acceptance.withdraw(ds, DPI_LOW.key, who="ben", reason="no", task=BORDER)
    assert open_for(ds, DPI_LOW) == [BORDER, ""]


@pytest.mark.parametrize("code", ["leak.card", "duplicate.design", "format.changed_file"])
def test_what_is_the_same_for_every_task_is_accepted_for_all(ds: Dataset, code: str) -> None:
    said = acceptance.accept(ds, held(code), who="ada", reason="why", task=BORDER)
    assert said.task is None and open_for(ds, held(code)) == []
    acceptance.withdraw(ds, code, who="ada", reason="no", task=DEFECTS)
    assert len(open_for(ds, held(code))) == 3


def test_lines_of_before_count_as_far_as_they_can_be_understood(ds: Dataset) -> None:
    """They say no task and no pairs."""
    when = '"who": "ada", "reason": "why", "when": "2025-01-01T00:00:00Z"'
    lines = [('"1"', "image.dpi_low", '["a", "b"]'), ('"2"', "leak.same_scan", '["b", "a"]'),
             ('"3"', "leak.design", '["a", "b", "c", "d"]')]  # fmt: skip
    (ds.path / acceptance.FILE).write_text(
        "".join(f'{{"id": {n}, "op": "accept", "finding": "{code}", "samples": {s}, {when}}}\n' for n, code, s in lines)
    )
    assert open_for(ds, DPI_LOW) == [] and open_for(ds, leak("ab")) == []
    assert len(open_for(ds, leak("ab", "cd", code="leak.design"))) == 3  # which pairs were meant, nobody can tell
    acceptance.withdraw(ds, DPI_LOW.key, who="ben", reason="no", task=DEFECTS)
    assert len(open_for(ds, DPI_LOW)) == 3


def test_a_damaged_acceptance_is_named_and_a_torn_one_left_alone(ds: Dataset) -> None:
    acceptance.accept(ds, held(), who="ada", reason="why")
    path = ds.path / acceptance.FILE
    with path.open("a") as f:
        f.write('{"id": "torn\n')
    assert len(acceptance.acceptances(ds)) == 1
    with path.open("a") as f:
        f.write('{"id": "x", "finding": "label.x"}\n')
    with pytest.raises(DatasetError, match="line 3 was damaged"):
        acceptance.acceptances(ds)
