"""The page Check: empty, not yet checked, full, stale; a finding let stand and taken back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from tests.app.conftest import CLASSES, add_sample, said
from trugrade_core.data.acceptance import Acceptance, acceptances
from trugrade_core.data.importing import ImportOptions, import_dataset
from trugrade_core.data.store import Dataset, annotation_id, put_entry
from trugrade_core.data.versions import Version
from trugrade_core.schema import Annotation, Box
from trugrade_core.workflows import checking, lookalikes
from trugrade_core.workflows.check_targets import held_out
from trugrade_core.workspace import Workspace

Open = Callable[..., AppTest]


@pytest.fixture
def faulty(full: Workspace) -> Workspace:
    """`full` with a label beside the picture, checked."""
    ds = Dataset.open(full, "cards")
    sample = next(s for s in ds.iter_samples() if s.status == "done")
    value = Box(xyxy=(-90, -90, -20, -20))
    label = Annotation(id=annotation_id(sample.id, CLASSES[1], value), sample=sample.id, label=CLASSES[1], value=value)
    ds.append([put_entry(label, who="maria", tool="annotator")])
    checking.check(full, "cards", deep=False)
    return full


def labels(at: AppTest) -> list[str]:
    return [button.label for button in at.button]


def press(at: AppTest, label: str) -> AppTest:
    next(button for button in at.button if button.label == label).click()
    at.run()
    assert not at.exception, [e.value for e in at.exception]
    return at


def test_without_a_dataset_it_says_what_will_be_here(ws: Workspace, open_page: Open) -> None:
    at = open_page(ws, "check")
    assert "No dataset to check yet" in said(at) and "Import images" in labels(at)


def test_a_dataset_that_nobody_checked_offers_the_check(full: Workspace, open_page: Open) -> None:
    at = open_page(full, "check", dataset="cards")
    assert "Not checked yet" in said(at)
    assert "Check" in labels(at)


def test_verdict_tiles_and_findings_with_their_pictures(faulty: Workspace, open_page: Open) -> None:
    at = open_page(faulty, "check", dataset="cards")
    text = said(at)
    assert "Not fit for this task" in text and "lies wholly outside the picture" in text
    for name in ("Label consistency", "Class balance", "Image quality", "Annotation coverage", "Format validation"):
        assert name in text
    assert "/lab/thumb/" in text and "base64" not in text
    assert "Show the sample" in labels(at) and "Check again" in labels(at)
    assert "fault in the lab" not in text


def test_a_tile_narrows_the_findings(faulty: Workspace, open_page: Open) -> None:
    text = said(open_page(faulty, "check", dataset="cards", check="annotation_coverage"))
    assert "lies wholly outside" not in text.split("tg-found", 1)[1]
    assert "have nobody's word yet" in text


def test_a_finding_is_let_stand_with_a_reason_and_taken_back(faulty: Workspace, open_page: Open) -> None:
    at = open_page(faulty, "check", dataset="cards", check="label_consistency")
    assert any("On other samples and for other tasks it stands open." in c.value for c in at.caption)
    at.text_input(key="who-open-label.off_picture:graphical_border").set_value("ada")
    at.text_area(key="reason-open-label.off_picture:graphical_border").set_value("a test mark")
    at.run()
    at.button(key="accept-open-label.off_picture:graphical_border").click()
    at.run()
    assert not at.exception
    text = said(at)
    assert "a test mark" in text and "ada" in text
    assert [(a.reason, a.task) for a in _accepted(faulty)] == [("a test mark", "border_detection.dual_class")]
    press(at, "Take back")
    assert _accepted(faulty) == []


def _accepted(ws: Workspace) -> list[Acceptance]:

    return acceptances(Dataset.open(ws, "cards"))


def test_a_dataset_that_changed_since_says_so(faulty: Workspace, open_page: Open) -> None:
    sample, _ = add_sample(faulty, 99)
    Dataset.open(faulty, "cards").put_samples([sample])
    assert "has changed since this check" in said(open_page(faulty, "check", dataset="cards"))


def test_a_version_and_a_task_of_ones_own(faulty: Workspace, open_page: Open) -> None:
    checking.check(faulty, "cards@v1", task="border_detection.single_class", deep=False)
    at = open_page(faulty, "check", dataset="cards@v1", task="border_detection.single_class")
    assert "For Border, one class" in said(at)
    assert "lies wholly outside" not in said(at)


def test_labels_are_held_against_the_answers_of_a_judged_run(judged: Workspace, open_page: Open) -> None:
    answers, by = held_out(judged, "cards")
    version = Version.open(judged, "cards@v1")
    assert set(answers or {}) == {s.id for s, _ in version.records("test")} and by.startswith("run ")
    found = checking.check(judged, "cards@v1", deep=False)
    assert f"held against {by}, which never saw them" in found["checks"]["label_consistency"]["why"]
    assert held_out(judged, "another") == (None, "")
    for path in judged.runs.glob("*/evaluation/*/predictions.parquet"):
        path.write_bytes(b"PAR1 damaged")
    assert held_out(judged, "cards") == (None, "")


def test_look_alikes_are_those_that_count_from_the_threshold_on_and_of_the_dataset_as_it_is(
    ws: Workspace, open_page: Open, tmp_path: Path
) -> None:
    """Three unlike pictures; the first again as a JPEG, in another split."""
    rng = np.random.default_rng(0)
    for n in range(3):
        image = cv2.resize(rng.integers(0, 255, (9, 7, 3), np.uint8), (140, 180), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(tmp_path / f"{n}.png"), image)
        if n == 0:
            cv2.imwrite(str(tmp_path / "0-again.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, 60])
    import_dataset(ws, tmp_path, "cards", ImportOptions(format="folder"))
    ds = Dataset.open(ws, "cards")
    ds.put_samples(
        s.model_copy(update={"split": "test" if s.sources[0].endswith(".jpg") else "train"})
        for s in ds.samples().values()
    )
    checking.check(ws, "cards")
    at = open_page(ws, "check", dataset="cards")
    assert "The least alike" not in said(at)
    at.toggle(key="alike-on-cards").set_value(True).run()
    at.slider(key="alike-from-cards").set_value(lookalikes.LEAST).run()
    text = said(at)
    assert not at.exception and "The least alike that still count:" in text
    assert "0-again.jpg" in text and "one scan, changed" in text
    assert '<div class="k">across splits</div><div class="v">1</div>' in text


def test_a_version_says_that_look_alikes_are_of_the_dataset_and_leads_there(full: Workspace, open_page: Open) -> None:
    checking.check(full, "cards@v1", deep=False)
    at = open_page(full, "check", dataset="cards@v1")
    assert "Look-alikes are of a dataset, not of a version" in said(at) and "cards as it is now" in said(at)
    assert not at.toggle
    checking.check(full, "cards", deep=False)
    assert "not of a version" not in said(open_page(full, "check", dataset="cards"))
