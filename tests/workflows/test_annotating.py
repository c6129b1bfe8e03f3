"""Annotating from plain values: whose layer a change lands in, and large scans."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from trugrade_core.annotate import assigning
from trugrade_core.annotate.saving import state_of
from trugrade_core.cli import run_line
from trugrade_core.data.images import probe
from trugrade_core.data.store import Dataset, sample_id
from trugrade_core.errors import UsageError
from trugrade_core.schema import ClassDef, Sample
from trugrade_core.workflows import annotating, looping
from trugrade_core.workspace import Workspace, write_atomic


def one_sample(ws: Workspace, wh: tuple[int, int]) -> tuple[Dataset, Sample]:
    ds = Dataset.create(ws, "cards", [ClassDef(name="outer_border", shape="polygon")])
    data = cv2.imencode(".jpg", np.full((wh[1], wh[0], 3), 90, np.uint8))[1].tobytes()
    ref = probe(data, name="a.jpg")
    write_atomic(ws.image(ref.sha256, ref.suffix), data)
    sample = Sample(id=sample_id({"main": ref}), images={"main": ref}, card="a")
    ds.put_samples([sample])
    return ds, sample


@pytest.mark.parametrize("wh", [(401, 562), (402, 561), (401, 561)])
def test_a_reduced_scan_has_the_scale_of_its_whole_pixels(
    ws: Workspace, wh: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A JPEG at half its size has an odd last column of its own: no reason to stretch all others."""
    ds, sample = one_sample(ws, wh)
    monkeypatch.setattr(annotating, "LARGE_PIXELS", 401 * 561 // 5)
    image, scale = annotating._looked_at(ds, sample)
    assert image.shape[:2] == ((wh[1] + 1) // 2, (wh[0] + 1) // 2) and scale == 0.5


def test_the_command_line_keeps_a_blind_vote_out_of_what_holds(
    ws: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ds, sample = one_sample(ws, (80, 60))
    assigning.assign(ds, [sample.id], ["ada", "ben"], each=2, by="lead")
    ops = tmp_path / "ops.json"
    ops.write_text(json.dumps([{"op": "put", "label": "outer_border", "value": {"type": "box", "xyxy": [1, 1, 9, 9]}}]))

    def call(*words: str) -> Any:
        assert run_line(["-w", str(ws.root), "--json", "data", "annotate", "cards", sample.id, *words]) == 0
        return json.loads(capsys.readouterr().out)

    call("--ops", str(ops), "--set", "done", "--who", "ada")
    assert ds.annotations() == {} and ds.samples()[sample.id].status == "unlabelled"
    assert len(state_of(ds, sample.id, "ada").shown) == 1
    shown = call("--who", "ada")
    assert (shown["layer"], shown["status"], len(shown["annotations"])) == ("ada", "done", 1)
    assert call("--who", "ben")["annotations"] == []
    call("--ops", str(ops), "--who", "eve")
    assert len(ds.annotations()[sample.id]) == 1


def test_changes_that_cannot_be_understood_say_how_they_look(ws: Workspace) -> None:
    ds, sample = one_sample(ws, (80, 60))
    with pytest.raises(UsageError, match="cannot be understood") as e:
        annotating.save(ws, ds.name, sample.id, [{"op": "move"}], who="ada", tool="cli", commit="c" * 8)
    assert "put or delete" in e.value.what_to_do


def test_a_sample_with_nothing_but_too_much_found_is_not_said_to_be_off() -> None:
    row = {"sample": "s", "missed": 0, "extra": 2, "worst_px": 0.0, "worst_mm": None}
    assert looping._worst(row)["why"] == "2 found where nothing is labelled"
    assert (
        looping._worst({**row, "worst_px": 1.5})["why"] == "a side is off by 1.5 px, 2 found where nothing is labelled"
    )
