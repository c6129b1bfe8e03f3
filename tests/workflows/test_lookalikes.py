"""Look-alikes at a similarity that a person moves: what counts changes, nothing is measured or compared again."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from trugrade_core.data.checks import duplicates, measures
from trugrade_core.data.importing import ImportOptions, import_dataset
from trugrade_core.data.store import Dataset
from trugrade_core.errors import UsageError
from trugrade_core.workflows import checking, lookalikes
from trugrade_core.workspace import Workspace


@pytest.fixture
def cards(ws: Workspace, tmp_path: Path) -> Workspace:
    """Four unlike pictures; the first again as a JPEG, in another split."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "scans"
    folder.mkdir()
    for n in range(4):
        image = cv2.resize(rng.integers(0, 255, (9, 7, 3), np.uint8), (140, 180), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f"{n}.png"), image)
    first = cv2.imread(str(folder / "0.png"))
    cv2.imwrite(str(folder / "0-again.jpg"), first, [cv2.IMWRITE_JPEG_QUALITY, 60])
    import_dataset(ws, folder, "cards", ImportOptions(format="folder"))
    ds = Dataset.open(ws, "cards")
    ds.put_samples(
        s.model_copy(update={"split": "test" if s.sources[0].endswith(".jpg") else "train"})
        for s in ds.samples().values()
    )
    return ws


def test_a_new_similarity_counts_anew_and_reads_nothing(cards: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs, unread = lookalikes.look_alikes(cards, "cards")
    assert (pairs.pairs, unread) == ((), 5)
    checking.check(cards, "cards")
    for name in ("measure", "_laid"):
        room = measures if name == "measure" else duplicates
        monkeypatch.setattr(room, name, lambda *a, **k: pytest.fail("a picture was read"))
    pairs, unread = lookalikes.look_alikes(cards, "cards")
    assert unread == 0
    loose, tight = lookalikes.over(pairs, lookalikes.LEAST), lookalikes.over(pairs, 1.0)
    assert loose["pairs"] > tight["pairs"] and sum(loose["kinds"].values()) == loose["pairs"]
    similar = [row["similarity"] for row in loose["examples"]]
    assert similar == sorted(similar) and similar[0] < 1
    assert loose["across_splits"] == 1
    assert all(row["similarity"] >= 0.97 for row in lookalikes.over(pairs, 0.97)["examples"])


def test_the_command_begins_where_the_page_does_and_names_the_same_least() -> None:
    from inspect import signature

    from trugrade_core.cli.check import alike

    over = signature(alike).parameters["over"]
    assert over.default == lookalikes.SURE and f"from {lookalikes.LEAST:g}." in str(over.annotation)


@pytest.mark.parametrize("similarity", [0.5, 1.01])
def test_a_similarity_at_which_nothing_was_looked_for_is_refused(cards: Workspace, similarity: float) -> None:
    pairs, _ = lookalikes.look_alikes(cards, "cards")
    with pytest.raises(UsageError, match=r"is not from 0\.84 to 1") as e:
        lookalikes.over(pairs, similarity)
    assert "mostly strangers" in e.value.what_to_do
