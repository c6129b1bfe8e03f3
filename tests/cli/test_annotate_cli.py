"""trugrade data annotate and conflicts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.app.conftest import fill
from trugrade_core.annotate.saving import state_of
from trugrade_core.cli import run_line
from trugrade_core.data.store import Dataset
from trugrade_core.workspace import Workspace


def run(ws: Workspace, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, Any]:
    code = run_line(["-w", str(ws.root), "--json", "data", *words])
    out = capsys.readouterr().out
    return code, json.loads(out)


@pytest.fixture
def ds(ws: Workspace) -> Dataset:
    return fill(ws, "cards", 4)


def test_changes_from_a_file_are_saved_once_and_shown(
    ws: Workspace, ds: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    id = next(iter(ds.samples()))
    ops = tmp_path / "ops.json"
    ops.write_text(
        json.dumps(
            [
                {
                    "op": "put",
                    "label": "outer_border",
                    "value": {"type": "polygon", "points": [[1, 1], [60, 1], [60, 90]]},
                }
            ]
        )
    )
    words = (
        "annotate",
        "cards",
        id,
        "--ops",
        str(ops),
        "--commit",
        "my-commit-1",
        "--who",
        "zoë 🙂",
        "--set",
        "unsure",
        "--comment",
        "glare",
    )
    code, found = run(ws, capsys, *words)
    assert code == 0 and len(found["entries"]) == 2 and not found["again"]
    assert run(ws, capsys, *words)[1]["again"]
    _, shown = run(ws, capsys, "annotate", "cards", id)
    assert (shown["status"], shown["comment"], len(shown["annotations"])) == ("unsure", "glare", 3)
    assert shown["annotations"][-1]["who"] == "zoë 🙂" and shown["annotations"][-1]["tool"] == "cli"


@pytest.mark.parametrize(
    ("words", "message"),
    [(("--comment", "x"), "--comment goes with a status"), (("--ops", "nowhere.json"), "cannot be read"), (("--set", "finished"), "cannot be understood")],
)  # fmt: skip
def test_what_cannot_be_done_is_said(
    ws: Workspace, ds: Dataset, words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = run(ws, capsys, "annotate", "cards", next(iter(ds.samples())), *words)
    assert code and message in found["error"]["message"]


def test_conflicts_are_listed_and_settled(
    ws: Workspace, ds: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    id = next(iter(ds.samples()))
    head = state_of(ds, id).shown[0]
    for who, right in (("ana", 60), ("ben", 61)):
        ops = tmp_path / f"{who}.json"
        value = {"type": "box", "xyxy": [6, 7, right, 89]}
        ops.write_text(
            json.dumps(
                [
                    {
                        "op": "put",
                        "annotation": head.annotation,
                        "label": head.label,
                        "value": value,
                        "replaces": head.entry,
                    }
                ]
            )
        )
        assert run(ws, capsys, "annotate", "cards", id, "--ops", str(ops), "--who", who)[0] == 0
    _, (row,) = run(ws, capsys, "conflicts", "cards")
    assert [h["who"] for h in row["heads"]] == ["ana", "ben"]
    code, found = run(
        ws, capsys, "conflicts", "cards", "--resolve", row["annotation"], "--keep", row["heads"][0]["entry"]
    )
    assert code == 2 and "--reason" in found["error"]["message"]
    code, found = run(
        ws,
        capsys,
        "conflicts",
        "cards",
        "--resolve",
        row["annotation"],
        "--keep",
        row["heads"][0]["entry"],
        "--reason",
        "nearer",
    )
    assert code == 0 and run(ws, capsys, "conflicts", "cards")[1] == []
