"""A dataset on disk: nothing that was written is lost, and what two people changed at once is shown as a conflict."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from trugrade_core.data import images, store
from trugrade_core.data.store import Dataset, annotation_id, put_entry, sample_id
from trugrade_core.errors import DatasetError, UsageError
from trugrade_core.schema import Annotation, Box, ClassDef, LogEntry, Sample, digest
from trugrade_core.workspace import Workspace

BOX = Box(xyxy=(1, 2, 30, 40))


@pytest.fixture
def ds(ws: Workspace) -> Dataset:
    return Dataset.create(ws, "cards", [ClassDef(name="outer_border")])


@pytest.fixture
def sample(picture: Callable[..., bytes]) -> Callable[[int], Sample]:
    def build(seed: int) -> Sample:
        ref = images.probe(picture(seed), name="x")
        id = sample_id({"main": ref})
        return Sample(id=id, images={"main": ref}, sources=(f"{seed}.png",), card=id)

    return build


def said(
    annotation: str = "a1", sample: str = "s1", box: Box = BOX, replaces: str | None = None, layer: str = "main"
) -> LogEntry:
    value = Annotation(id=annotation, sample=sample, label="outer_border", value=box, layer=layer)
    return put_entry(value, who="ann", tool="canvas", replaces=replaces)


def deleted(entry: LogEntry) -> LogEntry:
    return entry.model_copy(
        update={"entry": str(store.ULID()), "op": "delete", "value": None, "label": None, "replaces": entry.entry}
    )


def test_sample_id_is_the_digest_of_roles_and_images(sample: Callable[[int], Sample]) -> None:
    s = sample(0)
    assert s.id == digest({"main": s.main.sha256})[:16]
    assert sample_id({"front": s.main}) != s.id


def test_annotation_ids_follow_what_is_said() -> None:
    assert annotation_id("s", "a", BOX) == annotation_id("s", "a", Box(xyxy=(1.0, 2.0, 30.0, 40.0)))
    others = {annotation_id("s", "b", BOX), annotation_id("t", "a", BOX), annotation_id("s", "a", BOX, "ann")}
    assert annotation_id("s", "a", BOX) not in others and len(others) == 3


def test_create_open_list(ws: Workspace, ds: Dataset) -> None:
    assert store.list_datasets(ws) == ["cards"]
    assert Dataset.open(ws, "cards").classes == (ClassDef(name="outer_border"),)
    with pytest.raises(DatasetError, match="there already"):
        Dataset.create(ws, "cards")
    with pytest.raises(DatasetError) as e:
        Dataset.open(ws, "card")
    assert "did you mean 'cards'" in e.value.what_to_do
    with pytest.raises(UsageError):
        Dataset.create(ws, "../outside")


def test_classes_are_appended_never_moved(ds: Dataset) -> None:
    ds.add_classes([ClassDef(name="inner", shape="polygon"), ClassDef(name="outer_border", shape="mask")])
    assert [(c.name, c.shape) for c in ds.classes] == [("outer_border", "box"), ("inner", "polygon")]


def test_the_last_line_of_a_sample_counts(ds: Dataset, sample: Callable[[int], Sample]) -> None:
    a, b = sample(0), sample(1)
    ds.put_samples([a, b])
    ds.put_samples([a.model_copy(update={"status": "done"})])
    assert list(ds.samples()) == [a.id, b.id]
    assert ds.samples()[a.id].status == "done" and ds.samples()[b.id].status == "unlabelled"
    assert ds.index().read(b.id) == b


def test_a_line_torn_by_a_kill_stays_alone(ds: Dataset, sample: Callable[[int], Sample]) -> None:
    ds.put_samples([sample(0)])
    ds.append([said()])
    for path in (ds.samples_path, ds.log_path):
        with path.open("ab") as f:
            f.write(b'{"id": "half')
    assert len(ds.samples()) == 1 and len(list(ds.log())) == 1
    ds.put_samples([sample(1)])
    ds.append([said("a2")])
    assert len(ds.samples()) == 2 and len(list(ds.log())) == 2
    assert len(ds.annotations()["s1"]) == 2


@pytest.mark.parametrize(
    ("old", "new"),
    [(b'"xyxy"', b'"xyxZ"'), (b'"value"', b'"valuE"'), (b'"annotation"', b'"annotatioN"'), (b'"put"', b'"puT"'),
     (b'"sample":"s1"', b'"sample":7'), (b'"entry":"', b'"entrY":"')],
)  # fmt: skip
def test_a_damaged_line_of_the_log_is_told_by_all_that_read_it(ds: Dataset, old: bytes, new: bytes) -> None:
    ds.append([said("a0"), said("a1"), said("a2")])
    lines = ds.log_path.read_bytes().splitlines(keepends=True)
    ds.log_path.write_bytes(lines[0] + lines[1].replace(old, new) + lines[2])
    for use in (lambda: list(ds.log()), ds.annotations):
        with pytest.raises(DatasetError, match="line 2 was damaged") as e:
            use()
        assert e.value.where == str(ds.log_path) and "copy" in e.value.what_to_do


@pytest.mark.parametrize("new", [b'"sourceS"', b'"iD"', b"5"])
def test_a_damaged_line_of_a_sample_is_told(ds: Dataset, sample: Callable[[int], Sample], new: bytes) -> None:
    ds.put_samples([sample(0), sample(1)])
    first, second = ds.samples_path.read_bytes().splitlines(keepends=True)
    damaged = {b'"sourceS"': second.replace(b'"sources"', new), b'"iD"': second.replace(b'"id"', new), b"5": b"5\n"}
    ds.samples_path.write_bytes(first + damaged[new])
    with pytest.raises(DatasetError, match="line 2 was damaged") as e:
        ds.samples()
    assert e.value.where == str(ds.samples_path) and e.value.code == "dataset.damaged_line"


@pytest.mark.parametrize("text", ["[]", '{"name": "cards"}', '{"classes": [{"nam": "x"}]}'])
def test_damaged_facts_are_told(ds: Dataset, text: str) -> None:
    (ds.path / "dataset.json").write_text(text)
    with pytest.raises(DatasetError, match="not what the lab writes"):
        _ = ds.classes


def test_edit_and_delete(ds: Dataset) -> None:
    first = said()
    moved = said(box=Box(xyxy=(2, 2, 30, 40)), replaces=first.entry)
    ds.append([first, moved])
    assert ds.annotations()["s1"][0].value == Box(xyxy=(2, 2, 30, 40))
    ds.append([deleted(moved)])
    assert ds.annotations() == {} and ds.conflicts() == []
    assert len(list(ds.log())) == 3


def test_two_people_at_once_are_a_conflict_until_one_settles_it(ds: Dataset) -> None:
    first = said()
    one, two = (said(box=Box(xyxy=(x, 2, 30, 40)), replaces=first.entry) for x in (3, 4))
    ds.append([first, one, two])
    (conflict,) = ds.conflicts()
    assert (conflict.annotation, [h.entry for h in conflict.heads]) == ("a1", [one.entry, two.entry])
    assert ds.annotations()["s1"][0].value == two.value
    ds.append([said(box=Box(xyxy=(5, 2, 30, 40)), replaces=one.entry), deleted(two)])
    assert len(ds.conflicts()) == 1, "one head is still a delete"
    assert ds.annotations()["s1"][0].value == Box(xyxy=(5, 2, 30, 40)), "a put is not lost to a delete"


def test_the_same_said_twice_is_no_conflict(ds: Dataset) -> None:
    ds.append([said(), said()])
    assert ds.conflicts() == [] and len(ds.annotations()["s1"]) == 1


def test_an_entry_may_be_replaced_before_it_arrives(ds: Dataset) -> None:
    """Logs merged from two machines come in any order."""
    first = said()
    moved = said(box=Box(xyxy=(2, 2, 30, 40)), replaces=first.entry)
    ds.append([moved, first])
    assert ds.annotations()["s1"][0].value == moved.value and ds.conflicts() == []


def test_other_layers_do_not_count(ds: Dataset) -> None:
    ds.append([said("vote", layer="grader 2")])
    assert ds.annotations() == {}


def append_many(root: Path, who: int) -> None:
    ds = Dataset(Workspace(root), "cards")
    for n in range(20):
        ds.append([said(f"{who}-{n}-{i}", sample=f"s{who}") for i in range(5)])


def test_processes_append_at_once(ws: Workspace, ds: Dataset) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=append_many, args=(ws.root, who)) for who in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert {sample: len(found) for sample, found in ds.annotations().items()} == {"s0": 100, "s1": 100}


def test_image_path_of_a_role_it_has_not(ds: Dataset, sample: Callable[[int], Sample]) -> None:
    assert ds.image_path(sample(0)).name == f"{sample(0).main.sha256}.png"
    with pytest.raises(DatasetError, match="no image 'back'"):
        ds.image_path(sample(0), "back")


def test_a_removed_dataset_is_not_made_again_by_who_still_writes(ws: Workspace, ds: Dataset, sample) -> None:
    ds.put_samples([sample(1)])
    with ThreadPoolExecutor(1) as pool, pytest.raises(DatasetError, match="was removed") as e:
        with ds.lock():
            writing = pool.submit(ds.put_samples, [sample(2)])
            time.sleep(0.2)  # it waits for the lock now
            ws.to_trash(ds.path)
        writing.result()
    assert e.value.code == "dataset.removed"
    for use in (lambda: ds.append([said()]), lambda: ds.add_classes([]), ds.facts):
        with pytest.raises(DatasetError, match="was removed"):
            use()
    assert not ds.path.exists()
    Dataset.create(ws, "cards")


def test_a_dataset_that_is_there_already_says_what_to_do(ws: Workspace) -> None:
    Dataset.create(ws, "my cards")
    with pytest.raises(DatasetError, match="is there already") as e:
        Dataset.create(ws, "my cards")
    assert "--dataset 'my cards'" in e.value.what_to_do
