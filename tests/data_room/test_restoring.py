"""Going back to a version: by new lines alone, to the very digest, and undone as one step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from trugrade_core.data import relabel, restoring, steps
from trugrade_core.data.diff import diff, now_side, side
from trugrade_core.data.importing import ImportReport
from trugrade_core.data.store import Dataset, put_entry, status_id
from trugrade_core.data.versions import Version, snapshot, split
from trugrade_core.errors import DatasetError, UsageError
from trugrade_core.schema import Annotation, Box, ClassDef, LogEntry, Status
from trugrade_core.workspace import Workspace

Import = Callable[..., ImportReport]
BOX = "0 0.5 0.5 0.5 0.5\n"


@pytest.fixture
def ds(ws: Workspace, yolo: Callable[..., Path], bring: Import) -> Dataset:
    bring(yolo({f"i{n}": BOX for n in range(12)} | {"none": None}))
    ds = Dataset(ws, "d")
    split(ds, (0.5, 0.25, 0.25), 3)
    return ds


def heads(ds: Dataset) -> dict[str, LogEntry]:
    entries = {e.entry: e for e in ds.log()}
    gone = {e.replaces for e in entries.values()}
    return {e.annotation: e for e in entries.values() if e.entry not in gone}


def annotation_of(entry: LogEntry) -> Annotation:
    assert entry.value is not None
    return Annotation(id=entry.annotation, sample=entry.sample, label=entry.label, value=entry.value)


def muddle(ws: Workspace, ds: Dataset, yolo: Callable[..., Path], tmp_path: Path, bring: Import) -> None:
    """Change something of every sort after v1."""
    moved, gone, doubted, *_ = heads(ds).values()
    ds.append([
        put_entry(annotation_of(moved).model_copy(update={"label": "inner"}), who="b", tool="canvas", replaces=moved.entry),
        put_entry(annotation_of(gone), who="b", tool="canvas", replaces=gone.entry).model_copy(update={"op": "delete", "value": None, "label": None}),
        put_entry(Annotation(id="new", sample=moved.sample, label="scratch", value=Box(xyxy=(0, 0, 2, 2))), who="b", tool="canvas"),
        put_entry(Annotation(id=status_id(doubted.sample), sample=doubted.sample, value=Status(status="unsure", comment="?")), who="b", tool="canvas"),
    ])  # fmt: skip
    samples = ds.samples()
    ds.put_samples([samples[doubted.sample].model_copy(update={"status": "unsure"}),
                    samples[gone.sample].model_copy(update={"excluded": "blurred"}),
                    samples[moved.sample].model_copy(update={"card": "C", "design": "D", "tags": ("x",)})])  # fmt: skip
    ds.add_classes([ClassDef(name="scratch", shape="polygon")])
    bring(yolo({f"i{n}": BOX for n in range(15)}, tmp_path / "more"), classes=("inner", "outer"))
    split(ds, seed=9)


def test_the_next_version_has_the_old_digest_and_nothing_was_rewritten(
    ws: Workspace, ds: Dataset, yolo: Callable[..., Path], tmp_path: Path, bring: Import
) -> None:
    muddle(ws, ds, yolo, tmp_path, bring)
    old = Version.open(ws, "d@v1")
    before = ds.log_path.read_bytes(), ds.samples_path.read_bytes()
    foreseen = restoring.preview(ds, old)
    done = restoring.restore(ds, old, who="ann", tool="cli")
    assert ds.log_path.read_bytes().startswith(before[0]) and ds.samples_path.read_bytes().startswith(before[1])
    assert diff(now_side(ds), side(ws, "d@v1"))["same"]
    again = snapshot(ds)
    assert (again.version, again.digest) == ("v3", old.manifest.digest)
    assert (again.ratios, again.seed) == ((0.5, 0.25, 0.25), 3)
    assert done["left_out"] == foreseen["counts"]["removed"] == 2, "the two images that came since"
    assert {s.excluded for s in ds.samples().values()} == {None, "not in v1"}
    assert {e.reason for e in ds.log() if e.who == "ann"} == {"as in v1"}


def test_a_status_goes_back_with_its_own_entry(ws: Workspace, ds: Dataset) -> None:
    sample = next(s for s in ds.samples().values() if s.status == "done")
    said = Annotation(id=status_id(sample.id), sample=sample.id, value=Status(status="rescan"))
    ds.append([put_entry(said, who="b", tool="canvas")])
    ds.put_samples([sample.model_copy(update={"status": "rescan"})])
    restoring.restore(ds, Version.open(ws, "d"), who="ann", tool="cli")
    head = heads(ds)[said.id]
    assert head.value == Status(status="done", comment="as in v1") and ds.samples()[sample.id].status == "done"
    assert ds.conflicts() == []


def test_undone_it_is_as_it_was(ws: Workspace, ds: Dataset, yolo: Callable[..., Path], tmp_path: Path, bring: Import) -> None:  # fmt: skip
    muddle(ws, ds, yolo, tmp_path, bring)
    before = ds.samples(), ds.annotations(), ds.classes, ds.facts()["split"], snapshot(ds).digest
    restoring.restore(ds, Version.open(ws, "d@v1"), who="ann", tool="cli")
    done = steps.undo(ds, restoring.KIND, who="ann", tool="cli")
    assert done["left"] == 0 and done["what"] == "undo: back to v1"
    found = ds.annotations()
    assert (ds.samples(), ds.classes, ds.facts()["split"], snapshot(ds).digest) == (
        before[0],
        before[2],
        before[3],
        before[4],
    )
    assert {k: sorted(v, key=lambda a: a.id) for k, v in found.items()} == {k: sorted(v, key=lambda a: a.id) for k, v in before[1].items()}  # fmt: skip
    with pytest.raises(UsageError, match="no restore to undo"):
        steps.undo(ds, restoring.KIND, who="ann", tool="cli")


def test_undoing_by_going_back_to_the_version_kept_before(ws: Workspace, ds: Dataset, yolo: Callable[..., Path], tmp_path: Path, bring: Import) -> None:  # fmt: skip
    muddle(ws, ds, yolo, tmp_path, bring)
    middle = snapshot(ds)
    restoring.restore(ds, Version.open(ws, "d@v1"), who="ann", tool="cli")
    restoring.restore(ds, Version.open(ws, f"d@{middle.version}"), who="ann", tool="cli")
    assert snapshot(ds).digest == middle.digest


def test_what_somebody_changed_since_stays(ws: Workspace, ds: Dataset) -> None:
    one, two, *_ = heads(ds).values()
    for head in (one, two):
        ds.append([put_entry(annotation_of(head).model_copy(update={"label": "inner"}), who="b", tool="canvas", replaces=head.entry)])  # fmt: skip
    restoring.restore(ds, Version.open(ws, "d"), who="ann", tool="cli")
    now = heads(ds)[one.annotation]
    mine = annotation_of(now).model_copy(update={"value": Box(xyxy=(1, 1, 2, 2))})
    ds.append([put_entry(mine, who="carl", tool="canvas", replaces=now.entry)])
    sample = ds.samples()[two.sample]
    done = steps.undo(ds, restoring.KIND, who="ann", tool="cli")
    assert (done["entries"], done["left"]) == (1, 1)
    assert annotation_of(heads(ds)[one.annotation]) == mine and heads(ds)[two.annotation].label == "inner"
    assert ds.samples()[two.sample] == sample


def test_a_conflict_is_settled_only_where_the_version_says_otherwise(ws: Workspace, ds: Dataset) -> None:
    one, two, *_ = heads(ds).values()
    for label, who in (("inner", "b"), ("outer", "c")):  # the newest says what v1 says
        ds.append([put_entry(annotation_of(one).model_copy(update={"label": label}), who=who, tool="canvas", replaces=one.entry)])  # fmt: skip
    for label, who in (("outer", "b"), ("inner", "c")):
        ds.append([put_entry(annotation_of(two).model_copy(update={"label": label}), who=who, tool="canvas", replaces=two.entry)])  # fmt: skip
    assert len(ds.conflicts()) == 2
    restoring.restore(ds, Version.open(ws, "d"), who="ann", tool="cli")
    assert [c.annotation for c in ds.conflicts()] == [one.annotation]
    assert diff(now_side(ds), side(ws, "d@v1"))["same"]


def test_a_conflict_settled_has_one_head_which_one_word_replaces_and_undo_brings_both_back(ws: Workspace, ds: Dataset) -> None:  # fmt: skip
    one, *_ = heads(ds).values()
    late = Annotation(id="late", sample=one.sample, label="inner", value=Box(xyxy=(0, 0, 2, 2)))
    first = put_entry(late, who="b", tool="canvas")
    about = Annotation(id=status_id(one.sample), sample=one.sample, value=Status(status="done"))
    ds.append([
        *(put_entry(annotation_of(one).model_copy(update={"label": "inner", "value": Box(xyxy=(0, 0, x, 2))}), who=who, tool="canvas", replaces=one.entry)
          for x, who in ((2, "b"), (3, "c"))),
        first,
        *(put_entry(late.model_copy(update={"label": label}), who="c", tool="canvas", replaces=first.entry) for label in ("inner", "outer")),
        *(put_entry(about.model_copy(update={"value": Status(status=said)}), who="c", tool="canvas") for said in ("rescan", "unsure")),
    ])  # fmt: skip
    ds.put_samples([ds.samples()[one.sample].model_copy(update={"status": "unsure"})])
    before = {c.annotation: [(e.label, e.value) for e in c.heads] for c in ds.conflicts()}
    assert set(before) == {one.annotation, "late", about.id}
    restoring.restore(ds, Version.open(ws, "d"), who="ann", tool="cli")
    assert {id: len(ds.heads_by_annotation("main")[id]) for id in before} == dict.fromkeys(before, 1)

    steps.undo(ds, restoring.KIND, who="ann", tool="cli")
    assert {c.annotation: [(e.label, e.value) for e in c.heads] for c in ds.conflicts()} == before

    restoring.restore(ds, Version.open(ws, "d"), who="ann", tool="cli")
    shown = heads(ds)[one.annotation]
    gone = put_entry(annotation_of(shown), who="b", tool="canvas", replaces=shown.entry)
    ds.append([gone.model_copy(update={"op": "delete", "label": None, "value": None})])
    assert ds.conflicts() == [] and one.annotation not in {a.id for own in ds.annotations().values() for a in own}


def test_steps_before_a_restore_can_be_undone_after_it(ws: Workspace, ds: Dataset) -> None:
    one, *_ = heads(ds).values()
    for x, who in ((2, "b"), (3, "c")):
        ds.append([put_entry(annotation_of(one).model_copy(update={"value": Box(xyxy=(0, 0, x, 2))}), who=who, tool="canvas", replaces=one.entry)])  # fmt: skip
    relabel.apply(ds, relabel.Rename(old=one.label or "", new="renamed"), who="ann", tool="cli")
    restoring.restore(ds, Version.open(ws, "d"), who="ann", tool="cli")
    steps.undo(ds, restoring.KIND, who="ann", tool="cli")
    assert steps.undo(ds, relabel.KIND, who="ann", tool="cli")["left"] == 0
    (conflict,) = ds.conflicts()
    assert [(e.label, e.value.xyxy[2]) for e in conflict.heads if isinstance(e.value, Box)] == [(one.label, 2), (one.label, 3)]  # fmt: skip


def test_bad_versions(ws: Workspace, ds: Dataset, yolo: Callable[..., Path], tmp_path: Path, bring: Import) -> None:
    bring(yolo({"a": BOX, "b": BOX}, tmp_path / "other"), "e")
    snapshot(Dataset(ws, "e"))
    log = ds.log_path.read_bytes()
    with pytest.raises(DatasetError, match="is a version of 'e', not of 'd'"):
        restoring.restore(ds, Version.open(ws, "e"), who="ann", tool="cli")
    with pytest.raises(UsageError, match="nobody has said who"):
        restoring.restore(ds, Version.open(ws, "d"), who=" ", tool="cli")
    head = next(iter(heads(ds).values()))
    ds.append([put_entry(annotation_of(head).model_copy(update={"label": "inner"}), who="b", tool="canvas", replaces=head.entry)])  # fmt: skip
    with pytest.raises(DatasetError, match="worked on elsewhere") as e:
        restoring.restore(ds, Version.open(ws, "d"), who="ann", tool="cli", held=lambda ids: dict.fromkeys(ids, "worked on elsewhere"))  # fmt: skip
    assert "nothing was changed" in e.value.what_to_do
    assert len(ds.log_path.read_bytes().splitlines()) == len(log.splitlines()) + 1
    path = ds.versions_path / "v1" / "annotations.parquet"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DatasetError, match="not what it was"):
        Version.open(ws, "d@v1")


def test_a_damaged_line_of_steps_is_told(ws: Workspace, ds: Dataset) -> None:
    restoring.restore(ds, Version.open(ws, "d"), who="ann", tool="cli")
    with (ds.path / "steps.jsonl").open("a") as f:
        f.write('{"step": 1}\n')
    with pytest.raises(DatasetError, match="line 2 was damaged"):
        steps.history(ds)
