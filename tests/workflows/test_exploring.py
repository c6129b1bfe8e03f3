"""A dataset of what fits a filter."""

from __future__ import annotations

import json

import pytest

from tests.data_room.explored import six
from trugrade_core.catalog.journals import _files
from trugrade_core.catalog.sources import all_sources
from trugrade_core.data.filters import from_line
from trugrade_core.data.store import Dataset, list_datasets
from trugrade_core.workflows import exploring
from trugrade_core.workspace import Workspace


def test_a_copy_that_is_cut_off_leaves_no_half_dataset(ws: Workspace) -> None:
    six(ws)

    def stop(done: int, total: int, text: str) -> None:
        if text.startswith("Copying"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        exploring.make_subset(ws, "d", from_line("status=done"), "only", progress=stop)
    assert list_datasets(ws) == ["d"] and [path.name for path in ws.datasets.iterdir()] == ["d"]
    made = exploring.make_subset(ws, "d", from_line("status=done"), "only")
    assert len(Dataset.open(ws, "only").samples()) == made["images"] == 3


def test_a_copy_is_complete_before_it_has_its_name(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    ds = six(ws)
    with ds.lock():
        ds.note_facts(task="border_detection.dual_class")

    def killed(ws: Workspace, name: str) -> None:
        (folder,) = ws.datasets.glob(".making-*")
        found.update(json.loads((folder / "dataset.json").read_text()))
        assert list_datasets(ws) == ["d"]
        assert not [source.path for source in all_sources(ws) if ".making" in source.path]
        assert not [path for path in _files(ws) if ".making" in str(path)]

    found: dict[str, object] = {}
    free = exploring._free
    monkeypatch.setattr(exploring, "_free", lambda ws, name: killed(ws, name) if list(ws.datasets.glob(".making-*")) else free(ws, name))  # fmt: skip
    exploring.make_subset(ws, "d", from_line("status=done"), "only")
    made = Dataset.open(ws, "only")
    assert made.facts() == found and made.classes == ds.classes
    assert found["name"] == "only" and found["task"] == "border_detection.dual_class"
    assert found["made_from"] == {"dataset": "d", "where": "status=done"}


def test_what_a_killed_copy_left_is_removed_when_the_next_starts(ws: Workspace) -> None:
    six(ws)
    left = ws.datasets / ".making-killed"
    left.mkdir()
    (left / "samples.jsonl").write_text("half")
    exploring.make_subset(ws, "d", from_line("status=done"), "only")
    assert sorted(path.name for path in ws.datasets.iterdir()) == ["d", "only"]
