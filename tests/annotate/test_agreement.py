"""Agreement against published figures; consensus, assignment and settling, and their bad input."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trugrade_core.annotate import agreement as agreeing
from trugrade_core.annotate import alike, assigning, consensus
from trugrade_core.annotate.saving import Decision, Op, save, state_of
from trugrade_core.cli import run_line
from trugrade_core.data import relabel, rle, steps
from trugrade_core.data.images import probe
from trugrade_core.data.store import Dataset, sample_id
from trugrade_core.errors import DatasetError, UsageError
from trugrade_core.schema import Annotation, Box, ClassDef, Polygon, Sample, Score, Status, Tags
from trugrade_core.workflows import grading
from trugrade_core.workspace import write_atomic

NO = float("nan")
# Krippendorff, Computing Krippendorff's alpha-reliability (2011), the example with four observers and missing data.
PUBLISHED = np.array(
    [[1, 1, NO, 1], [2, 2, 3, 2], [3, 3, 3, 3], [3, 3, 3, 3], [2, 2, 2, 2], [1, 2, 3, 4], [4, 4, 4, 4], [1, 1, 2, 1],
     [2, 2, 2, 2], [NO, 5, 5, 5], [NO, NO, 1, 1], [NO, 3, NO, NO]]
)  # fmt: skip


@pytest.mark.parametrize(("level", "alpha"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_alpha_is_the_published_one(level, alpha) -> None:
    assert agreeing.krippendorff_alpha(PUBLISHED, level) == pytest.approx(alpha, abs=5e-4)


def test_alpha_says_nothing_where_nothing_can_be_said() -> None:
    assert np.isnan(agreeing.krippendorff_alpha(np.array([[5.0, 5.0], [5.0, NO]])))
    assert np.isnan(agreeing.krippendorff_alpha(np.array([[1.0, NO], [NO, 2.0]])))
    assert agreeing.krippendorff_alpha(np.array([[1.0, 1.0], [9.0, 9.0]])) == 1


@given(st.lists(st.tuples(st.integers(1, 10), st.integers(1, 10)), min_size=3, max_size=30))
def test_kappa_is_the_textbook_formula(pairs) -> None:
    a, b = np.array(pairs, float).T
    levels = np.arange(1, 11)
    table = np.array([[((a == x) & (b == y)).sum() for y in levels] for x in levels], float) / len(a)
    weights = (levels[:, None] - levels) ** 2 / 81
    expected = np.outer(table.sum(1), table.sum(0))
    if (weights * expected).sum() == 0:
        assert np.isnan(agreeing.quadratic_kappa(a, b))
    else:
        assert agreeing.quadratic_kappa(a, b) == pytest.approx(1 - (weights * table).sum() / (weights * expected).sum())


def shape(id, label, value, layer="ada"):
    return Annotation(id=id, sample="s", layer=layer, label=label, value=value)


def test_shapes_match_one_to_one_by_class_and_their_boundaries_are_measured() -> None:
    a = [shape("1", "dent", Box(xyxy=(10, 10, 30, 30))), shape("2", "stain", Box(xyxy=(50, 50, 60, 60)))]
    b = [
        shape("3", "dent", Polygon(points=((12, 10), (32, 10), (32, 30), (12, 30)))),
        shape("4", "dent", Box(xyxy=(50, 50, 60, 60))),
    ]
    found = alike.match(a, b)
    assert [(x.id, y.id) for x, y in found.pairs] == [("1", "3")] and found.f1 == 0.5
    first, second = (rle.outlines(one.value) for one in found.pairs[0])
    assert alike.boundary_distance(first, second) == pytest.approx(1.0, abs=0.01)
    assert alike.boundary_distance(first, first) == pytest.approx(0, abs=1e-9)
    assert alike.iou(first, second) == pytest.approx(18 / 22, abs=0.01)
    ring = np.zeros((80, 100), bool)
    ring[10:31, 10:31] = True
    ring[15:20, 15:20] = False
    assert alike.match([shape("5", "dent", rle.encode(ring))], a[:1]).f1 == 1
    assert alike.match([], []).f1 == 1 and alike.match(a, []).f1 == 0


def strip(x: float, y: float, length: float, width: float, degrees: float) -> Polygon:
    turn = np.radians(degrees)
    along, across = np.array([np.cos(turn), np.sin(turn)]), np.array([-np.sin(turn), np.cos(turn)])
    corners = [(0, 0), (length, 0), (length, width), (0, width)]
    return Polygon(points=tuple(tuple(np.array([x, y]) + a * along + b * across) for a, b in corners))


@pytest.mark.parametrize("degrees", [0, 45, 80, 90])
def test_a_long_thin_scratch_is_compared_as_finely_as_a_square(degrees) -> None:
    drawn = [rle.outlines(strip(500, 500, 2000, 3, degrees))]
    for off, truth in ((0, 1), (1, 0.5), (2, 0.2), (3, 0)):
        turn = np.radians(degrees)
        moved = strip(500 - off * np.sin(turn), 500 + off * np.cos(turn), 2000, 3, degrees)
        assert alike.iou(drawn[0], rle.outlines(moved)) == pytest.approx(truth, abs=0.01)


def test_a_pair_that_means_the_same_is_not_given_up_for_two_that_do_not() -> None:
    def box(id, x):
        return shape(id, "dent", Box(xyxy=(x, 0, x + 10, 10)))

    found = alike.match([box("1", 0), box("2", 7.5)], [box("3", 3.2), box("4", -4.3)])
    assert [(x.id, y.id) for x, y in found.pairs] == [("1", "3")]


def test_shapes_that_lie_apart_are_not_compared(ds, monkeypatch) -> None:
    compared = []
    plain = alike.iou
    monkeypatch.setattr(alike, "iou", lambda a, b: compared.append(1) or plain(a, b))
    sample = next(iter(ds.samples()))
    for n, grader in enumerate(("ada", "ben", "cyd")):
        places = [(x + n / 10, y) for x in range(0, 70, 10) for y in range(0, 50, 10)]
        vote(ds, sample, grader, *(("dent", Box(xyxy=(x, y, x + 8, y + 8))) for x, y in places))
    votes = agreeing.read_votes(ds)[sample]
    assert agreeing.disagreement(votes) == 0 and len(compared) == 3 * 35
    assert len(consensus.agreed(votes)) == 35 and len(compared) <= (3 + 9) * 35


def test_intervals_draw_whole_cards() -> None:
    """Of a mean over two cards of unlike size only four draws exist, and no sample is drawn without its card's others."""
    seen: set[tuple[float, ...]] = set()
    units = np.array([[1.0], [5.0], [2.0], [3.0]])

    def figure(drawn) -> float:
        seen.add(tuple(sorted(drawn[:, 0])))
        return float(drawn.mean())

    found = agreeing.intervals(units, ["a", "b", "a", "a"], figure)
    assert seen == {(1, 2, 3, 5), (1, 1, 2, 2, 3, 3), (5, 5)}
    assert (found["value"], found["low"], found["high"], found["samples"], found["cards"]) == (2.75, 2, 5, 4, 2)
    alone = agreeing.intervals(units[:1], ["a"], figure)
    assert alone["low"] is None and alone["value"] == 1


# --- a dataset with votes -----------------------------------------------------------------------------------------


@pytest.fixture
def ds(ws):
    made = Dataset.create(
        ws,
        "corners",
        [
            ClassDef(name="dent", shape="polygon"),
            ClassDef(name="worn", shape="tags"),
            ClassDef(name="bent", shape="tags"),
        ],
    )
    for n in range(6):
        data = cv2.imencode(".png", np.random.default_rng(n).integers(0, 255, (60, 80, 3), np.uint8))[1].tobytes()
        ref = probe(data, name="x.png")
        write_atomic(ws.image(ref.sha256, ref.suffix), data)
        sample = Sample(
            id=sample_id({"main": ref}), images={"main": ref}, card=f"card-{n // 2}", card_assumed=False, dpi=254
        )
        made.put_samples([sample])
    return made


def vote(ds, sample, grader, *values, layer=None) -> None:
    ops = [Op(op="put", label=label, value=value) for label, value in values]
    save(
        ds,
        sample,
        ops,
        who=grader,
        tool="annotator",
        commit=f"{grader}-{sample}",
        layer=grader if layer is None else layer,
    )


def test_votes_are_kept_apart_and_agreement_is_reported_with_intervals(ds) -> None:
    ids = list(ds.samples())
    for n, sample in enumerate(ids):
        for grader, off in (("ada", 0.0), ("ben", 0.5), ("cyd", 0.0)):
            box = Box(xyxy=(10 + 2 * off, 10, 40 + 2 * off, 40))
            vote(ds, sample, grader, (None, Score(score=5 + n / 2 + off)), ("dent", box))
    found = grading.agreement(ds.ws, ds.name)
    assert found["samples"] == 6 and [g["grader"] for g in found["graders"]] == ["ada", "ben", "cyd"]
    bias = {g["grader"]: g["bias"] for g in found["graders"]}
    assert {g: round(b["value"], 2) for g, b in bias.items()} == {"ada": -0.25, "ben": 0.5, "cyd": -0.25}
    assert bias["ben"]["low"] == bias["ben"]["high"] == 0.5 and bias["ben"]["samples"] == 6
    alpha = found["scores"]["alpha"]
    assert 0.8 < alpha["value"] < 1 and alpha["low"] <= alpha["value"] and alpha["cards"] == 3
    assert (
        alpha["reading"] == "reliable"
        and agreeing.reading(0.7) == "tentative"
        and agreeing.reading(-0.2) == "not reliable"
    )
    by_pair = {tuple(p["graders"]): p for p in found["scores"]["pairs"]}
    assert by_pair["ada", "cyd"]["kappa"]["value"] == 1 and by_pair["ada", "ben"]["within_half"] == 1
    dent = found["shapes"]["classes"]["dent"]
    assert dent["f1"]["value"] == 1 and 0 < dent["distance_mm"]["value"] < 0.1
    assert ds.annotations() == {}  # nothing holds until it is settled


def test_the_majority_holds_and_the_votes_stay(ds) -> None:
    sample, other = list(ds.samples())[:2]
    for grader, score, tags in (("ada", 8, ("worn",)), ("ben", 9, ("worn", "bent")), ("cyd", 8.5, ())):
        vote(ds, sample, grader, (None, Score(score=score)), (None, Tags(tags=tags)))
    vote(ds, sample, "dan", ("dent", Box(xyxy=(5, 5, 20, 20))))  # one of four: no majority
    vote(ds, other, "ada", (None, Score(score=7)))
    assert [row["sample"] for row in grading.review_queue(ds.ws, ds.name)] == [sample]
    log = sum(1 for _ in ds.log())
    found = grading.settle(ds.ws, ds.name, who="eve", reason="median of three")
    assert found == {"dataset": "corners", "settled": [sample], "left": [], "held": []}
    held = {e.value.type: e for e in state_of(ds, sample).shown}
    assert held["score"].value.score == 8.5 and held["tags"].value.tags == ("worn",)
    assert held["score"].attributes["reason"] == "median of three" and "box" not in held
    assert ds.samples()[sample].status == "done" and grading.review_queue(ds.ws, ds.name) == []
    assert len(agreeing.read_votes(ds)[sample].by) == 4 and sum(1 for _ in ds.log()) > log
    grading.settle(ds.ws, ds.name, who="eve", reason="ben looked again", samples=[sample], grader="ben")
    assert next(e.value.score for e in state_of(ds, sample).shown if e.value.type == "score") == 9


def test_of_shapes_the_one_nearest_to_the_others_is_taken(ds) -> None:
    sample = next(iter(ds.samples()))
    for grader, x in (("ada", 10), ("ben", 11), ("cyd", 14)):
        vote(ds, sample, grader, ("dent", Box(xyxy=(x, 10, x + 30, 40))))
    (kept,) = consensus.agreed(agreeing.read_votes(ds)[sample])
    assert kept.value.xyxy[0] == 11 and kept.layer == "main"


def test_a_decision_needs_votes_and_a_reason(ds) -> None:
    first, second = list(ds.samples())[:2]
    vote(ds, first, "ada", (None, Score(score=8)))
    with pytest.raises(UsageError, match="needs its reason"):
        grading.settle(ds.ws, ds.name, who="eve", reason=" ", samples=[first])
    with pytest.raises(DatasetError, match="nobody has voted"):
        grading.settle(ds.ws, ds.name, who="eve", reason="x", samples=[second])
    with pytest.raises(DatasetError, match="'zed' has not voted") as e:
        grading.settle(ds.ws, ds.name, who="eve", reason="x", samples=[first], grader="zed")
    assert "ada" in e.value.what_to_do


def status(ds, sample, grader, word, layer=None) -> None:
    save(
        ds,
        sample,
        [],
        who=grader,
        tool="annotator",
        commit=f"{grader}-{sample}-{word}",
        layer=grader if layer is None else layer,
        status=Status(status=word),
    )


def test_who_skipped_it_has_not_voted_and_nothing_there_is_a_vote(ds) -> None:
    first, second, third = list(ds.samples())[:3]
    for sample in (first, second, third):
        vote(ds, sample, "ada", ("dent", Box(xyxy=(5, 5, 20, 20))))
    status(ds, first, "ben", "skipped")
    status(ds, second, "ben", "done")
    status(ds, third, "ben", "unsure")
    votes = agreeing.read_votes(ds)
    assert list(votes[first].by) == ["ada"] and votes[second].by["ben"] == [] and list(votes[third].by) == ["ada"]
    assert [(r["sample"], r["disagreement"]) for r in grading.review_queue(ds.ws, ds.name)] == [(second, 1.0)]


def test_nothing_there_can_be_settled_and_keeps_its_reason(ds) -> None:
    sample = next(iter(ds.samples()))
    status(ds, sample, "eve", "done", layer="main")
    for grader in ("ada", "ben"):
        status(ds, sample, grader, "done")
    grading.settle(ds.ws, ds.name, who="eve", reason="both saw nothing")
    found = grading.review(ds.ws, ds.name)
    assert not found.queue and found.settled[0]["who"] == "eve" and found.settled[0]["reason"] == "both saw nothing"


def test_what_the_votes_do_not_speak_of_goes_on_to_hold(ds) -> None:
    ds.add_classes([ClassDef(name="outer_border", shape="polygon")])
    first, second = list(ds.samples())[:2]
    for sample in (first, second):
        for label in ("outer_border", "dent"):
            save(
                ds,
                sample,
                [Op(op="put", label=label, value=Box(xyxy=(1, 1, 50, 50)))],
                who="eve",
                tool="annotator",
                commit=f"{label}-{sample}",
            )
        vote(
            ds,
            sample,
            "ada",
            (None, Score(score=8)),
            *([("dent", Box(xyxy=(5, 5, 20, 20)))] if sample == second else []),
        )
        vote(
            ds,
            sample,
            "ben",
            (None, Score(score=8)),
            *([("dent", Box(xyxy=(5, 5, 20, 20)))] if sample == second else []),
        )
    grading.settle(ds.ws, ds.name, who="eve", reason="alike")
    assert {e.label for e in state_of(ds, first).shown} == {None, "outer_border", "dent"}
    held = {e.label: e.value for e in state_of(ds, second).shown}
    assert set(held) == {None, "outer_border", "dent"} and held["dent"].xyxy == (5, 5, 20, 20)


def test_the_same_decision_can_be_taken_again_after_somebody_changed_what_held(ds) -> None:
    sample = next(iter(ds.samples()))
    for grader in ("ada", "ben"):
        vote(ds, sample, grader, (None, Score(score=8)))
    grading.settle(ds.ws, ds.name, who="eve", reason="alike")
    (held,) = state_of(ds, sample).shown
    op = Op(op="put", annotation=held.annotation, value=Score(score=2), replaces=held.entry)
    save(ds, sample, [op], who="dan", tool="annotator", commit="d" * 8)
    grading.settle(ds.ws, ds.name, who="eve", reason="alike", samples=[sample])
    assert [e.value.score for e in state_of(ds, sample).shown] == [8]


def test_a_later_vote_opens_a_settled_sample_again(ds) -> None:
    sample = next(iter(ds.samples()))
    for grader, score in (("ada", 8), ("ben", 9)):
        vote(ds, sample, grader, (None, Score(score=score)))
    grading.settle(ds.ws, ds.name, who="eve", reason="near enough")
    assert grading.review(ds.ws, ds.name).settled[0]["reason"] == "near enough"
    vote(ds, sample, "cyd", (None, Score(score=3)))
    (row,) = grading.review_queue(ds.ws, ds.name)
    assert row["graders"] == ["ada", "ben", "cyd"] and row["disagreement"] == 6


def test_only_a_graders_own_later_word_opens_a_settled_sample_again(ds) -> None:
    sample = next(iter(ds.samples()))
    for grader, layer in (("ada", "ada"), ("ben", "ben (Label Studio 2)")):
        vote(ds, sample, grader, ("dent", Box(xyxy=(5, 5, 20, 20))), layer=layer)
    grading.settle(ds.ws, ds.name, who="eve", reason="alike")

    def held() -> list[str]:
        return [row["sample"] for row in grading.review(ds.ws, ds.name).settled]

    for who in ("eve", "ada"):  # who renames may be a grader, too
        relabel.apply(ds, relabel.Rename(old="dent", new="ding"), who=who, tool="cli")
        assert held() == [sample]
        steps.undo(ds, relabel.KIND, who=who, tool="cli")
        assert held() == [sample]
    (own,) = state_of(ds, sample, "ben (Label Studio 2)").shown
    op = Op(op="put", annotation=own.annotation, label="dent", value=Box(xyxy=(9, 5, 20, 20)), replaces=own.entry)
    save(ds, sample, [op], who="ben", tool="annotator", commit="b" * 8, layer="ben (Label Studio 2)")
    assert held() == [] and [row["sample"] for row in grading.review_queue(ds.ws, ds.name)] == [sample]


def test_settling_ends_a_conflict_of_what_held(ds) -> None:
    sample = next(iter(ds.samples()))
    made = save(
        ds,
        sample,
        [Op(op="put", label="dent", value=Box(xyxy=(1, 1, 9, 9)))],
        who="eve",
        tool="annotator",
        commit="e" * 8,
    )
    for who, x in (("eve", 2), ("fay", 3)):
        op = Op(
            op="put",
            annotation=made.annotations[0],
            label="dent",
            value=Box(xyxy=(x, 1, 9, 9)),
            replaces=made.entries[0],
        )
        save(ds, sample, [op], who=who, tool="annotator", commit=who * 8)
    assert ds.conflicts()
    for grader in ("ada", "ben"):
        vote(ds, sample, grader, ("dent", Box(xyxy=(30, 30, 50, 50))))
    grading.settle(ds.ws, ds.name, who="eve", reason="both the same")
    assert not ds.conflicts() and [a.value.xyxy[0] for a in ds.annotations()[sample]] == [30]


def test_settling_ends_a_conflict_of_the_status(ds) -> None:
    sample = next(iter(ds.samples()))
    for who, word in (("eve", "rescan"), ("fay", "unsure")):
        status(ds, sample, who, word, layer="main")
    assert ds.conflicts()
    for grader in ("ada", "ben"):
        status(ds, sample, grader, "done")
    grading.settle(ds.ws, ds.name, who="eve", reason="both saw nothing")
    assert not ds.conflicts() and ds.samples()[sample].status == "done"


def test_what_label_studio_holds_is_left_and_said(ds, monkeypatch) -> None:
    first, second = list(ds.samples())[:2]
    for sample in (first, second):
        for grader in ("ada", "ben"):
            vote(ds, sample, grader, (None, Score(score=8)))
    monkeypatch.setattr(grading, "pushed", lambda _ds, id: "at Label Studio" if id == first else "")
    found = grading.settle(ds.ws, ds.name, who="eve", reason="alike", most=0)
    assert found["settled"] == [second] and found["held"] == [{"sample": first, "why": "at Label Studio"}]


def test_a_grader_decides_only_where_that_one_voted(ds) -> None:
    first, second = list(ds.samples())[:2]
    for grader, sample in (("ada", first), ("ben", first), ("ben", second), ("cyd", second)):
        vote(ds, sample, grader, (None, Score(score=8)))
    assert grading.settle(ds.ws, ds.name, who="eve", reason="ada knows", grader="ada")["settled"] == [first]


# --- assignment ---------------------------------------------------------------------------------------------------


@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 6))
def test_work_is_shared_evenly_and_nobody_gets_a_sample_twice(tmp_path_factory, people, each, count) -> None:
    from trugrade_core.workspace import Workspace

    ws = Workspace.open(tmp_path_factory.mktemp("shared") / "w")
    made = Dataset.create(ws, "d")
    data = cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes()
    ref = probe(data, name="x.png")
    made.put_samples([Sample(id=f"{n:016x}", images={"main": ref}, card=str(n)) for n in range(6)])
    names = [f"grader {n}" for n in range(people)]
    ids = list(made.samples())[:count]
    if each > people:
        with pytest.raises(UsageError, match="cannot be had"):
            assigning.assign(made, ids, names, each=each, by="lead")
        return
    assigning.assign(made, ids[: count // 2], names, each=each, by="lead")
    assigning.assign(made, ids, names, each=each, by="lead")
    given = assigning.assignments(made)
    for sample in ids:
        assert sum(sample in one.samples for one in given.values()) == each
    loads = [len(given[who].samples) if who in given else 0 for who in names]
    assert max(loads) - min(loads) <= 1
    assert all((layer == "main") == (each == 1) for one in given.values() for layer in one.samples.values())


def test_taking_work_away_keeps_what_was_labelled(ds) -> None:
    ids = list(ds.samples())
    assigning.assign(ds, ids, ["ada", "bén/😀"], each=2, by="lead")
    vote(ds, ids[0], "ada", (None, Score(score=8)))
    rows = {row["who"]: row for row in grading.progress(ds.ws, ds.name)}
    assert rows["ada"] == {
        "who": "ada",
        "assigned": 6,
        "done": 1,
        "blind": 6,
        "minutes": 0.0,
        "there": 0,
        "there_minutes": 0.0,
    }
    assert grading.withdraw(ds.ws, ds.name, "ada", by="lead")["withdrawn"] == 6
    assert list(assigning.assignments(ds)) == ["bén/😀"] and len(agreeing.read_votes(ds)) == 1
    with pytest.raises(UsageError, match="nothing of 'corners' is assigned to 'adda'"):
        grading.withdraw(ds.ws, ds.name, "adda", by="lead")
    with pytest.raises(UsageError, match="no sample 'nope'"):
        assigning.assign(ds, ["nope"], ["ada"], by="lead")
    with pytest.raises(UsageError, match="nobody has said who"):
        assigning.assign(ds, ids, [" "], by="lead")


def test_a_count_is_of_the_samples_that_lack_people_and_excluded_ones_are_nobodys(ds) -> None:
    first, *others = ds.samples().values()
    ds.put_samples([first.model_copy(update={"excluded": "blurred"})])
    for who, new in (("ada", 2), ("ben", 2), ("cyd", 1)):
        assert grading.assign(ds.ws, ds.name, [who], count=2, by="lead")["assigned"] == {who: new}
    given = {who: list(one.samples) for who, one in assigning.assignments(ds).items()}
    assert [*given["ada"], *given["ben"], *given["cyd"]] == [s.id for s in others]


def test_taking_no_samples_away_takes_none(ds) -> None:
    assigning.assign(ds, list(ds.samples()), ["ada"], by="lead")
    assert grading.withdraw(ds.ws, ds.name, "ada", samples=[], by="lead")["withdrawn"] == 0
    assert len(assigning.assignments(ds)["ada"].samples) == 6


def test_who_only_turned_a_suggestion_down_has_done_nothing_yet(ds) -> None:
    sample, *_ = ds.samples()
    assigning.assign(ds, [sample], ["ada", "ben"], each=2, by="lead")
    no = [Decision(suggestion="a" * 16, word="rejected", by="run x")]
    save(ds, sample, [], who="ada", tool="annotator", commit="a" * 8, layer="ada", decisions=no)
    assert {row["who"]: row["done"] for row in grading.progress(ds.ws, ds.name)} == {"ada": 0, "ben": 0}


def test_who_works_on_it_in_main_may_be_asked_to_vote_blind_too(ds) -> None:
    ids = list(ds.samples())[:1]
    assigning.assign(ds, ids, ["ada"], by="lead")
    assigning.assign(ds, ids, ["ada", "ben"], each=2, by="lead")
    assert {who: one.samples[ids[0]] for who, one in assigning.assignments(ds).items()} == {"ada": "ada", "ben": "ben"}
    with pytest.raises(UsageError, match="under the name 'main'"):
        assigning.assign(ds, ids, ["main", "ben"], each=2, by="lead")


def test_a_damaged_assignment_is_told(ds) -> None:
    assigning.assign(ds, list(ds.samples())[:1], ["ada"], by="lead")
    with (ds.path / "assignments.jsonl").open("ab") as f:
        f.write(b'{"op": "give"}\n')
    with pytest.raises(DatasetError, match="line 2 was damaged"):
        assigning.assignments(ds)


def test_the_command_line_goes_from_assigning_to_settling(ds, capsys) -> None:
    line = ["-w", str(ds.ws.root), "--json", "data"]

    def call(*words):
        assert run_line([*line, *words]) == 0
        return json.loads(capsys.readouterr().out)

    assert call("assign", "corners", "--to", "ada", "--to", "ben", "--each", "2", "--count", "3")["assigned"] == {
        "ada": 3,
        "ben": 3,
    }
    ids = list(ds.samples())
    for grader, score in (("ada", 8), ("ben", 6)):
        vote(ds, ids[0], grader, (None, Score(score=score)))
    assert call("assign", "corners")[0]["done"] == 1
    assert call("agreement", "corners")["samples"] == 1
    assert call("review", "corners")[0]["disagreement"] == 2
    assert call("settle", "corners", "--reason", "far apart", "--most", "1")["left"] == [ids[0]]
    assert call("settle", "corners", "--reason", "ada is right", "--grader", "ada")["settled"] == [ids[0]]


def test_done_without_tags_is_a_vote_against_the_tag_of_another(ds) -> None:
    from trugrade_core.schema import Status

    sample = next(iter(ds.samples()))
    vote(ds, sample, "ada", (None, Tags(tags=("worn",))))
    for grader in ("ben", "cyd"):
        save(
            ds,
            sample,
            [],
            who=grader,
            tool="annotator",
            commit=f"{grader}-done",
            layer=grader,
            status=Status(status="done"),
        )
    votes = agreeing.read_votes(ds)[sample]
    assert agreeing.disagreement(votes) > 0
    assert [a.value.tags for a in consensus.agreed(votes)] == [()]


def test_a_decision_taken_twice_leaves_no_conflict_with_what_it_had_deleted(ds) -> None:
    sample = next(iter(ds.samples()))
    for grader, boxes in (("ada", 1), ("ben", 1), ("cyd", 0)):
        vote(ds, sample, grader, *[("dent", Box(xyxy=(10, 10, 40, 40)))] * boxes, (None, Score(score=8)))
    for reason, grader in (("majority", ""), ("cyd is right", "cyd"), ("no, the majority", "")):
        grading.settle(ds.ws, ds.name, who="eve", reason=reason, samples=[sample], grader=grader)
    assert ds.conflicts() == [] and sum(e.label == "dent" for e in state_of(ds, sample).shown) == 1
