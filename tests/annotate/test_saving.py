"""Saving: nothing lost, nothing twice, nobody overwritten unseen, and what cannot be is refused in words."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from tests.annotate.conftest import Saver, box, polygon
from trugrade_core.annotate import locks
from trugrade_core.annotate.indexes import log_of
from trugrade_core.annotate.saving import Decision, Op, resolve, save, state_of
from trugrade_core.data import rle
from trugrade_core.data.store import Dataset, status_id
from trugrade_core.errors import DatasetError, UsageError, WorkspaceError
from trugrade_core.schema import Box, Mask, Score, Status, Tags
from trugrade_core.workspace import write_json

SCORES = tuple(n / 2 for n in range(2, 21))


def lines(ds: Dataset) -> list[bytes]:
    return ds.log_path.read_bytes().splitlines() if ds.log_path.exists() else []


# --- what is saved --------------------------------------------------------------------------------------------------


def test_a_saved_shape_is_current_and_names_who_when_and_with_what(ds: Dataset, ids: list[str], do: Saver) -> None:
    saved = do(box(10, 10, 60, 50), who="ana")
    (shown,) = state_of(ds, ids[0]).shown
    assert (shown.entry, shown.annotation) == (saved.entries[0], saved.annotations[0])
    assert (shown.who, shown.tool, shown.replaces) == ("ana", "annotator", None)
    (current,) = ds.annotations()[ids[0]]
    assert current.value == Box(xyxy=(10, 10, 60, 50))
    assert state_of(ds, ids[1]).shown == ()


def test_a_change_replaces_the_entry_it_names_and_a_deletion_takes_the_shape_away(
    ds: Dataset, ids: list[str], do: Saver
) -> None:
    first = do(box(10, 10, 60, 50))
    (id,) = first.annotations
    second = do(box(10, 10, 61, 50, annotation=id, replaces=first.entries[0]))
    assert state_of(ds, ids[0]).shown[0].value == Box(xyxy=(10, 10, 61, 50))
    third = do(Op(op="delete", annotation=id, replaces=second.entries[0]))
    assert state_of(ds, ids[0]).shown == () and ids[0] not in ds.annotations()
    do(box(10, 10, 61, 50, annotation=id, replaces=third.entries[0]))  # undone
    assert len(state_of(ds, ids[0]).shown) == 1
    assert not ds.conflicts() and len(lines(ds)) == 4


def test_a_commit_sent_again_adds_nothing_and_is_answered_the_same(ds: Dataset, do: Saver) -> None:
    ops = (box(10, 10, 60, 50), box(20, 10, 60, 50))
    first = do(*ops, commit="the-commit-1", status=Status(status="done"))
    again = do(*ops, commit="the-commit-1", status=Status(status="done"))
    assert again.again and not first.again
    assert again.entries == first.entries[:2] and again.annotations == first.annotations[:2]
    assert len(lines(ds)) == 3


def test_a_commit_of_which_a_kill_left_the_half_is_completed(ds: Dataset, ids: list[str], do: Saver) -> None:
    ops = (box(10, 10, 60, 50), box(20, 10, 60, 50))
    first = do(*ops, commit="the-commit-1")
    whole = ds.log_path.read_bytes()
    ds.log_path.write_bytes(whole[: len(whole) - 40])  # the second line is torn
    again = do(*ops, commit="the-commit-1")
    assert again.entries[0] == first.entries[0] and not again.again
    assert len(state_of(ds, ids[0]).shown) == 2


def test_a_status_is_in_the_log_and_on_the_sample_and_said_twice_is_said_once(
    ds: Dataset, ids: list[str], do: Saver
) -> None:
    do(status=Status(status="unsure", comment="glare"))
    do(status=Status(status="unsure", comment="glare"), status_replaces=state_of(ds, ids[0]).status_entry)
    held = state_of(ds, ids[0])
    assert (held.status.status, held.status.comment) == ("unsure", "glare")
    assert ds.samples()[ids[0]].status == "unsure" and len(lines(ds)) == 1
    do(status=Status(status="done"), layer="ben")  # a blind vote says nothing of the sample
    assert ds.samples()[ids[0]].status == "unsure"


def test_an_older_status_that_arrives_late_is_a_conflict_and_its_answer_names_its_entry(
    ds: Dataset, ids: list[str], do: Saver
) -> None:
    first = do(status=Status(status="unsure"))
    ben = do(status=Status(status="rescan", comment="glare"), who="ben", status_replaces=first.status_entry)
    late = do(status=Status(status="done"), who="ana", status_replaces=first.status_entry, commit="the-late-commit")
    assert len({first.status_entry, ben.status_entry, late.status_entry}) == 3 and len(late.conflicts) == 1
    again = do(status=Status(status="done"), who="ana", status_replaces=first.status_entry, commit="the-late-commit")
    assert again.again and again.status_entry == late.status_entry
    # Said on the other side of a conflict, what is shown already is news: it settles it.
    do(status=Status(status="done"), who="ben", status_replaces=ben.status_entry)
    assert not ds.conflicts()
    same = do(status=Status(status="done"), who="zoe", status_replaces=ben.status_entry)
    assert same.again and same.status_entry == state_of(ds, ids[0]).status_entry


def test_the_sample_follows_its_status_when_a_crash_came_between_the_two_files(
    ds: Dataset, ids: list[str], do: Saver
) -> None:
    before = ds.samples_path.read_bytes()
    do(status=Status(status="done"), commit="the-commit-1")
    ds.samples_path.write_bytes(before)
    assert ds.samples()[ids[0]].status == "unlabelled"
    do(status=Status(status="done"), commit="the-commit-1")
    assert ds.samples()[ids[0]].status == "done"


def test_scores_and_tags_are_those_of_the_task(ds: Dataset, ids: list[str], do: Saver) -> None:
    do(Op(op="put", value=Score(score=8.5)), Op(op="put", value=Tags(tags=("worn", "worn"))), scores=SCORES)
    assert [e.value for e in state_of(ds, ids[0]).shown] == [Score(score=8.5), Tags(tags=("worn",))]
    with pytest.raises(DatasetError, match=r"8\.3 is not a score") as e:
        do(Op(op="put", value=Score(score=8.3)), scores=SCORES)
    assert "half steps" in e.value.what_to_do
    with pytest.raises(DatasetError, match="tag 'wron' is not known") as e:
        do(Op(op="put", value=Tags(tags=("wron",))))
    assert "worn" in e.value.what_to_do


@pytest.mark.parametrize(
    "name", ['o\'brien "x"', "../../etc/passwd", "a/b\\c", "Zoë 🙂 日本語", "ש לום", "x" * 300, "%2F..", "NULL;--"]
)
def test_a_name_of_any_characters_is_kept_and_is_never_a_path(
    ds: Dataset, ids: list[str], do: Saver, name: str
) -> None:
    before = {p for p in ds.ws.root.rglob("*")}
    do(box(10, 10, 60, 50), who=name)
    assert state_of(ds, ids[0]).shown[0].who == name
    new = {p.relative_to(ds.path).name for p in ds.ws.root.rglob("*") if p not in before}
    assert new <= {"annotations.jsonl", ".lock"}


@pytest.mark.parametrize("name", ["", "   ", "a\nb", "\udc80", "x" * 1001])
def test_a_name_that_cannot_be_kept_is_refused(ds: Dataset, do: Saver, name: str) -> None:
    with pytest.raises(UsageError):
        do(box(10, 10, 60, 50), who=name)
    assert not lines(ds)


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("op", "words"),
    [
        (box(10, 10, 60, 50, label="outre_border"), "class 'outre_border' is not one"),
        (Op(op="put", value=Box(xyxy=(1, 1, 5, 5))), "the shape has no class"),
        (box(300, 10, 400, 50), "outside the image"),
        (polygon((-90, -90), (-50, -90), (-50, -50)), "outside the image"),
        (polygon((10, 10), (50, 50), (50, 10), (10, 50)), "crosses itself"),
        (polygon((10, 10), (50, 10), (90, 10)), "has no area"),
        (polygon((10, 10), (10, 10), (10, 10)), "has no area"),
        (Op(op="put", label="stain", value=rle.encode(np.ones((5, 5), bool))), "the mask is of an image of 5 x 5"),
        (Op(op="put", label="stain", value=rle.encode(np.zeros((120, 200), bool))), "has no pixel"),
        (Op(op="put", label="stain", value=Mask(counts="0", size_hw=(120, 200))), "runs cover"),
        (Op(op="delete", annotation="0" * 16), "to delete"),
        (box(10, 10, 60, 50, annotation="a" * 16, replaces="01ARZ3NDEKTSV4RRFFQ69G5FAV"), "not in the log of this annotation"),
        (box(10, 10, 60, 50, attributes={"severity": "huge"}), "severity 'huge'"),
        (Op(op="put", label="outer_border"), "a put says nothing"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_words_and_nothing_of_the_commit_is_written(
    ds: Dataset, do: Saver, op: Op, words: str
) -> None:
    with pytest.raises(DatasetError, match=words) as e:
        do(box(10, 10, 60, 50), op)
    assert e.value.what_to_do and e.value.where
    assert not lines(ds)


def test_a_stroke_over_the_rim_is_clipped_and_said(ds: Dataset, ids: list[str], do: Saver) -> None:
    saved = do(box(-20, -20, 60, 50), polygon((150, 20), (250, 20), (250, 80), (150, 80)))
    assert saved.notes == ("the box was clipped to the image", "the polygon was clipped to the image")
    first, second = (e.value for e in state_of(ds, ids[0]).shown)
    assert first == Box(xyxy=(-0.5, -0.5, 60, 50))
    assert max(x for x, _ in second.points) == 199.5  # type: ignore[union-attr]
    with pytest.raises(DatasetError, match="in several places"):
        do(polygon((190, 10), (210, 10), (210, 90), (190, 90), (190, 70), (205, 70), (205, 30), (190, 30)))


def test_an_annotation_of_another_sample_is_not_touched(ds: Dataset, ids: list[str], do: Saver) -> None:
    made = do(box(10, 10, 60, 50))
    with pytest.raises(DatasetError, match="is of another sample"):
        do(box(10, 10, 20, 20, annotation=made.annotations[0]), sample=ids[1])


def test_a_sample_that_is_not_there_names_the_nearest(ds: Dataset, ids: list[str], do: Saver) -> None:
    with pytest.raises(DatasetError, match="has no sample") as e:
        do(box(10, 10, 60, 50), sample=ids[0][:-1] + "z")
    assert ids[0] in e.value.what_to_do


def test_what_label_studio_has_is_read_only(ds: Dataset, ids: list[str], do: Saver) -> None:
    made = do(box(10, 10, 60, 50), sample=ids[1])
    rows = {ids[0]: {"task": 1, "id": 7, "url": "http://x", "state": "pushed"}, ids[1]: {"id": 8, "state": "pulled"}}
    write_json(ds.path / "label_studio.json", {"samples": rows})
    with pytest.raises(DatasetError, match=r"Label Studio \(task 7\)"):
        do(box(10, 10, 60, 50))
    do(box(10, 10, 61, 50, annotation=made.annotations[0], replaces=made.entries[0]), sample=ids[1])
    (ds.path / "label_studio.json").write_text("[]")
    with pytest.raises(WorkspaceError, match="not what the lab writes"):
        do(box(10, 10, 60, 50))


def test_what_is_at_label_studio_is_read_once_and_again_when_it_has_changed(
    ds: Dataset, ids: list[str], do: Saver, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    plain = locks.read_json
    monkeypatch.setattr(locks, "read_json", lambda path: read.append(path) or plain(path))
    for state in ("pulled", "pushed"):
        write_json(ds.path / "label_studio.json", {"samples": {id: {"id": 7, "state": state} for id in ids}})
        assert [bool(locks.pushed(ds, id)) for id in ids] == [state == "pushed"] * 3
    assert len(read) == 2
    (ds.path / "label_studio.json").unlink()
    assert not locks.pushed(ds, ids[0])


def test_a_conflict_that_label_studio_holds_is_settled_there(ds: Dataset, ids: list[str], do: Saver) -> None:
    made = do(box(10, 10, 60, 50))
    for who in ("ana", "ben"):
        do(
            box(10, 10, 61 + len(who), 50 + ord(who[0]) % 7, annotation=made.annotations[0], replaces=made.entries[0]),
            who=who,
        )
    heads = state_of(ds, ids[0]).conflicts[0].heads
    write_json(ds.path / "label_studio.json", {"samples": {ids[0]: {"id": 7, "state": "pushed"}}})
    with pytest.raises(DatasetError, match="being annotated in Label Studio") as e:
        resolve(ds, made.annotations[0], heads[0].entry, who="ana", reason="sharper")
    assert "trugrade label pull" in e.value.what_to_do


def test_a_damaged_log_refuses_and_what_was_drawn_is_saved_once_it_is_mended(
    ds: Dataset, ids: list[str], do: Saver
) -> None:
    do(box(10, 10, 60, 50))
    good = ds.log_path.read_bytes()
    ds.log_path.write_bytes(good + b'{"entry": "x", "sample": 7}\n')
    with pytest.raises(DatasetError, match="line 2 was damaged"):
        do(box(20, 20, 60, 50), commit="the-commit-1")
    assert ds.log_path.read_bytes().count(b"\n") == 2  # nothing was added
    ds.log_path.write_bytes(good)
    do(box(20, 20, 60, 50), commit="the-commit-1")
    assert len(state_of(ds, ids[0]).shown) == 2


def test_a_torn_line_costs_itself_alone(ds: Dataset, ids: list[str], do: Saver) -> None:
    do(box(10, 10, 60, 50))
    with ds.log_path.open("ab") as f:
        f.write(b'{"entry": "01ARZ3')
    do(box(20, 20, 60, 50))
    assert len(state_of(ds, ids[0]).shown) == 2 == len(ds.annotations()[ids[0]])


def test_a_log_restored_from_a_copy_is_read_anew(ds: Dataset, ids: list[str], do: Saver, tmp_path: Path) -> None:
    do(box(10, 10, 60, 50))
    copy = ds.log_path.read_bytes()
    do(box(20, 20, 60, 50))
    do(box(30, 20, 60, 50))
    ds.log_path.write_bytes(copy)
    assert len(state_of(ds, ids[0]).shown) == 1
    do(box(40, 20, 60, 50))
    assert len(state_of(ds, ids[0]).shown) == 2


# --- two people -----------------------------------------------------------------------------------------------------


def test_two_that_replace_the_same_entry_are_a_conflict_that_both_are_told_of(
    ds: Dataset, ids: list[str], do: Saver
) -> None:
    made = do(box(10, 10, 60, 50))
    change = {"annotation": made.annotations[0], "replaces": made.entries[0]}
    do(box(10, 10, 61, 50, **change), who="ana")
    second = do(box(10, 10, 62, 50, **change), who="ben")
    (told,) = second.conflicts
    assert [h.who for h in told.heads] == ["ana", "ben"] == [h.who for h in state_of(ds, ids[0]).conflicts[0].heads]
    assert len(ds.conflicts()) == 1
    # What says the same is no conflict.
    third = do(box(10, 10, 70, 50))
    same = {"annotation": third.annotations[0], "replaces": third.entries[0]}
    do(box(10, 10, 71, 50, **same), who="ana")
    assert not do(box(10, 10, 71, 50, **same), who="ben").conflicts


def test_a_deletion_against_a_change_and_two_statuses_are_conflicts_too(ds: Dataset, ids: list[str], do: Saver) -> None:
    made = do(box(10, 10, 60, 50))
    do(box(10, 10, 61, 50, annotation=made.annotations[0], replaces=made.entries[0]), who="ana")
    assert do(Op(op="delete", annotation=made.annotations[0], replaces=made.entries[0]), who="ben").conflicts
    assert len(state_of(ds, ids[0]).shown) == 1
    do(status=Status(status="done"), who="ana")
    assert do(status=Status(status="rescan"), who="ben").conflicts[0].annotation == status_id(ids[0])
    assert len(ds.conflicts()) == 2


@pytest.mark.parametrize("keep", [0, 1, 2])
def test_settling_leaves_one_entry_that_all_readers_agree_on(ds: Dataset, ids: list[str], do: Saver, keep: int) -> None:
    made = do(box(10, 10, 60, 50))
    id = made.annotations[0]
    change = {"annotation": id, "replaces": made.entries[0]}
    do(box(10, 10, 61, 50, **change), who="ana")
    do(box(10, 10, 62, 50, **change), who="ben")
    do(Op(op="delete", **change), who="cem")
    heads = state_of(ds, ids[0]).conflicts[0].heads
    assert len(heads) == 3
    entry = resolve(ds, id, heads[keep].entry, who="dora", reason="looked at the scan again")
    assert not ds.conflicts() and not state_of(ds, ids[0]).conflicts
    now = ds.annotations().get(ids[0], [])
    assert [a.value for a in now] == ([] if keep == 2 else [heads[keep].value])
    assert {(e.who, e.reason) for e in ds.log() if e.entry == entry.entry} == {("dora", "looked at the scan again")}
    # The next change replaces that one entry, and nothing comes back.
    do(box(10, 10, 63, 50, annotation=id, replaces=entry.entry))
    assert not ds.conflicts() and len(ds.annotations()[ids[0]]) == 1
    with pytest.raises(DatasetError, match="is settled already"):
        resolve(ds, id, entry.entry, who="dora", reason="again")


def test_settling_a_status_brings_the_sample_along(ds: Dataset, ids: list[str], do: Saver) -> None:
    do(status=Status(status="done"), who="ana")
    do(status=Status(status="rescan"), who="ben")
    assert ds.samples()[ids[0]].status == "rescan"
    resolve(ds, status_id(ids[0]), state_of(ds, ids[0]).conflicts[0].heads[0].entry, who="ana", reason="sharp enough")
    assert ds.samples()[ids[0]].status == "done" == state_of(ds, ids[0]).status.status


def test_one_commit_that_says_the_same_to_every_head_settles_them(ds: Dataset, ids: list[str], do: Saver) -> None:
    made = do(box(10, 10, 60, 50))
    id = made.annotations[0]
    one = do(box(10, 10, 61, 50, annotation=id, replaces=made.entries[0]))
    two = do(box(10, 10, 62, 50, annotation=id, replaces=made.entries[0]))
    settled = do(
        *(box(10, 10, 65, 50, annotation=id, replaces=e) for e in (one.entries[0], two.entries[0])), commit="settles-01"
    )
    assert settled.entries[0] == settled.entries[1] and not settled.conflicts
    assert len(state_of(ds, ids[0]).heads[id]) == 1 and len(ds.annotations()[ids[0]]) == 1
    assert do(
        *(box(10, 10, 65, 50, annotation=id, replaces=e) for e in (one.entries[0], two.entries[0])), commit="settles-01"
    ).again


def test_what_became_of_a_suggestion_is_known_and_is_no_label(ds: Dataset, ids: list[str], do: Saver) -> None:
    do(
        decisions=[
            Decision(suggestion="a" * 16, word="rejected", by="run x"),
            Decision(suggestion="b" * 16, word="accepted", by="run x"),
        ]
    )
    assert state_of(ds, ids[0]).decided == {"a" * 16, "b" * 16} and not ds.annotations() and not ds.conflicts()
    do(decisions=[Decision(suggestion="a" * 16, word="restored", by="run x")])
    assert state_of(ds, ids[0]).decided == {"b" * 16}


# --- many at once, and killed -----------------------------------------------------------------------------------------


def _strokes(ds: Dataset, sample: str, who: str, count: int) -> None:
    for n in range(count):
        save(ds, sample, [box(n, n, n + 30, n + 30)], who=who, tool="annotator", commit=f"{who}-{n:06d}")


@pytest.mark.slow
def test_processes_that_save_at_once_lose_nothing(ds: Dataset, ids: list[str]) -> None:
    fork = multiprocessing.get_context("spawn")
    workers = [fork.Process(target=_strokes, args=(ds, ids[n % 2], f"person-{n}", 8)) for n in range(3)]
    for w in workers:
        w.start()
    for w in workers:
        w.join(60)
    assert [w.exitcode for w in workers] == [0, 0, 0]
    assert len({e.entry for e in ds.log()}) == 24
    assert sum(len(state_of(ds, id).shown) for id in ids) == 24


def _until_killed(ds: Dataset, sample: str, done: str) -> None:
    for n in range(10_000):
        save(ds, sample, [box(1, 1, 30, 30 + n % 50)], who="ana", tool="annotator", commit=f"until-{n:06d}")
        with Path(done).open("a") as f:
            f.write(f"until-{n:06d}\n")


@pytest.mark.slow
def test_a_killed_process_loses_nothing_it_was_told_was_saved(ds: Dataset, ids: list[str], tmp_path: Path) -> None:
    rng = random.Random(0)
    for round in range(3):
        done = tmp_path / f"done-{round}"
        child = multiprocessing.get_context("spawn").Process(target=_until_killed, args=(ds, ids[round], str(done)))
        child.start()
        end = time.monotonic() + 60
        while not done.exists() and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep(rng.random() * 0.2)
        os.kill(child.pid or 0, signal.SIGKILL)
        child.join()
        told = len(done.read_text().splitlines())
        assert told and len(state_of(ds, ids[round]).shown) - told in (0, 1)
        assert len(ds.annotations()[ids[round]]) >= told


def test_the_index_reads_only_what_is_new(
    ds: Dataset, ids: list[str], do: Saver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(20):
        do(box(n, n, 60 + n, 50), sample=ids[n % 3])
    index = log_of(ds)
    index.refresh()
    taken: list[int] = []
    monkeypatch.setattr(type(index), "take", lambda self, offset, record: taken.append(offset))
    do(box(1, 1, 60, 50))
    state_of(ds, ids[0])
    assert len(taken) == 1
