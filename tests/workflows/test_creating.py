"""A dataset from the question: its task, classes, guidelines; and a watched folder."""

from __future__ import annotations

import io
import json
from datetime import datetime

import numpy as np
import pytest
from PIL import Image

from trugrade_core.cli import run_line
from trugrade_core.data.importing import ImportOptions
from trugrade_core.data.source import Source
from trugrade_core.data.store import Dataset
from trugrade_core.errors import DatasetError, ImageError, UsageError
from trugrade_core.tasks import TASKS
from trugrade_core.workflows import creating, watching


def png(seed: int, size: int = 40) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (size, size, 3), np.uint8)).save(out, "PNG")
    return out.getvalue()


@pytest.mark.parametrize("task", TASKS)
def test_every_task_makes_a_dataset_with_its_classes_and_words(ws, task) -> None:
    made = creating.create_dataset(ws, "new", task, who="ada")
    row = TASKS[task]
    assert made["task"] == task and [c["name"] for c in made["classes"]] == list(row.classes)
    assert all(c["shape"] in row.shapes for c in made["classes"])
    assert made["guidelines"] == row.guidelines.strip() and len(made["guidelines"]) > 100
    assert creating.task_of(Dataset.open(ws, "new")) is row


def test_a_dataset_is_not_started_twice_nor_for_what_is_not_known(ws) -> None:
    creating.create_dataset(ws, "cards", "border_detection.dual_class", architecture="retinanet")
    assert creating.describe(ws, "cards")["architecture"] == "retinanet"
    with pytest.raises(DatasetError, match="there already"):
        creating.create_dataset(ws, "cards", "border_detection.dual_class")
    with pytest.raises(UsageError, match="no task 'border_detection") as e:
        creating.create_dataset(ws, "other", "border_detection.duel_class")
    assert "border_detection.dual_class" in e.value.what_to_do
    with pytest.raises(UsageError, match="no architecture 'resnet'"):
        creating.create_dataset(ws, "other", "border_detection.dual_class", architecture="resnet")
    with pytest.raises(UsageError, match="cannot be the name"):
        creating.create_dataset(ws, "a/b", "border_detection.dual_class")
    assert not (ws.datasets / "other").exists()


def test_a_dataset_without_words_is_given_those_of_the_task_that_is_set_and_keeps_its_own(ws) -> None:
    Dataset.create(ws, "cards")
    creating.set_task(ws, "cards", "border_detection.dual_class", who="ada")
    first = TASKS["border_detection.dual_class"].guidelines.strip()
    creating.set_task(ws, "cards", "edge_analysis.wear_detection", who="ben")
    assert creating.describe(ws, "cards")["task"] == "edge_analysis.wear_detection"
    assert [(h["text"], h["who"]) for h in creating.guideline_history(ws, "cards")] == [(first, "ada")]
    bare = creating.create_dataset(ws, "bare", "border_detection.dual_class", guidelines="")
    assert bare["guidelines"] == "" and creating.guideline_history(ws, "bare") == []


def test_earlier_guidelines_are_kept(ws) -> None:
    creating.create_dataset(ws, "cards", "edge_analysis.wear_detection", guidelines="first", who="ada")
    creating.set_guidelines(ws, "cards", "second\n", who="ben")
    creating.set_guidelines(ws, "cards", "second", who="cyd")  # says nothing new
    assert creating.describe(ws, "cards")["guidelines"] == "second"
    assert [(h["text"], h["who"]) for h in creating.guideline_history(ws, "cards")] == [
        ("first", "ada"),
        ("second", "ben"),
    ]
    with pytest.raises(UsageError, match="100,001 characters"):
        creating.set_guidelines(ws, "cards", "x" * 100_001)


def test_a_torn_line_of_the_guidelines_is_left_alone_and_a_damaged_one_named(ws) -> None:
    creating.create_dataset(ws, "cards", "edge_analysis.wear_detection", guidelines="first", who="ada")
    path = ws.datasets / "cards" / "guidelines.jsonl"
    with path.open("a") as f:
        f.write('{"text": "cut o')
    creating.set_guidelines(ws, "cards", "second", who="ben")
    with path.open("a") as f:
        f.write('{"text": "cut off at the en')
    found = creating.guideline_history(ws, "cards")
    assert [(h["text"], h["who"]) for h in found] == [("first", "ada"), ("second", "ben")]
    assert all(datetime.fromisoformat(h["when"]).tzinfo for h in found)
    with path.open("a") as f:
        f.write('\n{"text": "by hand"}\n')
    with pytest.raises(DatasetError, match="line 5 was damaged or changed by hand"):
        creating.guideline_history(ws, "cards")


def test_an_example_picture_lies_in_the_store(ws) -> None:
    markdown = creating.add_picture(ws, png(0), name="a [bad] (name).png")
    sha = markdown.rpartition("/")[2].rstrip(")")
    assert markdown == f"![a bad name](/lab/image/{sha})" and ws.find_image(sha).read_bytes() == png(0)
    with pytest.raises(ImageError):
        creating.add_picture(ws, png(0)[:200], name="cut.png")


def test_the_command_line_starts_a_dataset(ws, tmp_path, capsys) -> None:
    words = tmp_path / "words.md"
    words.write_text("Look twice.")
    line = ["-w", str(ws.root), "--json", "data"]
    assert run_line([*line, "new", "edges", "--task", "edge_analysis.quality_rating", "--guidelines", str(words)]) == 0
    assert json.loads(capsys.readouterr().out)["guidelines"] == "Look twice."
    assert run_line([*line, "guidelines", "edges", "--set", str(tmp_path / "none.md")]) == 2
    assert "cannot be read" in json.loads(capsys.readouterr().out)["error"]["message"]
    assert run_line([*line, "watch", str(tmp_path / "nowhere"), "--dataset", "edges"]) == 1
    assert "no such folder" in json.loads(capsys.readouterr().out)["error"]["message"]


# --- a watched folder ---------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "scanner"
    path.mkdir()
    return path


def watch(ws, folder) -> watching.Watch:
    ds = Dataset(ws, "cards")
    if not ds.path.exists():
        Dataset.create(ws, "cards")
    return watching.Watch(ds, folder, ImportOptions())


def looks(watched: watching.Watch, times: int = 2) -> str:
    said: list[str] = []
    for _ in range(times):
        watched.look(say=said.append)
    return said[-1]


def test_a_file_that_is_still_being_written_waits(ws, folder) -> None:
    watched = watch(ws, folder)
    data = png(1)
    (folder / "a.png").write_bytes(data[:300])
    assert "1 still being written" in looks(watched, 1)
    (folder / "a.png").write_bytes(data)  # it has grown since the last look
    assert "1 still being written" in looks(watched, 1) and not watched.ds.samples()
    assert "1 taken" in looks(watched, 1)
    assert [s.sources for s in watched.ds.iter_samples()] == [("a.png",)]


def test_a_file_that_came_to_rest_torn_is_told_and_taken_when_it_is_mended(ws, folder) -> None:
    watched = watch(ws, folder)
    (folder / "a.png").write_bytes(png(1)[:300])
    assert "1 left out" in looks(watched) and "a.png" in looks(watched)
    (folder / "a.png").write_bytes(png(1))
    assert "left out" not in looks(watched) and len(watched.ds.samples()) == 1


def test_a_watch_goes_on_where_the_last_one_ended(ws, folder, monkeypatch) -> None:
    for n in range(3):
        (folder / f"{n}.png").write_bytes(png(n))
    looks(watch(ws, folder))
    (folder / "3.png").write_bytes(png(3))
    read = []
    real = watching.import_dataset
    monkeypatch.setattr(watching, "import_dataset", lambda *a, **k: read.append(a[3].only) or real(*a, **k))
    again = watch(ws, folder)
    looks(again, 3)
    assert read == [("3.png",)] and again.taken == 1 and len(again.ds.samples()) == 4


def test_labels_that_come_after_their_picture_are_taken(ws, folder) -> None:
    watched = watch(ws, folder)
    (folder / "a.png").write_bytes(png(1))
    looks(watched)
    (folder / "a.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    (folder / "data.yaml").write_text("names: [border]\n")
    looks(watched)
    assert [a.label for a in watched.ds.annotations()[next(iter(watched.ds.samples()))]] == ["border"]


def test_labels_do_not_bring_in_a_picture_that_is_still_being_written(ws, folder) -> None:
    """A copy over the network may have its full size from the start and decode to its end, black where nothing is yet."""
    watched = watch(ws, folder)
    (folder / "data.yaml").write_text("names: [border]\n")
    (folder / "a.png").write_bytes(png(1))
    looks(watched, 1)
    black, whole = io.BytesIO(), io.BytesIO()
    Image.new("RGB", (40, 40)).save(black, "BMP")
    Image.open(io.BytesIO(png(2))).save(whole, "BMP")
    (folder / "b.bmp").write_bytes(black.getvalue())
    assert "1 taken, 1 still being written" in looks(watched, 1)
    (folder / "b.bmp").write_bytes(whole.getvalue())
    looks(watched)
    assert [s.sources for s in watched.ds.iter_samples()] == [("a.png",), ("b.bmp",)]


def test_a_picture_that_could_not_be_read_is_tried_again_by_the_next_watch(ws, folder, monkeypatch) -> None:
    """Its rights may be mended, which changes neither its size nor its time."""
    real = Source.read
    refused = DatasetError("cannot be read (Permission denied)")

    def read(self, file):
        if file == "a.png" and refused:
            raise refused
        return real(self, file)

    monkeypatch.setattr(Source, "read", read)
    (folder / "a.png").write_bytes(png(1))
    assert "1 left out: a.png: cannot be read (Permission denied)" in looks(watch(ws, folder))
    refused = None
    again = watch(ws, folder)
    looks(again)
    assert len(again.ds.samples()) == 1


def test_a_folder_that_goes_away_ends_the_watch_with_words(ws, folder) -> None:
    watched = watch(ws, folder)
    folder.rmdir()
    with pytest.raises(DatasetError, match="the watched folder is gone"):
        looks(watched)


def test_a_broken_label_file_costs_itself_and_not_the_scans_it_came_with(ws, folder) -> None:
    for n in range(3):
        (folder / f"{n}.png").write_bytes(png(n))
    (folder / "labels.json").write_text('{"images": [')
    watched = watch(ws, folder)
    assert "labels.json" in looks(watched) and len(watched.ds.samples()) == 3
    (folder / "labels.json").unlink()
    assert len(watch(ws, folder).ds.samples()) == 3


def test_instructions_for_label_studio_bring_their_pictures_along(ws) -> None:
    from trugrade_core.workflows import labelling

    creating.create_dataset(ws, "cards", "border_detection.dual_class", guidelines="first")
    markdown = creating.add_picture(ws, png(3), name="good corner.png")
    creating.set_guidelines(ws, "cards", f"Like this:\n\n{markdown}\n\n![gone](/lab/image/{'0' * 64})", who="ada")
    html = labelling.project_for(Dataset.open(ws, "cards")).instructions
    assert 'src="data:image/webp;base64,' in html and 'alt="good corner"' in html
    assert html.count("data:image") == 1 and "0" * 64 in html
