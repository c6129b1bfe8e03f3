"""A dataset of what fits a filter."""

from __future__ import annotations

import pytest

from tests.data_room.explored import six
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
