from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from app import state
from trugrade_core.cli import console
from trugrade_core.errors import TrainingError, UsageError
from trugrade_core.monitor.experiments import ExperimentTracker, environment, git_commit, uncommitted_diff, who
from trugrade_core.runs import RunFolder
from trugrade_core.workspace import Workspace


def git(root: Path, *words: str) -> str:
    who = ["-c", "user.name=t", "-c", "user.email=t@t"]
    return subprocess.run(["git", "-C", str(root), *who, *words], capture_output=True, text=True, check=True).stdout


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    root = tmp_path / "checkout"
    root.mkdir()
    git(root, "init", "-q")
    (root / "a.txt").write_text("one\ntwo\n")
    (root / "latin.txt").write_bytes("Träume\n".encode("latin-1"))
    (root / ".gitignore").write_text("ignored\n")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "first")
    return root


def test_a_record_is_complete_and_stays(ws: Workspace) -> None:
    folder = RunFolder.create(ws.runs, {"kind": "train"})
    folder.checkpoints.mkdir()
    (folder.checkpoints / "best.json").write_text(json.dumps({"digest": "abc", "step": 7, "epoch": 1}))
    tracker = ExperimentTracker(ws)
    first = tracker.track_experiment("borders", {"lr": 1e-3}, {"side_error_mm": 0.2, "run": folder.id})
    second = tracker.track_experiment("borders", {"lr": 2e-3}, {"side_error_mm": 0.3})
    assert set(first) == {"experiment_id", "config", "results", "git_commit", "timestamp", "model_checkpoints"}
    assert first["model_checkpoints"] == [{"run": folder.id, "name": "best", "digest": "abc", "step": 7, "epoch": 1}]
    assert second["model_checkpoints"] == []
    assert ExperimentTracker(ws).records("borders") == [first, second]


def test_a_torn_record_costs_only_itself(ws: Workspace) -> None:
    tracker = ExperimentTracker(ws)
    first = tracker.track_experiment("borders", {"lr": {"base": 1e-3}}, {})
    with (ws.root / "experiments" / "borders.jsonl").open("ab") as f:
        f.write(b'{"config":{"lr":{"base":0.1}')  # a kill, just behind a brace
    second = tracker.track_experiment("borders", {"lr": {"base": 2e-3}}, {})
    assert tracker.records("borders") == [first, second]


def test_a_user_without_a_name_is_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found: 54321")

    monkeypatch.setattr("getpass.getuser", nameless)
    assert who() == "" == console.who() == state.who()


@pytest.mark.parametrize("name", ["../x", "", "a/b"])
def test_a_name_that_is_no_file_name_is_refused(ws: Workspace, name: str) -> None:
    with pytest.raises(UsageError):
        ExperimentTracker(ws).track_experiment(name, {}, {})


def test_what_cannot_be_kept_is_refused_and_writes_nothing(ws: Workspace) -> None:
    tracker = ExperimentTracker(ws)
    with pytest.raises(UsageError, match="JSON"):
        tracker.track_experiment("x", {"f": object()}, {})
    with pytest.raises(TrainingError, match="no run"):
        tracker.track_experiment("x", {}, {"run": "20200101-000000-0000"})
    assert tracker.records("x") == []


def test_the_diff_brings_the_same_tree_back(checkout: Path, tmp_path: Path) -> None:
    assert uncommitted_diff(checkout) == b""
    assert environment(checkout)["git_dirty"] is False
    (checkout / "a.txt").write_text("one\nzwei\n")
    (checkout / "latin.txt").write_bytes("Träume neu\n".encode("latin-1"))
    (checkout / "new ü.py").write_text("print('new')\n")
    (checkout / "ignored").write_text("not this\n")
    (checkout / "big.bin").write_bytes(b"\0" * 1_000_001)
    patch = uncommitted_diff(checkout)
    assert git(checkout, "status", "--porcelain").count("??") == 2  # nothing was added to the index
    other = tmp_path / "other"
    git(tmp_path, "clone", "-q", str(checkout), str(other))
    (tmp_path / "p.patch").write_bytes(patch)
    git(other, "apply", str(tmp_path / "p.patch"))
    assert (other / "a.txt").read_text() == "one\nzwei\n"
    assert (other / "new ü.py").read_text() == "print('new')\n"
    assert not (other / "ignored").exists() and b"not included: big.bin" in patch
    assert (other / "latin.txt").read_bytes() == "Träume neu\n".encode("latin-1")


def test_the_environment_says_where_it_ran(checkout: Path, tmp_path: Path) -> None:
    found = environment(checkout)
    assert found["git_commit"] == git(checkout, "rev-parse", "HEAD").strip() == git_commit(checkout)
    assert found["packages"]["pydantic"] and found["machine"]["cores"] >= 1 and found["python"].startswith("3.")
    json.dumps(found)
    plain = tmp_path / "plain"
    plain.mkdir()
    none = environment(plain)
    assert none["git_commit"] is None and none["git_dirty"] is None and "not a git checkout" in none["git_reason"]
    assert uncommitted_diff(plain) == b""
