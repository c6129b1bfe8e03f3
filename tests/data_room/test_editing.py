"""Edits of many samples: what they change, that they are undone as one step, and that nobody's later word is lost."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from tests.data_room.explored import agree, box, make, opened, said, six
from trugrade_core.data import editing, relabel
from trugrade_core.data.editing import Applied, Edit, Exclude, GiveScore, Reclass, SetStatus, Tag, history, preview
from trugrade_core.data.explore import Explorer
from trugrade_core.data.filters import Filter, from_line
from trugrade_core.data.store import Dataset, put_entry, status_id
from trugrade_core.errors import DatasetError, UsageError
from trugrade_core.schema import Annotation, Box, Score, Status
from trugrade_core.workspace import Workspace


@pytest.fixture
def ds(ws: Workspace) -> Dataset:
    return six(ws)


def everything(ds: Dataset) -> tuple[Any, ...]:
    """What holds in the dataset, without who said it when."""
    samples = {id: s.model_dump() for id, s in ds.samples().items()}
    current = {id: sorted((a.id, a.label, a.value.model_dump_json(), str(a.attributes)) for a in found)
               for id, found in ds.annotations().items()}  # fmt: skip
    return samples, current


def do(found: Explorer, edit: Edit, where: str = "", **words: Any) -> Applied:
    f = from_line(where)
    return editing.apply(found, edit, found.ids(f), who=words.pop("who", "lena"), where=f.line(), **words)


EDITS = [
    (Tag(tag="good"), 6, 0),
    (Tag(tag="to check"), 5, 1),
    (Tag(tag="to check", on=False), 1, 5),
    (Exclude(reason="torn"), 6, 0),
    (Exclude(reason=None), 1, 5),
    (GiveScore(score=7.5), 5, 1),
    (GiveScore(score=9), 6, 0),
    (SetStatus(status="done"), 3, 3),
    (SetStatus(status="rescan", comment="too dark"), 6, 0),
    (Reclass(old="dent", new="scratch"), 3, 3),
    (Reclass(old=None, new="dent"), 1, 5),
]


@pytest.mark.parametrize(
    ("edit", "changed", "unchanged"), EDITS, ids=lambda x: x.words() if hasattr(x, "words") else ""
)
def test_an_edit_changes_what_it_says_and_is_undone_as_one_step(
    ds: Dataset, edit: Edit, changed: int, unchanged: int
) -> None:  # fmt: skip
    found, before = opened(ds), everything(ds)
    assert preview(found, edit, Filter()) == (6, changed)
    assert everything(ds) == before
    done = do(found, edit)
    assert (done.changed, done.unchanged, done.left) == (changed, unchanged, [])
    agree(found, ds)
    assert preview(found, edit, Filter()) == (6, 0)
    again = do(found, edit)
    assert (again.changed, again.unchanged) == (0, 6)
    assert [b.id for b in history(ds)] == [done.batch]  # what changed nothing is not in the history
    back = editing.undo(found, who="lena")
    assert (back.changed, back.left) == (changed, [])
    assert everything(ds) == before
    agree(found, ds)
    assert ds.conflicts() == []


def test_nothing_is_rewritten_and_every_line_says_who(ds: Dataset) -> None:
    found = opened(ds)
    before = ds.samples_path.read_bytes(), ds.log_path.read_bytes()
    do(found, Reclass(old="dent", new="scratch"))
    do(found, Tag(tag="good"))
    editing.undo(found, who="aiko")
    after = ds.samples_path.read_bytes(), ds.log_path.read_bytes()
    assert all(new.startswith(old) and len(new) > len(old) for old, new in zip(before, after, strict=True))
    added = [e for e in ds.log() if e.tool == "explorer"]
    assert {(e.who, e.label) for e in added} == {("lena", "scratch")} and all(e.replaces for e in added)
    undone, tagged, reclassed = history(ds)
    assert (undone.who, undone.what, undone.undoes, undone.samples) == ("aiko", "undo: tag 'good'", tagged.id, 6)
    assert (tagged.undone, reclassed.undone) == (undone.id, None)
    assert (reclassed.what, reclassed.who, reclassed.samples) == ("make 'dent' 'scratch'", "lena", 3)


def test_an_edit_of_a_class_keeps_severity_and_suggestions_of_others(ds: Dataset) -> None:
    do(opened(ds), Reclass(old="dent", new="scratch"), "status=done split=val")
    (entry,) = [e for e in ds.log() if e.tool == "explorer"]
    assert entry.attributes == {"severity": "minor"}
    assert entry.value == next(e for e in ds.log() if e.annotation == "d").value


def test_the_earlier_of_two_edits_can_be_undone_by_its_id(ds: Dataset) -> None:
    found = opened(ds)
    first = do(found, Tag(tag="one"), "status=done")
    do(found, Tag(tag="two"))
    editing.undo(found, first.batch[:20].lower(), who="lena")
    assert all("one" not in s.tags and "two" in s.tags for s in ds.samples().values())


def test_a_tag_comes_back_to_its_place(ds: Dataset) -> None:
    found = opened(ds)
    do(found, Tag(tag="to check", on=False))
    editing.undo(found, who="lena")
    assert ds.samples()[make(1).id].tags == ("to check", "a, b")


def test_what_somebody_changed_since_stays_and_is_said(ds: Dataset) -> None:
    found = opened(ds)
    do(found, Reclass(old="dent", new="scratch"))
    ours = {e.annotation: e for e in ds.log() if e.tool == "explorer"}
    ds.append([said(make(1), "d", box(1, 1), "dent", who="tomek", replaces=ours["d"].entry)])
    before = everything(ds)
    back = editing.undo(found, who="lena")
    assert back.changed == 2
    assert back.left == [(make(1).id, "tomek changed it since")]
    samples, current = everything(ds)
    assert samples == before[0]
    assert current[make(1).id] == before[1][make(1).id]
    assert all(label == "dent" for id in (make(0).id, make(5).id) for _, label, *_ in [current[id][-1]])
    agree(found, ds)


@pytest.mark.parametrize(
    ("edit", "since", "why"),
    [
        (Tag(tag="good"), Tag(tag="good", on=False), "the tag was taken off since"),
        (Tag(tag="to check", on=False), Tag(tag="to check"), "the tag was put on since"),
        (Exclude(reason="torn"), Exclude(reason="bent"), "it was excluded: bent since"),
        (Exclude(reason="torn"), Exclude(reason=None), "it was taken in again since"),
        (GiveScore(score=3), GiveScore(score=4), "tomek changed it since"),
        (SetStatus(status="skipped"), SetStatus(status="unsure"), "tomek changed it since"),
    ],
)
def test_each_kind_of_edit_says_why_a_sample_is_left(ds: Dataset, edit: Edit, since: Edit, why: str) -> None:
    found = opened(ds)
    done = do(found, edit, f"ids={make(1).id},{make(2).id}")
    do(found, since, f"ids={make(1).id}", who="tomek")
    kept = everything(ds)[0][make(1).id]
    back = editing.undo(found, done.batch, who="lena")
    assert back.left == [(make(1).id, why)]
    assert everything(ds)[0][make(1).id] == kept


def test_samples_about_which_people_disagree_are_left(ds: Dataset) -> None:
    first = next(e for e in ds.log() if e.annotation == "b")
    ds.append(
        [
            said(make(0), "b", box(x, 1), "scratch", who=who, replaces=first.entry)
            for x, who in ((1, "maria"), (2, "tomek"))
        ]
    )
    found = opened(ds)
    done = do(found, Reclass(old="scratch", new="dent"))
    assert done.left == [(make(0).id, "maria and tomek say different things; settle that first")]
    assert len(ds.conflicts()) == 1
    assert do(found, Reclass(old="dent", new="border"), f"ids={make(0).id}").changed == 1  # another shape of it


def test_samples_that_are_worked_on_elsewhere_get_no_labels_but_marks(ds: Dataset) -> None:
    found = opened(ds)
    held = {make(1).id: "it is being annotated in Label Studio"}
    for edit in (GiveScore(score=2), SetStatus(status="skipped"), Reclass(old=None, new="border")):
        done = do(found, edit, held=lambda ids: {id: why for id, why in held.items() if id in ids})
        assert done.left == [(make(1).id, held[make(1).id])], edit
    assert do(found, Tag(tag="x"), held=lambda ids: held).left == []


def test_a_status_goes_to_the_log_and_to_the_sample(ds: Dataset) -> None:
    found = opened(ds)
    do(found, SetStatus(status="rescan", comment="dark"), "status=unlabelled")
    for n in (2, 4, 5):
        sample = ds.samples()[make(n).id]
        assert sample.status == "rescan"
        (entry,) = [e for e in ds.log() if e.annotation == status_id(sample.id)]
        assert (entry.value, entry.who, entry.tool) == (Status(status="rescan", comment="dark"), "lena", "explorer")


def test_a_score_replaces_the_one_that_is_there(ds: Dataset) -> None:
    do(opened(ds), GiveScore(score=2))
    scores = [a for a in ds.annotations()[make(1).id] if isinstance(a.value, Score)]
    assert [(a.id, a.value) for a in scores] == [("e", Score(score=2))]


def test_a_batch_that_was_cut_off_is_undone_as_far_as_it_came(ds: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(editing, "BATCH", 2)
    found, before = opened(ds), everything(ds)

    def cut(done: int, total: int, text: str) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        do(found, Tag(tag="half"), progress=cut)
    assert sum("half" in s.tags for s in ds.samples().values()) == 4
    assert [b.samples for b in history(ds)] == [4]
    with pytest.raises(KeyboardInterrupt):
        editing.undo(found, who="lena", progress=lambda done, total, text: (_ for _ in ()).throw(KeyboardInterrupt))
    assert sum("half" in s.tags for s in ds.samples().values()) == 2
    editing.undo(found, who="lena")  # again, and to the end
    assert everything(ds) == before


def test_a_torn_line_of_the_history_is_no_edit_and_a_damaged_one_is_named(ds: Dataset) -> None:
    found = opened(ds)
    do(found, Tag(tag="x"))
    path = ds.path / "edits.jsonl"
    with path.open("ab") as f:
        f.write(b'{"batch": "cut')
    do(found, Tag(tag="y"))
    assert [b.what for b in history(ds)] == ["tag 'y'", "tag 'x'"]
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"something": "else"}\n')
    with pytest.raises(DatasetError, match="was damaged or changed by hand"):
        history(ds)
    path.write_bytes(whole + json.dumps({"batch": "Z", "who": "", "when": "", "edit": {"do": "fly"}}).encode() + b"\n")
    with pytest.raises(DatasetError, match="an edit cannot be understood"):
        history(ds)


def test_what_cannot_be_undone_is_refused_in_words(ds: Dataset) -> None:
    found = opened(ds)
    with pytest.raises(UsageError, match="there is nothing to undo"):
        editing.undo(found, who="lena")
    done = do(found, Tag(tag="x"))
    back = editing.undo(found, who="aiko")
    for batch, words in ((done.batch, "aiko has undone it"), (back.batch, "this is an undo"), ("01zz", "no edit '01zz'"),
                         ("01", "'01' is the beginning of 2 edits")):  # fmt: skip
        with pytest.raises(UsageError, match=words):
            editing.undo(found, batch, who="lena")
    with pytest.raises(UsageError, match="nothing to undo"):
        editing.undo(found, who="lena")


def test_an_edit_that_cannot_be_is_refused_and_nothing_is_written(ds: Dataset) -> None:
    found = opened(ds)
    for edit, words in ((Reclass(old=None, new="dint"), "'dint' is not a class of shapes"),):
        with pytest.raises(UsageError, match=words) as e:
            do(found, edit)
        assert "did you mean 'dent'?" in e.value.what_to_do
    with pytest.raises(UsageError, match="nobody has said who is at work"):
        do(found, Tag(tag="x"), who=" ")
    for wrong in ({"tag": ""}, {"tag": "x" * 501}):
        with pytest.raises(ValidationError):
            Tag.model_validate(wrong)
    with pytest.raises(ValidationError):
        Exclude(reason="")
    with pytest.raises(ValidationError):
        GiveScore(score=float("nan"))
    assert not (ds.path / "edits.jsonl").exists()


def test_an_undo_does_not_bring_back_a_class_that_was_retired(ds: Dataset) -> None:
    """Labels of a class that is not in the list would be learnt by no model."""
    found = opened(ds)
    do(found, Reclass(old="dent", new="scratch"))
    relabel.apply(ds, relabel.Retire(name="dent"), who="aiko", tool="cli")
    before = everything(ds)
    undone = editing.undo(found, who="lena")
    assert undone.changed == 0 and {why for _, why in undone.left} == {"the class 'dent' is no longer in the list"}
    assert everything(ds) == before


def test_a_shape_without_a_class_has_none_again_after_an_undo(ds: Dataset) -> None:
    value = Box(xyxy=(1, 1, 5, 5))
    ds.append([put_entry(Annotation(id="f" * 16, sample=make(1).id, value=value), who="aiko", tool="canvas")])
    found, before = opened(ds), everything(ds)
    do(found, Reclass(old=None, new="dent"))
    assert editing.undo(found, who="lena").left == [] and everything(ds) == before


def test_samples_that_went_meanwhile_are_said_in_an_undo(ds: Dataset) -> None:
    found = opened(ds)
    whole = ds.samples_path.read_bytes()
    done = do(found, Tag(tag="x"))
    ds.samples_path.write_bytes(whole.split(b"\n", 1)[1])  # a copy without the first sample is put back
    back = editing.undo(found, done.batch, who="lena")
    assert (make(0).id, "it is no longer in the dataset") in back.left
