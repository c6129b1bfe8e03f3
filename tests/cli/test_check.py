"""`trugrade data check`: the agreed shape, what people read, letting a finding stand, and every wrong use named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from trugrade_core.cli import run_line
from trugrade_core.data.importing import ImportOptions, import_dataset
from trugrade_core.workspace import Workspace

Call = Callable[..., tuple[int, Any]]
FIVE = ["label_consistency", "class_balance", "image_quality", "annotation_coverage", "format_validation"]


@pytest.fixture
def call(ws: Workspace, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run a line with `--json`; (exit code, document)."""

    def run(*words: str) -> tuple[int, Any]:
        code = run_line(["-w", str(ws.root), "--json", *words])
        return code, json.loads(capsys.readouterr().out)

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six scans with YOLO boxes of two borders, on the last of them swapped."""
    root = tmp_path / "scans"
    for name in ("images", "labels"):
        (root / name).mkdir(parents=True)
    (root / "data.yaml").write_text("names: [outer_border, graphical_border]\n")
    for n in range(6):
        image = np.random.default_rng(n).integers(0, 255, (98, 70, 3), dtype=np.uint8)
        cv2.imwrite(str(root / "images" / f"card{n}.png"), image)
        lines = ["0 0.5 0.5 0.8 0.8", "1 0.5 0.5 0.6 0.6"]
        if n == 5:
            lines = ["1 0.5 0.5 0.8 0.8", "0 0.5 0.5 0.6 0.6"]
        (root / "labels" / f"card{n}.txt").write_text("\n".join(lines))
    return root


@pytest.fixture
def cards(ws: Workspace, folder: Path) -> str:
    import_dataset(ws, folder, "cards", ImportOptions())
    return "cards"


def test_the_json_has_the_agreed_shape(call: Call, cards: str) -> None:
    code, found = call("data", "check", cards)
    assert code == 0
    assert found["verdict"] == "not_fit" and found["task"] == "border_detection.dual_class"
    assert list(found["checks"]) == FIVE
    assert all({"status", "score"} <= set(row) for row in found["checks"].values())
    swapped = next(f for f in found["findings"] if f["code"] == "label.swapped")
    assert swapped["check"] == "label_consistency" and swapped["severity"] == "error" and len(swapped["samples"]) == 1
    assert "swapped" in swapped["why"] and swapped["action"]


def test_a_folder_with_its_labels_named_and_the_quick_way(call: Call, folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "r.html"
    code, found = call("data", "check", str(folder), "--quick", "--html", str(page), "--dpi", "100")
    assert code == 0 and found["samples"] == 6 and not found["deep"]
    assert "Not fit for this task" in page.read_text()


def test_people_read_the_verdict_its_reason_and_what_to_do(
    ws: Workspace, cards: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_line(["-w", str(ws.root), "data", "check", cards, "--quick"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("Not fit (Borders, outer and graphical)\nBecause 1 of 6 samples (17 %) have an error")
    assert "error  label.swapped:graphical_border" in out and "Swap the two classes on these samples." in out
    assert "Let one stand: trugrade data check cards --accept CODE" in out


def test_a_finding_is_let_stand_by_name_and_reason_and_taken_back(call: Call, cards: str) -> None:
    call("data", "check", cards, "--quick")
    code, found = call("data", "check", cards, "--accept", "label.swapped", "--who", "ada", "--reason", "a test card")
    assert code == 0 and found["verdict"] == "reservations"
    stands = next(f for f in found["findings"] if "accepted" in f)
    assert stands["code"] == "label.swapped" and stands["accepted"][0]["who"] == "ada"
    code, found = call(
        "data", "check", cards, "--withdraw", "label.swapped:graphical_border", "--who", "ada", "--reason", "no"
    )
    assert code == 0 and found["verdict"] == "not_fit"


@pytest.mark.parametrize(
    ("words", "exit_code", "says"),
    [
        (["/nowhere"], 1, "'/nowhere' is neither a dataset of this workspace nor a folder or file"),
        (["cardz"], 1, "'cardz' is neither"),
        (["cards@v9"], 1, "has no version yet"),
        (["cards", "--task", "border"], 2, "no task 'border'"),
        (["cards", "--accept", "label.swapped", "--reason", "x"], 1, "was not checked yet"),
        (["cards", "--reason", "x"], 2, "are for --accept or --withdraw"),
        (["cards", "--accept", "a", "--withdraw", "b"], 2, "give one of them"),
        (["cards", "--withdraw", "label.x", "--reason", "x"], 1, "nothing of 'label.x' was accepted"),
        (["cards", "--classes", "a,b"], 2, "say how to read a folder"),
    ],
)
def test_wrong_use_is_named(call: Call, cards: str, words: list[str], exit_code: int, says: str) -> None:
    code, found = call("data", "check", *words)
    assert code == exit_code
    assert says in found["error"]["message"]


def test_accepting_what_is_not_open_or_without_a_reason(call: Call, cards: str) -> None:
    call("data", "check", cards, "--quick")
    code, found = call("data", "check", cards, "--accept", "label.swaped", "--reason", "x")
    assert (
        code == 2 and "no open finding" in found["error"]["message"] and "label.swapped" in found["error"]["what_to_do"]
    )
    code, found = call("data", "check", cards, "--accept", "label.swapped", "--reason", " ")
    assert code == 2 and "without a reason" in found["error"]["message"]
    code, found = call(
        "data", "check", cards, "--accept", "label.swapped", "--reason", "x", "--samples", "0000000000000000"
    )
    assert code == 2 and "is not held against sample" in found["error"]["message"]


def test_an_import_and_a_snapshot_say_what_the_cheap_part_found(call: Call, folder: Path) -> None:
    code, found = call("data", "import", str(folder), "--dataset", "again")
    assert code == 0 and found["check"]["verdict"] == "not_fit" and "swapped" in found["check"]["reason"]
    code, found = call("data", "split", "again")
    assert code == 0 and found["check"]["verdict"] == "not_fit"
