"""What the Annotate page says of the method behind a click, and how it gets the model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from tests.app.conftest import fill, said
from trugrade_core.annotate import sam_weights
from trugrade_core.runs import RunFolder
from trugrade_core.workflows import jobs, segmenter
from trugrade_core.workspace import Workspace, file_sha256

Open = Callable[..., AppTest]
TINY = Path(__file__).resolve().parents[1] / "data" / "sam"
GET = "Get MobileSAM (45 MB, Apache-2.0)"


def given(at: AppTest) -> dict[str, Any]:
    (found,) = [e.proto for e in at.get("bidi_component") if e.proto.component_name == "tg_annotator"]
    return dict(json.loads(json.loads(found.json)["view"]))


def test_the_page_names_the_method_and_gets_the_model_by_a_job(
    ws: Workspace, open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(ws, "cards", 2)
    at = open_page(ws, "annotate", dataset="cards")
    assert given(at)["segment"] == "GrabCut on the crop, no model"
    assert "**Click to segment:** GrabCut on the crop, no model" in said(at)
    folders = list[RunFolder]()

    def launch(folder: RunFolder) -> None:
        folders.append(folder)

    monkeypatch.setattr(jobs, "launch", launch)
    next(b for b in at.button if b.label == GET).click()
    at.run()
    (folder,) = folders
    assert folder.job()["kind"] == "segmenter" and "Get MobileSAM for click to segment" in said(at)
    assert GET not in [b.label for b in at.button]  # it is under way
    folder.append("state", sync=True, state="failed", reason="MobileSAM could not be downloaded: no network",
                  what_to_do="Check the network")  # fmt: skip
    at.run()
    assert "MobileSAM could not be downloaded" in said(at) and GET in [b.label for b in at.button]


def test_with_a_model_it_is_named_and_nothing_is_offered(
    ws: Workspace, open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(ws, "cards", 2)
    segmenter.take(ws, [TINY])
    at = open_page(ws, "annotate", dataset="cards")
    assert "**Click to segment:** SAM-family model" in said(at) and GET not in [b.label for b in at.button]
    digest = file_sha256(TINY / "encoder.onnx")
    first, second = sam_weights.PUBLISHED
    monkeypatch.setattr(sam_weights, "PUBLISHED", (sam_weights.File(first.name, first.url, digest, first.size), second))
    at.run()
    assert given(at)["segment"] == "MobileSAM" and "**Click to segment:** MobileSAM" in said(at)
