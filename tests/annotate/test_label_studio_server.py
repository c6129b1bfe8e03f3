"""Push, diff and pull against a real Label Studio server, and every way in which it can be away or wrong."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from trugrade_core.annotate.label_studio import serve as serving
from trugrade_core.annotate.label_studio.book import read_book
from trugrade_core.annotate.label_studio.client import Connection, Server, keep_connection, read_connection
from trugrade_core.annotate.saving import Op, save, state_of
from trugrade_core.cli import run_line
from trugrade_core.data import rle
from trugrade_core.data.images import probe
from trugrade_core.data.store import Dataset, annotation_id, put_entry, sample_id
from trugrade_core.errors import DatasetError, LabelStudioError
from trugrade_core.schema import Annotation, Box, ClassDef, LogEntry, Polygon, Sample
from trugrade_core.workflows import labelling
from trugrade_core.workspace import Workspace, write_atomic

pytestmark = [
    pytest.mark.labelstudio,
    # The SDK's own models are written for pydantic 1.
    pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20"),
]

DUAL = "border_detection.dual_class"
WEAR = "edge_analysis.wear_detection"


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """A workspace with its own server. $TRUGRADE_TEST_LABEL_STUDIO is a workspace whose server runs already."""
    if running := os.environ.get("TRUGRADE_TEST_LABEL_STUDIO"):
        yield Workspace.open(running)
        return
    ws = Workspace.open(tmp_path_factory.mktemp("served") / "workspace")
    serving.serve(ws, port=free_port())
    try:
        serving.wait_until_up(ws, 300)
        yield ws
    finally:
        assert serving.stop(ws)
        assert serving.served(ws).state == "off"


@pytest.fixture(autouse=True)
def nobody_is_named(lab: Workspace) -> None:
    (lab.root / "label-studio-people.json").unlink(missing_ok=True)


def picture(seed: int) -> bytes:
    import cv2

    image = np.random.default_rng(seed).integers(0, 255, (90, 70, 3), np.uint8)
    return cv2.imencode(".png", image)[1].tobytes()


_made = iter(range(100_000, 999_999))


def dataset(ws: Workspace, count: int = 2, *, task: str = DUAL, labelled: bool = True) -> Dataset:
    number = next(_made) + os.getpid() * 1000
    classes = {DUAL: ("outer_border", "graphical_border"), WEAR: ("whitening", "chipping", "rough_cut")}[task]
    ds = Dataset.create(
        ws, f"set-{number}", [ClassDef(name=c, shape="polygon" if task == DUAL else "mask") for c in classes]
    )
    with ds.lock():
        ds.note_facts(task=task)
    for n in range(count):
        data = picture(number * 10 + n)
        ref = probe(data, name="x.png")
        write_atomic(ws.image(ref.sha256, ref.suffix), data)
        sample = Sample(id=sample_id({"main": ref}), images={"main": ref}, card=f"card-{n}", card_assumed=False,
                        sources=(f"scan {n}.png",), status="done" if labelled else "unlabelled")  # fmt: skip
        ds.put_samples([sample])
        if labelled:
            value = Polygon(points=((6.1, 7.3), (60.7, 8.2), (61.4, 80.9), (5.25, 81.125)))
            put(ds, sample.id, "outer_border", value)
            put(ds, sample.id, "graphical_border", Box(xyxy=(12.3, 14.5, 50.1, 70.7)))
    return ds


def put(ds: Dataset, sample: str, label: str, value: object) -> None:
    a = Annotation(id=annotation_id(sample, label, value), sample=sample, label=label, value=value)
    ds.append([put_entry(a, who="maria", tool="import")])


def ids(ds: Dataset) -> list[str]:
    return list(ds.samples())


def submit(ws: Workspace, ds: Dataset, sample: str, change=lambda results: results, **words: object) -> int:
    """An annotator takes the prediction over, changes it, and submits."""
    sdk = labelling.server(ws)._sdk
    task = read_book(ds).samples[sample].id
    predictions = list(sdk.predictions.list(task=task))
    results = [dict(r) for r in predictions[0].result] if predictions else []
    return int(sdk.annotations.create(id=task, result=change(results), lead_time=90, **words).id)


def values(ds: Dataset, sample: str) -> dict[str, object]:
    return {e.label: e.value for e in state_of(ds, sample).shown}


# --- the whole way ------------------------------------------------------------------------------------------------


def test_what_nobody_touched_comes_back_as_it_was(lab: Workspace) -> None:
    ds = dataset(lab)
    before, log = {s: values(ds, s) for s in ids(ds)}, ds.log_path.read_bytes()
    pushed = labelling.push(lab, ds.name)
    assert pushed["created"] == 2 and not pushed["skipped"]
    for sample in ids(ds):
        submit(lab, ds, sample)
    found = labelling.pull(lab, ds.name)
    assert found["samples"] == 2 and not any(found[k] for k in ("added", "changed", "removed", "conflicts", "problems"))
    assert {s: values(ds, s) for s in ids(ds)} == before
    added = [LogEntry.model_validate_json(line) for line in ds.log_path.read_bytes()[len(log) :].splitlines()]
    assert {e.value.type for e in added} <= {"status"}
    assert labelling.status(lab, ds.name)["dataset"]["people"] == {serving.USER: {"tasks": 2, "minutes": 3.0}}


def test_pictures_are_served_from_the_workspace(lab: Workspace) -> None:
    ds = dataset(lab, 1)
    labelling.push(lab, ds.name)
    server = labelling.server(lab)
    task = server._sdk.tasks.get(str(read_book(ds).samples[ids(ds)[0]].id))
    assert task.data["image"].startswith("/data/local-files/?d=images/")
    headers = {"Authorization": server._authorization()}
    got = httpx.get(server.url + task.data["image"], headers=headers)
    assert got.status_code == 200 and got.content == ds.image_path(ds.samples()[ids(ds)[0]]).read_bytes()


def test_pictures_are_uploaded_to_a_server_that_cannot_read_them(
    lab: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    ds = dataset(lab, 3)
    kept = read_connection(lab)
    monkeypatch.setattr(labelling.serving, "connection", lambda ws: Connection(kept.url, kept.token))
    labelling.push(lab, ds.name)
    server = labelling.server(lab)
    for sample in ids(ds):
        task = server._sdk.tasks.get(str(read_book(ds).samples[sample].id))
        got = httpx.get(server.url + task.data["image"], headers={"Authorization": server._authorization()})
        assert got.content == ds.image_path(ds.samples()[sample]).read_bytes()


def test_a_moved_shape_a_new_one_and_a_deleted_one_are_shown_then_taken(lab: Workspace) -> None:
    ds = dataset(lab, 1)
    sample = ids(ds)[0]
    labelling.push(lab, ds.name)

    def change(results):
        moved = next(r for r in results if "rectanglelabels" in r["value"])
        moved["value"] = {**moved["value"], "x": moved["value"]["x"] + 10}
        new = {**moved, "id": "fresh", "value": {**moved["value"], "rectanglelabels": ["outer_border"]}}
        new.pop("meta", None)
        return [moved, new]

    submit(lab, ds, sample, change)
    log = ds.log_path.read_bytes()
    shown = labelling.diff(lab, ds.name)
    assert ds.log_path.read_bytes() == log
    assert [len(shown[k]) for k in ("added", "changed", "removed", "skipped", "conflicts")] == [1, 1, 1, 0, 0]
    taken = labelling.pull(lab, ds.name)
    assert {k: taken[k] for k in ("added", "changed", "removed")} == {
        k: shown[k] for k in ("added", "changed", "removed")
    }
    now = values(ds, sample)
    assert now["graphical_border"].xyxy == pytest.approx((19.3, 14.5, 57.1, 70.7), abs=1e-6)
    assert isinstance(now["outer_border"], Box)
    assert {e.who for e in ds.log() if e.tool == "label_studio"} == {serving.USER}
    again = labelling.pull(lab, ds.name)
    assert not any(again[k] for k in ("added", "changed", "removed", "conflicts", "statuses"))


def test_a_mask_comes_back_to_the_pixel(lab: Workspace) -> None:
    ds = dataset(lab, 1, task=WEAR, labelled=False)
    sample = ids(ds)[0]
    painted = np.zeros((90, 70), bool)
    painted[3:9, 1:60] = True
    painted[5, 20:30] = False
    put(ds, sample, "whitening", rle.encode(painted))
    labelling.push(lab, ds.name)
    submit(lab, ds, sample, lambda results: [{**r, "meta": {}} for r in results])
    found = labelling.pull(lab, ds.name)
    assert not any(found[k] for k in ("added", "changed", "removed", "problems"))
    assert np.array_equal(rle.decode(values(ds, sample)["whitening"]), painted)


def test_pushing_again_sends_nothing_twice_and_a_cut_push_is_taken_over(lab: Workspace) -> None:
    ds = dataset(lab, 3)
    labelling.push(lab, ds.name, ids=ids(ds)[:2])
    assert labelling.push(lab, ds.name)["created"] == 1
    book = read_book(ds)
    (ds.path / "label_studio.json").write_text(book.model_copy(update={"samples": {}}).model_dump_json())
    again = labelling.push(lab, ds.name)
    assert (again["created"], again["unchanged"]) == (0, 3)
    assert read_book(ds).samples == book.samples
    assert len(labelling.server(lab).task_ids(book.project)) == 3


# --- who may draw where -------------------------------------------------------------------------------------------


def test_a_pushed_sample_is_read_only_until_it_is_pulled_or_released(lab: Workspace) -> None:
    ds = dataset(lab, 2)
    first, second = ids(ds)
    op = Op(op="put", label="outer_border", value=Box(xyxy=(1, 1, 20, 20)))
    labelling.push(lab, ds.name)
    with pytest.raises(DatasetError, match="Label Studio"):
        save(ds, first, [op], who="ada", tool="annotator", commit="c" * 8)
    submit(lab, ds, first)
    labelling.pull(lab, ds.name)
    assert save(ds, first, [op], who="ada", tool="annotator", commit="c" * 8).entries
    assert labelling.release(lab, ds.name, [second])["released"] == 1
    assert save(ds, second, [op], who="ada", tool="annotator", commit="d" * 8).entries
    assert labelling.push(lab, ds.name)["updated"] == 2  # both were drawn on here, and go out anew


def test_what_both_sides_changed_is_a_conflict_and_neither_is_lost(lab: Workspace) -> None:
    ds = dataset(lab, 1)
    sample = ids(ds)[0]
    labelling.push(lab, ds.name)
    labelling.release(lab, ds.name)
    box = next(e for e in state_of(ds, sample).shown if e.label == "graphical_border")
    mine = Op(op="put", annotation=box.annotation, label=box.label, value=Box(xyxy=(1, 2, 30, 40)), replaces=box.entry)
    save(ds, sample, [mine], who="ada", tool="annotator", commit="c" * 8)

    def change(results):
        for r in results:
            if "rectanglelabels" in r["value"]:
                r["value"] = {**r["value"], "width": r["value"]["width"] / 2}
        return results

    submit(lab, ds, sample, change)
    assert [c["label"] for c in labelling.pull(lab, ds.name)["conflicts"]] == ["graphical_border"]
    (conflict,) = ds.conflicts()
    assert {h.who for h in conflict.heads} == {"ada", serving.USER}


def test_what_was_drawn_here_after_a_pull_survives_the_next_push_and_pull(lab: Workspace) -> None:
    ds = dataset(lab, 1)
    sample = ids(ds)[0]
    labelling.push(lab, ds.name)
    submit(lab, ds, sample)
    labelling.pull(lab, ds.name)
    box = next(e for e in state_of(ds, sample).shown if e.label == "graphical_border")
    mine = Op(op="put", annotation=box.annotation, label=box.label, value=Box(xyxy=(1, 2, 30, 40)), replaces=box.entry)
    more = Op(op="put", label="outer_border", value=Box(xyxy=(2, 2, 9, 9)))
    save(ds, sample, [mine, more], who="maria", tool="annotator", commit="m" * 8)
    now = {e.annotation: e.value for e in state_of(ds, sample).shown}
    labelling.push(lab, ds.name)
    found = labelling.pull(lab, ds.name)
    assert not any(found[k] for k in ("added", "changed", "removed", "conflicts"))
    assert {e.annotation: e.value for e in state_of(ds, sample).shown} == now

    def change(results):
        for r in results:
            if "rectanglelabels" in r["value"] and r["value"]["width"] > 20:
                r["value"] = {**r["value"], "x": r["value"]["x"] + 5}
        return results

    submit(lab, ds, sample, change)  # drawn over what was sent last: a change, not a conflict
    found = labelling.pull(lab, ds.name)
    assert [r["label"] for r in found["changed"]] == ["graphical_border"] and not found["conflicts"]


def test_work_that_could_not_be_taken_in_is_asked_for_again(lab: Workspace) -> None:
    ds = dataset(lab, 2)
    first, second = ids(ds)
    labelling.push(lab, ds.name)
    submit(
        lab,
        ds,
        first,
        lambda results: [
            {**r, "value": {**r["value"], "rectanglelabels": ["castle"]}} if "rectanglelabels" in r["value"] else r
            for r in results
        ],
    )
    submit(lab, ds, second)
    assert labelling.pull(lab, ds.name)["problems"] and read_book(ds).pulled_to is None
    assert labelling.pull(lab, ds.name)["problems"]


def test_an_annotation_deleted_there_is_deleted_here_and_nobody_elses(lab: Workspace) -> None:
    ds = dataset(lab, 1)
    sample = ids(ds)[0]
    labelling.push(lab, ds.name)
    made = submit(lab, ds, sample)
    labelling.pull(lab, ds.name)
    put(ds, sample, "outer_border", Box(xyxy=(3, 3, 8, 8)))  # maria's, of which Label Studio knows nothing
    labelling.server(lab)._sdk.annotations.delete(made)
    shown = labelling.diff(lab, ds.name)
    assert {r["label"] for r in shown["removed"]} == {"outer_border", "graphical_border"}
    labelling.pull(lab, ds.name)
    assert [e.value.xyxy for e in state_of(ds, sample).shown] == [(3, 3, 8, 8)]


def test_two_people_of_one_name_vote_apart_and_main_is_no_name() -> None:
    from trugrade_core.annotate.label_studio.book import Task
    from trugrade_core.annotate.label_studio.pull import _layers

    task = Task(id=1, url="", state="pushed")
    assert _layers(task, [1], lambda _: "sam") == {1: "main"}
    assert _layers(task, [1, 2], lambda _: "sam") == {1: "sam", 2: "sam (Label Studio 2)"}
    assert _layers(task, [1, 2], lambda user: "main" if user == 1 else "ben") == {1: "main (Label Studio 1)", 2: "ben"}
    task.layers = {1: "ada", 2: "ben"}
    assert _layers(task, [1], lambda _: "ada") == {1: "ada", 2: "ben"}  # ben took his back: ada still only votes


def test_a_skip_keeps_its_reason_and_an_empty_submission_is_no_background(lab: Workspace) -> None:
    ds = dataset(lab, 2, labelled=False)
    first, second = ids(ds)
    labelling.push(lab, ds.name)
    reason = [
        {"id": "c", "from_name": "comment", "to_name": "image", "type": "textarea", "value": {"text": ["sleeve glare"]}}
    ]
    submit(lab, ds, first, lambda _: reason, was_cancelled=True)
    submit(lab, ds, second, lambda _: [])
    found = labelling.pull(lab, ds.name)
    assert [(s["sample"], s["reason"]) for s in found["skipped"]] == [(first, "sleeve glare")]
    assert {s: ds.samples()[s].status for s in (first, second)} == {first: "skipped", second: "unsure"}
    assert "submitted empty" in state_of(ds, second).status.comment


# --- bad input ----------------------------------------------------------------------------------------------------


def test_foreign_and_broken_results_are_left_there_and_told(lab: Workspace) -> None:
    ds = dataset(lab, 1, labelled=False)
    sample = ids(ds)[0]
    labelling.push(lab, ds.name)
    common = {"to_name": "image", "original_width": 70, "original_height": 90, "image_rotation": 0}
    good = {**common, "id": "g", "from_name": "box", "type": "rectanglelabels",
            "value": {"x": 10, "y": 10, "width": 50, "height": 50, "rotation": 0, "rectanglelabels": ["outer_border"]}}  # fmt: skip
    bad = [
        {**good, "id": "b1", "value": {**good["value"], "x": 500}},
        {**good, "id": "b2", "value": {**good["value"], "rectanglelabels": ["castle"]}},
        {**good, "id": "b3", "from_name": "nowhere"},
        {
            **common,
            "id": "b4",
            "from_name": "box",
            "type": "keypointlabels",
            "value": {"x": 1, "y": 1, "width": 1, "keypointlabels": ["tip"]},
        },
    ]
    submit(lab, ds, sample, lambda _: [good, *bad])
    found = labelling.pull(lab, ds.name)
    assert len(found["added"]) == 1 and {p["result"] for p in found["problems"]} == {"b1", "b2", "b3", "b4"}
    assert set(values(ds, sample)) == {"outer_border"}


def test_a_deleted_task_takes_nothing_with_it(lab: Workspace) -> None:
    ds = dataset(lab, 2)
    labelling.push(lab, ds.name)
    first, second = ids(ds)
    labelling.server(lab).delete_task(read_book(ds).samples[first].id)
    found = labelling.pull(lab, ds.name)
    assert "1 tasks were deleted" in found["notes"][0] and len(values(ds, first)) == 2
    assert read_book(ds).samples[first].state == "released" and read_book(ds).samples[second].state == "pushed"
    assert labelling.push(lab, ds.name)["created"] == 1


def test_a_deleted_project_says_how_to_start_another(lab: Workspace) -> None:
    ds = dataset(lab, 1)
    labelling.push(lab, ds.name)
    labelling.server(lab)._sdk.projects.delete(read_book(ds).project)
    with pytest.raises(LabelStudioError, match="has not got it any more") as e:
        labelling.pull(lab, ds.name)
    assert "--new-project" in e.value.what_to_do and len(values(ds, ids(ds)[0])) == 2
    assert labelling.push(lab, ds.name, new_project=True)["created"] == 1


def test_a_template_changed_there_is_told_before_anything_is_sent(lab: Workspace) -> None:
    ds = dataset(lab, 2)
    labelling.push(lab, ds.name, ids=ids(ds)[:1])
    server, project = labelling.server(lab), read_book(ds).project
    xml = server.label_config(project).replace('value="outer_border"', 'value="outer_edge"')
    server._sdk.projects.update(project, label_config=xml)
    with pytest.raises(LabelStudioError, match="template was changed") as e:
        labelling.push(lab, ds.name)
    assert "--restore-template" in e.value.what_to_do
    assert labelling.push(lab, ds.name, restore_template=True)["created"] == 1


def test_a_template_with_an_error_is_not_sent(lab: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    ds = dataset(lab, 1)
    monkeypatch.setattr(labelling, "template", lambda _: '<View><Image name="image" value="image"/></View>')
    with pytest.raises(LabelStudioError, match="the label template cannot be used"):
        labelling.push(lab, ds.name)
    assert read_book(ds).project is None


@pytest.mark.parametrize("task", labelling.TASKS)
def test_the_server_takes_every_template(lab: Workspace, task: str) -> None:
    server = labelling.server(lab)
    answer = httpx.post(f"{server.url}/api/projects/validate", json={"label_config": labelling.template(task)},
                        headers={"Authorization": server._authorization()})  # fmt: skip
    assert answer.status_code in (200, 204), answer.text


def test_a_wrong_token_and_a_server_that_is_down_are_named(lab: Workspace, ws: Workspace) -> None:
    url = read_connection(lab).url
    with pytest.raises(LabelStudioError, match="refuses the token"):
        labelling.connect(ws, url, "not-a-token")
    with pytest.raises(LabelStudioError, match="does not answer"):
        labelling.connect(ws, "http://127.0.0.1:9", "x")
    assert read_connection(ws) is None and labelling.status(ws)["reason"] == "not connected"
    keep_connection(ws, Connection("http://127.0.0.1:9", "x"))
    assert labelling.status(ws)["server"] == "off" and "does not answer" in labelling.status(ws)["reason"]


def test_the_command_line_goes_the_whole_way(lab: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    ds = dataset(lab, 2)
    line = ["-w", str(lab.root), "--json", "label"]

    def call(*words: str) -> dict:
        assert run_line([*line, *words]) == 0
        return json.loads(capsys.readouterr().out)

    assert call("push", ds.name)["created"] == 2
    submit(lab, ds, ids(ds)[0])
    assert set(call("diff", ds.name)) >= {"added", "changed", "removed", "skipped", "conflicts"}
    assert call("pull", ds.name)["samples"] == 1
    assert call("people", "--map", f"{serving.USER}=Maria")[serving.USER] == "Maria"
    said = call("status", ds.name)
    assert said["server"] == "up" and said["versions"]["sdk"] == "2.0.19" and said["dataset"]["pulled"] == 1
    assert call("release", ds.name)["released"] == 1
    assert call("sync", ds.name)["pushed"]["created"] == 0


def test_secrets_are_for_their_owner_alone(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    (ws.root / "secrets.toml").write_text('[other]\nkey = "kept"\n')
    keep_connection(ws, Connection("http://a:1", 'quo"te\\', "/r"))
    assert (ws.root / "secrets.toml").stat().st_mode & 0o777 == 0o600
    assert (
        read_connection(ws) == Connection("http://a:1", 'quo"te\\', "/r")
        and "kept" in Path(ws.root / "secrets.toml").read_text()
    )
    monkeypatch.setenv("LABEL_STUDIO_URL", "http://b:2/")
    assert read_connection(ws).url == "http://b:2"
    (ws.root / "secrets.toml").write_text("[broken")
    with pytest.raises(LabelStudioError, match="cannot be read"):
        read_connection(ws)


def test_a_server_that_is_not_set_up_or_whose_port_is_taken(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(serving.PROGRAM, "/nowhere/label-studio")
    with pytest.raises(LabelStudioError, match="not set up") as e:
        serving.serve(ws)
    assert "make label-studio" in e.value.what_to_do
    monkeypatch.delenv(serving.PROGRAM)
    monkeypatch.setattr(serving, "program", lambda: Path("/bin/true"))
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        with pytest.raises(LabelStudioError, match="is taken"):
            serving.serve(ws, port=held.getsockname()[1])
    assert Server  # the adapter imports without the SDK being loaded
