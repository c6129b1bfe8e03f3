"""Classes renamed, merged, added and retired: shown first, followed by every label, undone as one step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from trugrade_core.data import relabel, steps
from trugrade_core.data.importing import ImportReport
from trugrade_core.data.relabel import Add, Merge, Rename, Retire
from trugrade_core.data.store import Dataset, put_entry
from trugrade_core.data.versions import Version, snapshot
from trugrade_core.errors import DatasetError, UsageError
from trugrade_core.schema import Annotation, Box, ClassDef, Tags
from trugrade_core.workspace import Workspace

Import = Callable[..., ImportReport]
OUTER, INNER = "0 0.5 0.5 0.5 0.5\n", "1 0.5 0.5 0.3 0.3\n"


@pytest.fixture
def ds(ws: Workspace, yolo: Callable[..., Path], bring: Import) -> Dataset:
    """Four outer, three inner (one image has both), two with tags, one vote; classes outer, inner, worn, dent."""
    bring(yolo({f"o{n}": OUTER for n in range(3)} | {f"i{n}": INNER for n in range(2)} | {"both": OUTER + INNER}))
    ds = Dataset(ws, "d")
    ds.add_classes([ClassDef(name="worn", shape="tags"), ClassDef(name="dent", shape="tags")])
    a, b, *_ = ds.samples()
    ds.append([
        put_entry(Annotation(id="t1", sample=a, value=Tags(tags=("worn", "dent"))), who="b", tool="canvas"),
        put_entry(Annotation(id="t2", sample=b, value=Tags(tags=("worn",))), who="b", tool="canvas"),
        put_entry(Annotation(id="v", sample=a, layer="eve", label="outer", value=Box(xyxy=(0, 0, 9, 9))), who="eve", tool="canvas"),
    ])  # fmt: skip
    return ds


def names(ds: Dataset) -> list[str]:
    return [c.name for c in ds.classes]


def labels(ds: Dataset) -> list[str]:
    return sorted(a.label or ",".join(a.value.tags) for own in ds.annotations().values() for a in own)  # type: ignore[union-attr]


def do(ds: Dataset, edit: relabel.ClassEdit) -> dict[str, object]:
    """Preview and apply say the same."""
    foreseen = relabel.preview(ds, edit)
    done = relabel.apply(ds, edit, who="ann", tool="cli")
    assert {k: v for k, v in done.items() if k != "step"} == foreseen
    return done


def undo(ds: Dataset) -> dict[str, object]:
    return steps.undo(ds, relabel.KIND, who="ann", tool="cli")


def test_rename_takes_every_label_and_vote_along_and_keeps_the_place(ws: Workspace, ds: Dataset) -> None:
    version = snapshot(ds)
    before = labels(ds)
    done = do(ds, Rename(old="outer", new="outer_border"))
    assert (done["annotations"], done["votes"], done["samples"]) == (4, 1, 4)
    assert names(ds) == ["outer_border", "inner", "worn", "dent"]
    assert labels(ds).count("outer_border") == 4 and "outer" not in labels(ds)
    assert next(e for e in reversed(list(ds.log())) if e.layer == "eve").label == "outer_border"
    assert Version.open(ws, "d@v1").classes[0] == "outer" and ds.manifest().digest == version.digest, "v1 stays"
    undo(ds)
    assert labels(ds) == before and names(ds) == ["outer", "inner", "worn", "dent"]
    assert snapshot(ds) == version, "undone it is the same version"


def test_merge_says_where_both_are_and_shifts_ids(ds: Dataset) -> None:
    done = do(ds, Merge(names=("outer",), into="inner"))
    assert names(ds) == ["inner", "worn", "dent"] and labels(ds).count("inner") == 7
    assert done["notes"] == [
        "class ids change in new versions: inner 2 to 1, worn 3 to 2, dent 4 to 3",
        "1 graders' own vote(s) follow",
        "1 sample(s) have labels of both: look for shapes drawn twice",
    ]


def test_tags_are_renamed_merged_and_retired_within_their_set(ds: Dataset) -> None:
    do(ds, Rename(old="worn", new="Verschleiß"))
    assert [x for x in labels(ds) if "Ver" in x] == ["Verschleiß", "Verschleiß,dent"]
    do(ds, Merge(names=("dent",), into="Verschleiß"))
    assert [x for x in labels(ds) if "Ver" in x] == ["Verschleiß", "Verschleiß"], "named once"
    do(ds, Retire(name="Verschleiß"))
    assert names(ds) == ["outer", "inner"] and labels(ds)[:2] == ["", ""], "a set of no tags is still said"
    for _ in range(3):
        undo(ds)
    assert names(ds)[2:] == ["worn", "dent"] and [x for x in labels(ds) if "worn" in x] == ["worn", "worn,dent"]


def test_retire_deletes_by_log_entries_and_says_what_is_left_bare(ds: Dataset) -> None:
    lines = len(list(ds.log()))
    done = do(ds, Retire(name="inner"))
    assert (done["annotations"], done["samples"]) == (3, 3)
    assert "1 sample(s) keep no label: those that are done then count as 'nothing there'" in done["notes"]  # type: ignore[operator]
    assert "inner" not in labels(ds) and len(list(ds.log())) == lines + 3
    assert undo(ds)["entries"] == 3 and labels(ds).count("inner") == 3


def test_add_appends_a_class_of_its_shape(ds: Dataset) -> None:
    done = do(ds, Add(name="  crease ", shape="polygon"))
    assert done["annotations"] == 0 and ds.classes[-1] == ClassDef(name="crease", shape="polygon")
    undo(ds)
    assert names(ds)[-1] == "dent"


def test_a_conflict_stays_one_under_the_new_name(ds: Dataset) -> None:
    head = next(e for e in ds.log() if e.label == "outer")
    for x in (5.0, 6.0):
        said = Annotation(id=head.annotation, sample=head.sample, label="outer", value=Box(xyxy=(0, 0, x, x)))
        ds.append([put_entry(said, who=f"p{x}", tool="canvas", replaces=head.entry)])
    do(ds, Rename(old="outer", new="edge"))
    (conflict,) = ds.conflicts()
    assert [e.label for e in conflict.heads] == ["edge", "edge"] and [e.value.xyxy[2] for e in conflict.heads] == [
        5.0,
        6.0,
    ]  # type: ignore[union-attr]
    undo(ds)
    assert [e.label for e in ds.conflicts()[0].heads] == ["outer", "outer"]


def test_heads_that_say_the_same_after_a_merge_are_one_and_undo_brings_both_back(ds: Dataset) -> None:
    head = next(e for e in ds.log() if e.label == "outer")
    about = Annotation(id=head.annotation, sample=head.sample, label="outer", value=Box(xyxy=(0, 0, 5, 5)))
    for label in ("outer", "inner"):
        said = about.model_copy(update={"label": label})
        ds.append([put_entry(said, who=label, tool="canvas", replaces=head.entry)])
    assert [c.annotation for c in ds.conflicts()] == [head.annotation]
    do(ds, Merge(names=("inner",), into="outer"))
    assert ds.conflicts() == [] and len(ds.heads_by_annotation(None)[head.annotation]) == 1
    undo(ds)
    (conflict,) = ds.conflicts()
    assert {e.label for e in conflict.heads} == {"outer", "inner"} and len(conflict.heads) == 2


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (Rename(old="outr", new="x"), "no class 'outr'"),
        (Rename(old="outer", new="inner"), "'inner' is a class already"),
        (Rename(old="outer", new="outer"), "is called 'outer' already"),
        (Rename(old="outer", new="INNER"), "too much like the class 'inner'"),
        (Rename(old="outer", new="  "), "it is empty"),
        (Rename(old="outer", new="x" * 300), "it has 300 characters"),
        (Add(name="a\nb"), "cannot be seen"),
        (Add(name="a\ud800"), "cannot be seen"),
        (Add(name="outer"), "'outer' is a class already"),
        (Merge(names=("outer",), into="outer"), "into itself"),
        (Merge(names=("outer",), into="worn"), r"'outer' \(box\) cannot be merged into 'worn' \(tags\)"),
        (Merge(names=("nope",), into="outer"), "no class 'nope'"),
        (Merge(names=("outer",), into="nope"), "no class 'nope'"),
        (Retire(name="nope"), "no class 'nope'"),
    ],
)
def test_what_cannot_be(ds: Dataset, edit: relabel.ClassEdit, says: str) -> None:
    before = ds.log_path.read_bytes(), ds.facts()
    for attempt in (lambda: relabel.preview(ds, edit), lambda: relabel.apply(ds, edit, who="ann", tool="cli")):
        with pytest.raises(UsageError, match=says) as e:
            attempt()
        assert e.value.what_to_do
    assert (ds.log_path.read_bytes(), ds.facts()) == before and not (ds.path / "steps.jsonl").exists()


@pytest.mark.parametrize("name", ["Kratzer / 'fein'", "a,b", "傷", "<b>x</b>", "a%s{}", "\\", "x" * 100])
def test_any_character_that_can_be_seen(ds: Dataset, name: str) -> None:
    do(ds, Rename(old="outer", new=name))
    assert labels(ds).count(name) == 4
    undo(ds)
    assert labels(ds).count("outer") == 4


def test_case_alone_may_change(ds: Dataset) -> None:
    do(ds, Rename(old="outer", new="Outer"))
    assert names(ds)[0] == "Outer"


def test_labels_held_elsewhere_stop_the_whole_step(ds: Dataset) -> None:
    with pytest.raises(DatasetError, match=r"in Label Studio, and 3 more"):
        relabel.apply(ds, Rename(old="outer", new="x"), who="ann", tool="cli", held=lambda ids: dict.fromkeys(ids, "it is in Label Studio"))  # fmt: skip
    assert "x" not in names(ds) and "x" not in labels(ds)


def test_undo_is_refused_when_the_classes_were_changed_since_by_somebody_else(ds: Dataset) -> None:
    do(ds, Rename(old="outer", new="x"))
    ds.add_classes([ClassDef(name="late")])
    with pytest.raises(UsageError, match="classes of the dataset were changed since"):
        undo(ds)
    assert "x" in names(ds)


def test_no_class_edit_to_undo(ds: Dataset) -> None:
    with pytest.raises(UsageError, match="no class edit to undo"):
        undo(ds)
