from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from trugrade_core.data.images import decode
from trugrade_core.data.store import Dataset
from trugrade_core.errors import UsageError
from trugrade_core.schema import Polygon
from trugrade_core.synth import synthesize
from trugrade_core.synth.cards import make_card
from trugrade_core.workspace import Workspace


def test_a_dataset_of_cards_with_their_truth(ws: Workspace) -> None:
    said: list[tuple[int, int, str]] = []
    report = synthesize(ws, "made", count=3, seed=5, dpi=60, progress=lambda *a: said.append(a))
    assert report["images"] == 3 and report["annotations"] == 6 and report["taken"] == 3 and report["skipped"] == []
    assert report["classes"] == {"1": "outer_border", "2": "graphical_border"}
    assert said[-1][:2] == (3, 3)
    ds = Dataset.open(ws, "made")
    samples, labels = ds.samples(), ds.annotations()
    for index, sample in enumerate(samples.values()):
        card = make_card(5, index, 60)
        assert sample.origin == "synthetic" and sample.status == "done" and sample.dpi == 60 and not sample.card_assumed
        assert np.array_equal(decode(ds.image_path(sample)), card.image)
        by_label = {a.label: a.value for a in labels[sample.id]}
        outer, inner = by_label["outer_border"], by_label["graphical_border"]
        assert isinstance(outer, Polygon) and isinstance(inner, Polygon)
        np.testing.assert_allclose(outer.points, card.outer_outline_px, atol=1e-3)
        np.testing.assert_allclose(inner.points, card.inner_outline_px, atol=1e-3)
    assert len({s.card for s in samples.values()}) == 3
    assert next(iter(samples.values())).main.dpi == pytest.approx(60, abs=0.1)


def test_the_same_again_adds_nothing_and_more_adds_the_rest(ws: Workspace) -> None:
    synthesize(ws, "made", count=2, seed=1, dpi=50)
    ds = Dataset.open(ws, "made")
    before = ds.log_path.read_bytes()
    assert synthesize(ws, "made", count=2, seed=1, dpi=50)["images"] == 0
    assert ds.log_path.read_bytes() == before
    assert synthesize(ws, "made", count=3, seed=1, dpi=50)["images"] == 1
    assert len(ds.samples()) == 3


@pytest.mark.parametrize("wrong", [{"count": 0}, {"seed": -1}, {"dpi": 5}, {"dpi": 100_000}])
def test_impossible_requests_write_nothing(ws: Workspace, wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        synthesize(ws, "made", **{"count": 1, **wrong})
    assert not Path(ws.datasets / "made").exists()
