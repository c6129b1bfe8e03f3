from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import pytest

from trugrade_core import workspace
from trugrade_core.errors import UsageError, WorkspaceError
from trugrade_core.workspace import Workspace, append_lines, check_name, locked, read_json, write_atomic


def test_a_new_folder_becomes_a_workspace_and_opens_again(tmp_path) -> None:
    first = Workspace.open(tmp_path / "w")
    assert read_json(first.root / "workspace.json")["format"] == workspace.FORMAT
    assert Workspace.open(tmp_path / "w") == first


def test_the_environment_names_the_workspace(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("TRUGRADE_WORKSPACE", str(tmp_path / "named"))
    assert Workspace.open().root == tmp_path / "named"


def test_somebody_elses_folder_is_refused(tmp_path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(WorkspaceError, match="is not a TruGrade workspace"):
        Workspace.open(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["letter.txt"]


def test_a_newer_format_is_refused_and_left_alone(tmp_path) -> None:
    mark = tmp_path / "workspace.json"
    mark.write_text(json.dumps({"format": workspace.FORMAT + 1}))
    with pytest.raises(WorkspaceError, match="newer TruGrade"):
        Workspace.open(tmp_path)
    assert json.loads(mark.read_text()) == {"format": workspace.FORMAT + 1}


@pytest.mark.parametrize("text", ["{", '{"format": "x"}', "{}"])
def test_a_damaged_mark_is_told(tmp_path, text) -> None:
    (tmp_path / "workspace.json").write_text(text)
    with pytest.raises(WorkspaceError, match=r"workspace\.json"):
        Workspace.open(tmp_path)


def test_an_older_format_is_lifted_after_a_copy(tmp_path, monkeypatch) -> None:
    root = tmp_path / "w"
    ws = Workspace.open(root)
    (ws.root / "datasets" / "a").mkdir(parents=True)
    (ws.root / "datasets" / "a" / "note").write_text("kept")
    monkeypatch.setattr(workspace, "FORMAT", workspace.FORMAT + 1)
    monkeypatch.setitem(workspace.MIGRATIONS, workspace.FORMAT - 1, lambda r: (r / "lifted").write_text("yes"))
    Workspace.open(root)
    assert (root / "lifted").read_text() == "yes"
    assert read_json(root / "workspace.json")["format"] == workspace.FORMAT
    (copy,) = [p for p in tmp_path.iterdir() if p != root]
    assert (copy / "datasets" / "a" / "note").read_text() == "kept"
    assert not (copy / "lifted").exists()


def test_every_older_format_has_its_migration() -> None:
    assert sorted(workspace.MIGRATIONS) == list(range(workspace.FORMAT))


def test_format_0_is_lifted_after_a_copy_and_once(tmp_path) -> None:
    root = tmp_path / "w"
    root.mkdir()
    (root / "workspace.json").write_text('{"format": 0}')
    for _ in range(2):
        Workspace.open(root)
    (copy,) = [p for p in tmp_path.iterdir() if p != root]
    assert read_json(copy / "workspace.json") == {"format": 0}
    assert read_json(root / "workspace.json")["format"] == workspace.FORMAT


def test_without_a_copy_nothing_is_lifted(tmp_path, monkeypatch) -> None:
    (tmp_path / "workspace.json").write_text('{"format": 0}')

    def full(*args, **kwargs) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(workspace.shutil, "copytree", full)
    with pytest.raises(WorkspaceError, match="could not be copied"):
        Workspace.open(tmp_path)
    assert read_json(tmp_path / "workspace.json") == {"format": 0}


def open_when_told(root: str, start, found) -> None:
    start.wait()
    for n in range(40):
        try:
            (Workspace.open(f"{root}/{n}").root / "datasets").mkdir(exist_ok=True)
        except WorkspaceError as e:
            found.put(str(e))
    found.put("")


def test_processes_that_open_a_new_workspace_at_once(tmp_path) -> None:
    context = multiprocessing.get_context("spawn")
    start, found = context.Barrier(3), context.Queue()
    workers = [context.Process(target=open_when_told, args=(str(tmp_path), start, found)) for _ in range(3)]
    for worker in workers:
        worker.start()
    said = [found.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join()
    assert said == [""] * 3


def test_a_mark_that_is_just_written_is_no_stranger(tmp_path) -> None:
    (tmp_path / ".workspace.json.1-abcdef.tmp").write_text("{")
    with pytest.raises(WorkspaceError, match="no workspace here yet"):
        Workspace.open(tmp_path, create=False)
    assert Workspace.open(tmp_path).root == tmp_path


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch) -> None:
    path = tmp_path / "f"
    write_atomic(path, "old")

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(workspace.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomic(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


def test_a_torn_line_stays_alone(tmp_path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b'{"a": 1}\n{"b"')
    append_lines(path, [b'{"c": 3}'], sync=False)
    assert path.read_bytes() == b'{"a": 1}\n{"b"\n{"c": 3}\n'


def test_a_lock_is_held_by_one(tmp_path) -> None:
    with locked(tmp_path / "l") as first, locked(tmp_path / "l", wait=False) as second:
        assert first is not None and second is None
    with locked(tmp_path / "l", wait=False) as again:
        assert again is not None


@pytest.mark.parametrize(
    "name",
    ["cards", "Karten 2026", "カード", "การ์ด", "हिन्दी", "Cafe\u0301", "a.b-c_d", "x", "x" * 80, "\U00020000" * 50],
)
def test_good_names(name) -> None:
    assert check_name(name, "dataset") == name


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "a\\b", ".hidden", "x" * 81, "a\n", "trailing ", "a.",
                                  "\U00020000" * 51, "\u0301a", "a\u200bb", "a\ud800"])  # fmt: skip
def test_names_that_are_no_folder(name) -> None:
    with pytest.raises(UsageError, match="cannot be the name"):
        check_name(name, "dataset")


def test_what_is_removed_lies_in_the_trash(ws) -> None:
    path = ws.datasets / "a"
    path.mkdir(parents=True)
    (path / "f").write_text("x")
    moved = ws.to_trash(path)
    assert not path.exists() and (moved / "f").read_text() == "x"
    assert moved.is_relative_to(ws.root / "trash")


@pytest.mark.parametrize("sha", ["", "..", "../../etc/passwd", "A" * 64, "0" * 63])
def test_images_are_found_by_digest_only(ws, sha) -> None:
    assert ws.find_image(sha) is None


def test_an_image_is_found_whatever_its_suffix(ws) -> None:
    path = ws.image("ab" * 32, ".tif")
    write_atomic(path, b"x")
    assert ws.find_image("ab" * 32) == path
    assert path.parent == Path(ws.root, "images", "ab")


def test_the_copy_before_a_migration_leaves_out_what_is_large_and_never_changes(ws) -> None:
    folder = ws.runs / "r" / "checkpoints"
    folder.mkdir(parents=True)
    for name in ("best.pt", "best.json"):
        (folder / name).write_text("{}")
    for name in ("images", "cache", "x.pt"):
        (ws.datasets / name).mkdir(parents=True)
        (ws.datasets / name / "samples.jsonl").write_text("{}")
    for name in ("images", "thumbnails", "cache"):
        (ws.root / name).mkdir()
    (ws.root / "workspace.json").write_text('{"format": 0}')
    Workspace.open(ws.root)
    (copy,) = ws.root.parent.glob("workspace.format*")
    assert not {"images", "thumbnails", "cache"} & {p.name for p in copy.iterdir()}
    assert len(list(copy.glob("datasets/*/samples.jsonl"))) == 3
    assert [p.name for p in (copy / "runs" / "r" / "checkpoints").iterdir()] == ["best.json"]
