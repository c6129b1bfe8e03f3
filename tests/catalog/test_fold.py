"""What is in the files is in the catalog: exactly once, whatever happens to files, writers and publishers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from tests.catalog.workspaces import (
    dump,
    fill,
    make_annotation,
    make_dataset,
    make_evaluation,
    make_export,
    make_job,
    make_run,
    make_sample,
)
from trugrade_core.annotate.label_studio.book import Book, Task, Work, write_book
from trugrade_core.catalog import fold, journals, schema
from trugrade_core.catalog.fold import publish, rebuild
from trugrade_core.catalog.query import run_sql
from trugrade_core.data.store import Dataset, put_entry
from trugrade_core.data.versions import Version, snapshot
from trugrade_core.errors import CatalogError
from trugrade_core.monitor.tracking import TrainingMonitor
from trugrade_core.runs import GRACE_S, RunFolder
from trugrade_core.workspace import Workspace, locked, write_json


def rows(ws: Workspace, sql: str) -> list[tuple[Any, ...]]:
    return run_sql(ws, sql).rows


def one(ws: Workspace, sql: str) -> Any:
    ((value,),) = rows(ws, sql)
    return value


# --- what becomes of the files ----------------------------------------------------------------------------------


def test_a_run_is_found_again_with_everything(ws: Workspace) -> None:
    folder = fill(ws)
    assert publish(ws)
    found = run_sql(ws, "FROM runs")
    row = dict(zip(found.columns, found.rows[0], strict=True))
    assert row["run_id"] == folder.id and row["state"] == "finished" and row["reason"] == "all epochs done"
    assert row["dataset"] == "cards" and row["dataset_version"] == "cards@v1" and row["experiment_id"] == "borders"
    assert (row["last_step"], row["last_epoch"], row["attempts"]) == (4, 0, 1)
    assert (row["main_metric"], row["higher_is_better"], row["best_value"], row["best_step"]) == (
        "val/side_error_mm",
        False,
        0.2,
        4,
    )
    assert row["git_commit"] == "abc" and row["git_dirty"] is False and row["seed"] == 3 and row["random_init"] is True
    assert json.loads(row["config"])["hyperparameters"]["optimization"]["batch_size"] == 4
    assert json.loads(row["result"]) == {"epochs": 1, "nan": None}
    created = json.loads((folder.path / "job.json").read_text())["created"]
    assert row["created"].isoformat() == created.removesuffix("+00:00")
    assert 0 <= row["duration_seconds"] < 60 and row["started"] <= row["ended"]
    assert rows(ws, "SELECT value, value_number, asked, status FROM run_params WHERE name LIKE '%batch_size'") == [
        ("4", 4.0, "auto", "adapted")
    ]
    assert one(ws, "SELECT count(*) FROM metrics WHERE name = 'train/loss'") == 4
    assert rows(ws, "SELECT DISTINCT cpu_run_percent, gpu_percent FROM resources") == [(150.0, None)]
    assert rows(ws, "SELECT name, step, size_bytes FROM checkpoints") == [("best", 4, 5)]
    assert rows(ws, "SELECT kind, state FROM jobs") == [("import", "finished")]
    assert rows(ws, "SELECT * FROM problems") == []


def test_evaluations_exports_and_predictions(ws: Workspace) -> None:
    folder = fill(ws)
    publish(ws)
    assert rows(ws, "SELECT predictor, name, value, low, n_cards FROM eval_metrics ORDER BY ALL") == [
        ("baseline", "side_error_mm", 0.6, 0.1, 2),
        ("model", "mask_map", None, None, None),
        ("model", "side_error_mm", 0.25, 0.1, 2),
    ]
    assert one(ws, "SELECT count(*) FROM predictions WHERE variant = 'plain'") == 2
    assert rows(ws, "SELECT DISTINCT side_error_px, round(side_error_mm, 6) FROM eval_objects") == [(1.0, 0.1)]
    assert rows(ws, "SELECT format, run_id, size_bytes, created FROM exports")[0][:3] == ("onnx", folder.id, 7)
    assert str(one(ws, "SELECT created FROM exports")) == "2026-01-02 01:04:05"
    assert rows(ws, "SELECT passed, compared FROM parity") == [(True, 8)]
    assert rows(ws, "SELECT task, run_id, direction, best_value, test_value, runs FROM best_runs") == [
        ("border_detection.dual_class", folder.id, "lower is better", 0.2, 0.25, 1)
    ]
    kinds = {row[0] for row in rows(ws, "SELECT DISTINCT kind FROM experiments")}
    assert kinds == {"run", "tracked"}


def test_an_artifact_leads_back_to_the_scans(ws: Workspace) -> None:
    fill(ws)
    publish(ws)
    title = "Where an artifact comes from, back to the scans"
    from trugrade_core.catalog.examples import EXAMPLES

    found = rows(ws, dict(EXAMPLES)[title])
    assert {row[0] for row in found} == {"checkpoint", "run", "dataset_version", "sample", "image"}
    assert sum(row[0] == "image" for row in found) == 6


def test_best_runs_go_by_the_metrics_direction_and_ignore_nan(ws: Workspace) -> None:
    make_run(ws, best=0.3)
    best = make_run(ws, best=0.1)
    make_run(ws, best=float("nan"))
    make_run(ws, best=0.05, dataset="cards@v2")
    publish(ws)
    found = rows(ws, "SELECT dataset_version, run_id, best_value, runs FROM best_runs ORDER BY 1")
    assert found[0] == ("cards@v1", best.id, 0.1, 2) and found[1][2] == 0.05


def test_datasets_samples_and_labels(ws: Workspace) -> None:
    ids = make_dataset(ws)
    publish(ws)
    assert rows(
        ws, "SELECT dataset, samples, cards, samples_done, annotations, versions, newest_version FROM datasets"
    ) == [("cards", 6, 6, 6, 6, 1, "cards@v1")]
    assert one(ws, "SELECT sum(train_samples + val_samples + test_samples) FROM dataset_versions") == 6
    assert one(ws, "SELECT count(*) FROM version_annotations WHERE type = 'box'") == 6
    row = rows(
        ws, f"SELECT width_px, height_px, dpi, image_bytes, card, files FROM samples WHERE sample_id = '{ids[1]}'"
    )
    assert row == [(100, 140, 300.0, 1001, "card-1", '["scans/1 ü.png"]')]
    version = Version.open(ws, "cards")
    assert dict(rows(ws, "SELECT sample_id, split FROM version_samples")) == {s.id: s.split for s in version.samples()}


def test_labels_in_the_catalog_are_those_of_the_dataset(ws: Workspace) -> None:
    """Changed, deleted, put back and in conflict: the view follows the dataset's own rule."""
    ids = make_dataset(ws)
    ds = Dataset.open(ws, "cards")
    log = {entry.sample: entry for entry in ds.log()}
    publish(ws)

    def put(sample: str, x0: float, replaces: str | None) -> None:
        said = make_annotation(sample, x0).model_copy(update={"id": log[sample].annotation})
        ds.append([put_entry(said, who="bo", tool="canvas", replaces=replaces)])

    put(ids[0], 20.0, log[ids[0]].entry)  # changed
    ds.append(
        [log[ids[1]].model_copy(update={"entry": "gone", "op": "delete", "value": None, "replaces": log[ids[1]].entry})]
    )
    put(ids[2], 30.0, None)  # two heads: the newest counts
    put(ids[3], 40.0, log[ids[3]].entry)
    put(ids[3], 41.0, log[ids[3]].entry)  # both replace the same entry
    publish(ws)
    expected = {
        (sample, a.id, a.value.xyxy[0])  # type: ignore[union-attr]
        for sample, found in ds.annotations().items()
        for a in found
    }
    query = (
        "SELECT sample_id, annotation_id, CAST(value -> '$.xyxy[0]' AS DOUBLE) FROM annotations WHERE layer = 'main'"
    )
    assert set(rows(ws, query)) == expected and len(expected) == 5


def test_a_changed_sample_replaces_its_row(ws: Workspace) -> None:
    ids = make_dataset(ws)
    publish(ws)
    ds = Dataset.open(ws, "cards")
    ds.put_samples([ds.samples()[ids[0]].model_copy(update={"status": "rescan"}), make_sample(99)])
    publish(ws)
    assert one(ws, "SELECT count(*) FROM samples") == 7
    assert rows(ws, f"SELECT status FROM samples WHERE sample_id = '{ids[0]}'") == [("rescan",)]
    first = dump(ws)
    snapshot(ds)
    publish(ws)
    assert one(ws, "SELECT count(*) FROM dataset_versions") == 2
    assert len(dump(ws)["version_samples"]) == len(first["version_samples"]) + 7


# --- incremental ------------------------------------------------------------------------------------------------


def test_incremental_equals_rebuild(ws: Workspace) -> None:
    ids = make_dataset(ws)
    publish(ws)
    folder = make_run(ws)
    publish(ws)
    make_evaluation(folder, ids[:2])
    publish(ws)
    folder.append("resumed", attempt=2, from_step=2)
    with TrainingMonitor(folder) as monitor:
        for step in (3, 4, 5):
            monitor("metrics", step=step, epoch=1, batch=step, values={"train/loss": 9.0})
            publish(ws)
        monitor("metrics", step=5, epoch=1, values={"val/side_error_mm": 0.1})
    Dataset.open(ws, "cards").put_samples([make_sample(50)])
    make_export(ws, folder)
    make_job(ws)
    make_run(ws, best=0.9, state="stopped")
    publish(ws)
    incremental = dump(ws)
    rebuild(ws)
    assert dump(ws) == incremental
    assert rows(ws, f"SELECT step, value, attempt FROM metrics WHERE run_id = '{folder.id}' AND name = 'train/loss' ORDER BY 1") == [
        (1, 1.0, 1), (2, 0.5, 1), (3, 9.0, 2), (4, 9.0, 2), (5, 9.0, 2)
    ]  # fmt: skip
    assert one(ws, f"SELECT count(*) FROM metrics_all WHERE run_id = '{folder.id}' AND name = 'train/loss'") == 7


def test_nothing_new_publishes_nothing(ws: Workspace) -> None:
    fill(ws)
    publish(ws)
    inode = ws.catalog.stat().st_ino
    os.utime(ws.catalog, (1, 1))
    assert publish(ws)
    assert ws.catalog.stat().st_ino == inode
    assert ws.catalog.stat().st_mtime > 1  # it was looked at


def test_journals_longer_than_a_chunk(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(ws)
    rebuild(ws)
    whole = dump(ws)
    monkeypatch.setattr(journals, "CHUNK_BYTES", 700)
    monkeypatch.setattr(journals, "PIECE_BYTES", 300)
    rebuild(ws)
    assert dump(ws) == whole


def test_removed_things_leave_the_catalog(ws: Workspace) -> None:
    folder = fill(ws)
    kept = make_run(ws)
    publish(ws)
    ws.to_trash(folder.path)
    for name in ("cards", "votes"):
        ws.to_trash(ws.datasets / name)
    ws.to_trash(ws.exports / f"{folder.id}-onnx")
    publish(ws)
    assert rows(ws, "SELECT run_id FROM runs") == [(kept.id,)]
    for table in ("samples", "annotation_log", "version_samples", "exports", "eval_metrics", "predictions", "datasets"):
        assert one(ws, f"SELECT count(*) FROM {table}") == 0, table
    assert rows(ws, "SELECT DISTINCT run_id FROM metrics_all") == [(kept.id,)]
    incremental = dump(ws)
    rebuild(ws)
    assert dump(ws) == incremental


def test_a_run_whose_process_vanished_is_crashed(ws: Workspace) -> None:
    folder = RunFolder.create(ws.runs, {"kind": "train"})
    folder.queue()
    with TrainingMonitor(folder) as monitor, locked(folder.path / ".lock"):
        monitor("state", state="running", reason="")
        publish(ws)
        assert rows(ws, "SELECT state, ended FROM runs") == [("running", None)]
    publish(ws)  # no new event: only the lock is free now
    state, ended, next_step = rows(ws, "SELECT state, ended, what_to_do FROM runs")[0]
    assert state == "crashed" and ended is not None and "resume" in next_step
    assert GRACE_S > 0


# --- damage -----------------------------------------------------------------------------------------------------


def test_a_torn_line_is_skipped_and_the_next_one_is_not(ws: Workspace) -> None:
    folder = make_run(ws)
    journal = folder.path / "events.jsonl"
    with journal.open("ab") as f:
        f.write(b'{"run": "' + folder.id.encode() + b'", "kind": "metr')
    publish(ws)
    before = one(ws, "SELECT count(*) FROM metrics_all")
    with TrainingMonitor(folder) as monitor:
        monitor("metrics", step=99, epoch=3, batch=0, values={"train/loss": 1.0})
    publish(ws)
    assert one(ws, "SELECT count(*) FROM metrics_all") == before + 1


NONSENSE = [
    b"\xff\xfe\x00garbage",
    b"[1, 2]",
    b"null",
    b"5",
    b'"text"',
    b"{}",
    b'{"run": "x", "kind": "metrics", "t": 1e300, "values": {"a": 1}}',
    b'{"run": "x", "kind": "metrics", "t": "soon", "values": {"a": 1}}',
    b'{"run": "x", "kind": "metrics", "t": 1, "values": [1]}',
    b'{"run": "x", "kind": "metrics", "t": 1, "step": "two", "values": 5}',
    b'{"run": "x", "kind": "resources", "t": 1, "values": "none"}',
    b'{"run": 5, "kind": {"a": 1}, "t": 1}',
    b"",
    b"\x00" * 50,
]


def test_nonsense_in_a_journal_costs_only_itself(ws: Workspace) -> None:
    folder = make_run(ws)
    make_dataset(ws)
    for name in ("samples.jsonl", "annotations.jsonl"):
        with (ws.datasets / "cards" / name).open("ab") as f:
            f.write(b"\n".join(NONSENSE) + b"\n")
    with TrainingMonitor(folder) as monitor:
        for step, line in enumerate(NONSENSE, 100):
            with (folder.path / "events.jsonl").open("ab") as f:
                f.write(line + b"\n")
            monitor("metrics", step=step, epoch=3, batch=0, values={"train/loss": 1.0})
    publish(ws)
    found = rows(
        ws, f"SELECT step FROM metrics_all WHERE run_id = '{folder.id}' AND name = 'train/loss' AND step >= 100"
    )
    assert sorted(found) == [(100 + i,) for i in range(len(NONSENSE))]
    assert rows(ws, "SELECT run_id, state FROM runs") == [(folder.id, "finished")]
    assert one(ws, "SELECT count(*) FROM samples") == 6
    assert one(ws, "SELECT count(*) FROM annotations") == 6


@pytest.mark.parametrize(
    "line", ['{"run": "x", "kind": "state", "t": 1}', '{"run": "x", "kind": "state", "t": 1, "state": ["a"]}']
)
def test_a_state_that_is_none_does_not_stop_the_catalog(ws: Workspace, line: str) -> None:
    folder = make_run(ws)
    with (folder.path / "events.jsonl").open("a") as f:
        f.write(line + "\n")
    publish(ws)
    assert one(ws, "SELECT count(*) FROM runs") == 1


def test_damaged_files_are_named_and_the_rest_is_there(ws: Workspace) -> None:
    folder = fill(ws)
    other = make_run(ws)
    (folder.path / "checkpoints" / "best.json").write_text("{half")
    (folder.path / "evaluation" / "test" / "predictions.parquet").write_bytes(b"PAR1 not really")
    (ws.exports / f"{folder.id}-onnx" / "manifest.json").write_text("[]")
    (ws.datasets / "cards" / "versions" / "v1" / "samples.parquet").write_bytes(b"")
    (other.path / "job.json").write_text('{"kind": "train", "created": "yesterday"}')
    (other.path / "plan.json").unlink()
    publish(ws)
    found = dict(rows(ws, "SELECT source, what FROM problems"))
    assert "not readable JSON" in found[f"runs/{folder.id}/checkpoints/best.json"]
    assert "predictions.parquet cannot be read" in found[f"runs/{folder.id}/evaluation/test/evaluation.json"]
    assert "not an object" in found[f"exports/{folder.id}-onnx/manifest.json"]
    assert "samples.parquet cannot be read" in found["datasets/cards/versions/v1/version.json"]
    assert "'created' does not fit" in found[f"runs/{other.id}/job.json"]
    assert len(found) == 5
    assert one(ws, "SELECT count(*) FROM eval_metrics") == 3
    state, reason = rows(ws, f"SELECT state, reason FROM runs WHERE run_id = '{other.id}'")[0]
    assert state == "finished" and "damaged folder" in reason
    # mended, the rows come and the problem goes
    write_json(folder.checkpoints / "best.json", {"digest": "x", "bytes": 1, "step": 1, "epoch": 0})
    (other.path / "job.json").write_text('{"kind": "train", "created": "2026-01-01T00:00:00+00:00"}')
    publish(ws)
    assert len(rows(ws, "FROM problems")) == 3
    assert one(ws, f"SELECT count(*) FROM checkpoints WHERE run_id = '{folder.id}'") == 1
    assert publish(ws) and len(rows(ws, "FROM problems")) == 3


def test_a_half_written_run_folder_is_a_row_that_says_so(ws: Workspace) -> None:
    folder = make_run(ws)
    (folder.path / "job.json").unlink()
    (ws.runs / "20260101-000000-abcd").mkdir()  # killed before anything was in it
    publish(ws)
    state, reason = rows(ws, "SELECT state, reason FROM runs")[0]
    assert state == "finished" and "job.json is missing" in reason
    assert len(rows(ws, "FROM runs")) == 1


def test_a_journal_that_was_replaced_is_read_anew(ws: Workspace) -> None:
    folder = make_run(ws, steps=20)
    publish(ws)
    (folder.path / "events.jsonl").unlink()
    folder.queue()
    publish(ws)
    assert one(ws, "SELECT count(*) FROM metrics_all") == 0
    assert rows(ws, "SELECT state FROM runs") == [("queued",)]


def test_a_dataset_of_the_same_name_is_read_from_its_first_sample(ws: Workspace) -> None:
    make_dataset(ws, count=3)
    publish(ws)
    ws.to_trash(ws.datasets / "cards")
    old = {row[0] for row in rows(ws, "SELECT sample_id FROM samples")}
    new = [make_sample(n) for n in range(50, 70)]
    Dataset.create(ws, "cards", []).put_samples(new)  # a larger one takes its place before anybody publishes
    publish(ws)
    found = {row[0] for row in rows(ws, "SELECT sample_id FROM samples")}
    assert found == {sample.id for sample in new} and not found & old
    assert one(ws, "SELECT count(*) FROM annotation_log") == 0
    incremental = dump(ws)
    rebuild(ws)
    assert dump(ws) == incremental


DAMAGE = {
    "plan.json": ('{"plan": {"a": {"value": 1}, "a.b": {"value": 2}}}', "'a' is a value and holds 'b'"),
    "environment.json": ('{"seed": 18446744073709551616}', "'seed' does not fit"),
    "job.json": ('{"title": "x\\ud800"}', "'title' does not fit"),
    "job.json ": ('{"created": 1e18}', "'created' does not fit"),
    "checkpoints/best.json": ('{"bytes": 1e30}', "'size_bytes' does not fit"),
    "checkpoints/latest.json": ("[" * 50_000, "not readable JSON"),
    "plan.json ": ('{"plan": {"x\\ud800": 1}}', "is not an object"),
}


@pytest.mark.parametrize(("file", "text", "says"), [(file, *rest) for file, rest in DAMAGE.items()])
def test_values_that_no_column_holds_cost_only_their_file(ws: Workspace, file: str, text: str, says: str) -> None:
    damaged, other = make_run(ws), make_run(ws)
    (damaged.path / file.strip()).parent.mkdir(exist_ok=True)
    (damaged.path / file.strip()).write_text(text)
    publish(ws)
    found = rows(ws, "SELECT source, what FROM problems")
    assert found and all(source.startswith(f"runs/{damaged.id}/") for source, _ in found)
    assert any(says in what for _, what in found), found
    assert {row[0] for row in rows(ws, "SELECT run_id FROM runs")} == {damaged.id, other.id}
    assert one(ws, f"SELECT count(*) FROM run_params WHERE run_id = '{other.id}'") > 0


def test_words_of_a_journal_that_no_column_holds_cost_only_themselves(ws: Workspace) -> None:
    damaged, other = make_run(ws), make_run(ws)
    with (damaged.path / "events.jsonl").open("a") as f:
        said = {"run": damaged.id, "kind": "state", "t": 1.7e9, "attempt": 1, "state": "failed", "reason": "\ud800"}
        f.write(json.dumps(said) + "\n")
    publish(ws)
    found = dict(rows(ws, "SELECT run_id, state FROM runs"))
    assert found == {damaged.id: "failed", other.id: "finished"}
    assert "'reason' does not fit" in one(ws, "SELECT what FROM problems")


@pytest.mark.parametrize("content", [b"this is no database", b"", os.urandom(20_000)])
def test_garbage_in_place_of_the_catalog_is_replaced(ws: Workspace, content: bytes) -> None:
    folder = fill(ws)
    publish(ws)
    ws.catalog.unlink()
    ws.catalog.write_bytes(content)
    assert rows(ws, "SELECT run_id FROM runs") == [(folder.id,)]  # asking repairs it
    ws.catalog.unlink()
    ws.catalog.write_bytes(content)
    publish(ws)
    assert rows(ws, "SELECT run_id FROM runs") == [(folder.id,)]


def test_half_a_catalog_is_replaced(ws: Workspace) -> None:
    folder = fill(ws)
    publish(ws)
    data = ws.catalog.read_bytes()
    ws.catalog.unlink()
    ws.catalog.write_bytes(data[: len(data) // 2])
    folder.append("note", text="news")
    publish(ws)
    assert rows(ws, "SELECT run_id FROM runs") == [(folder.id,)]


def test_another_schema_version_is_made_again(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = fill(ws)
    with monkeypatch.context() as older:
        older.setattr(schema, "ROWS", 0)
        publish(ws)
        before = one(ws, "SELECT schema_version FROM catalog_info")
    publish(ws)
    assert one(ws, "SELECT schema_version FROM catalog_info") == schema.version() != before
    assert rows(ws, "SELECT run_id FROM runs") == [(folder.id,)]


def test_a_stale_write_ahead_log_does_no_harm(ws: Workspace, tmp_path: Path) -> None:
    folder = fill(ws)
    publish(ws)
    copy = tmp_path / "copy.duckdb"
    shutil.copyfile(ws.catalog, copy)
    copy.chmod(0o644)
    code = (
        "import duckdb, os, sys; con = duckdb.connect(sys.argv[1]); con.execute('SET checkpoint_threshold = \"1GB\"')\n"
        "con.execute(\"INSERT INTO catalog_journals VALUES ('intruder', 1, '')\"); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(copy)], check=False)
    wal = copy.with_name("copy.duckdb.wal")
    assert wal.exists()
    shutil.copyfile(wal, ws.root / "catalog.duckdb.wal")
    folder.append("note", text="news")
    publish(ws)
    assert not (ws.root / "catalog.duckdb.wal").exists()
    assert rows(ws, "SELECT path FROM catalog_journals WHERE path = 'intruder'") == []
    # one that appears later: DuckDB refuses to open the file, and asking makes it again
    shutil.copyfile(wal, ws.root / "catalog.duckdb.wal")
    with pytest.raises(duckdb.Error, match="WAL"):
        duckdb.connect(str(ws.catalog), read_only=True)
    assert rows(ws, "SELECT path FROM catalog_journals WHERE path = 'intruder'") == []
    assert not (ws.root / "catalog.duckdb.wal").exists()


def test_a_moved_workspace_goes_on_without_a_rebuild(
    ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fill(ws)
    publish(ws)
    before = dump(ws)
    moved = tmp_path / "else where's"
    ws.root.rename(moved)
    there = Workspace.open(moved)
    updates: list[bool] = []
    real = fold._update
    monkeypatch.setattr(
        fold, "_update", lambda ws, temp, *, fresh: updates.append(fresh) or real(ws, temp, fresh=fresh)
    )
    RunFolder(there.runs / folder.id).append("note", text="moved")
    publish(there)
    assert updates == [False]
    after = dump(there)
    assert len(after.pop("run_events")) == len(before.pop("run_events")) + 1
    for found in (after, before):
        found.pop("catalog_journals")
        found.pop("runs")
    assert after == before


def test_the_published_file_is_whole_readonly_and_alone(ws: Workspace) -> None:
    fill(ws)
    (ws.root / ".catalog.tmp").write_bytes(b"left by a kill")
    (ws.root / ".catalog.tmp.wal").write_bytes(b"left by a kill")
    publish(ws)
    assert ws.catalog.stat().st_mode & 0o777 == 0o444
    assert not list(ws.root.glob(".catalog.*"))
    with duckdb.connect(":memory:") as con:
        con.execute(f"ATTACH '{ws.catalog}' AS c (READ_ONLY)")
        tags = con.execute("SELECT tags FROM duckdb_databases() WHERE database_name = 'c'").fetchone()
    assert tags is not None and tags[0]["storage_version"].startswith("v1.4.0")


def test_one_publisher_at_a_time(ws: Workspace) -> None:
    fill(ws)
    with locked(ws.locks / "catalog"):
        assert publish(ws) is False
    assert not ws.catalog.exists()
    assert publish(ws) is True


def test_a_disk_that_cannot_be_written_is_said(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(ws)
    publish(ws)
    before = ws.catalog.read_bytes()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    make_run_folder = RunFolder(next(iter(ws.runs.iterdir())))
    with (make_run_folder.path / "events.jsonl").open("ab") as f:
        f.write(b'{"run": "x", "kind": "note", "t": 1}\n')
    with pytest.raises(CatalogError, match="could not be published"):
        publish(ws)
    assert ws.catalog.read_bytes() == before


def test_activity_and_agreement_of_graders(ws: Workspace) -> None:
    from datetime import UTC, datetime, timedelta

    from trugrade_core.annotate.agreement import quadratic_kappa
    from trugrade_core.schema import LogEntry, Score, Status

    ds = Dataset.create(ws, "corners")
    samples = [make_sample(n) for n in range(5)]
    ds.put_samples(samples)
    begun = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
    votes = {"ada": (5.0, 6.0, 7.0, 8.0, 9.0), "ben": (5.5, 6.0, 7.0, 9.0, 8.5)}
    at = 0
    for grader, scores in votes.items():
        for n, score in enumerate(scores):
            at += 1
            when = begun + timedelta(minutes=2 * n + (60 if n == 4 else 0), hours=grader == "ben")
            entry = {"annotation": f"{grader}{n}", "sample": samples[n].id, "layer": grader, "op": "put", "who": grader,
                     "when": when, "tool": "annotator"}  # fmt: skip
            ds.append([LogEntry(entry=f"{at:026d}", value=Score(score=score), **entry)])
    said = {"annotation": "s", "sample": samples[0].id, "op": "put", "who": "ada", "when": begun, "tool": "import x"}
    ds.append([LogEntry(entry="9" * 26, value=Status(status="done"), **said)])
    publish(ws)
    (pair,) = rows(ws, "SELECT grader, other, samples, within_half, quadratic_kappa FROM agreement")
    a, b = (np.array(votes[g]) for g in ("ada", "ben"))
    assert pair[:4] == ("ada", "ben", 5, 0.8) and pair[4] == pytest.approx(quadratic_kappa(a, b))
    activity = rows(ws, "SELECT who, tool, changes, samples, minutes FROM annotation_activity ORDER BY who")
    assert activity == [("ada", "annotator", 5, 5, 6.0), ("ben", "annotator", 5, 5, 6.0)]
    assert rows(ws, "SELECT count(*) FROM annotations WHERE type = 'status'") == [(0,)]


def test_work_at_label_studio_counts_with_its_minutes_on_its_own_day(ws: Workspace) -> None:
    ids, ds = make_dataset(ws), Dataset(ws, "cards")
    day = datetime(2026, 3, 1, 23, 50, tzinfo=UTC)
    first, second = ({str(n): Work(who="ada", seconds=90, when=day + timedelta(hours=n))} for n in (0, 1))
    write_book(ds, Book(samples={
        ids[0]: Task(id=1, url="u", state="pulled", work=first), ids[1]: Task(id=2, url="u", state="pulled", work=second),
        ids[2]: Task(id=3, url="u", state="pushed")}))  # fmt: skip
    publish(ws)
    found = rows(ws, "SELECT who, tool, CAST(day AS VARCHAR), changes, samples, minutes FROM annotation_activity WHERE tool = 'label_studio' ORDER BY day")  # fmt: skip
    assert found == [("ada", "label_studio", "2026-03-01", 1, 1, 1.5), ("ada", "label_studio", "2026-03-02", 1, 1, 1.5)]
    (ds.path / "label_studio.json").write_text('{"samples": 3}')
    publish(ws)
    assert one(ws, "SELECT count(*) FROM label_studio_work") == 0
    assert one(ws, "SELECT count(*) FROM problems WHERE source LIKE '%label_studio.json'") == 1


def test_findings_of_the_last_check_are_rows(ws: Workspace) -> None:
    from trugrade_core.workflows import checking

    make_dataset(ws)
    checking.check(ws, "cards", task="border_detection.dual_class", deep=False)
    publish(ws)
    found = rows(ws, "SELECT dataset, subject, check_name, severity, samples, why FROM findings ORDER BY code")
    assert found and {row[:2] for row in found} == {("cards", "cards")}
    assert any(check == "class_balance" and "graphical_border" in why for _, _, check, _, _, why in found)
    for file in (ws.datasets / "cards" / "checks").glob("*.json"):
        file.write_text('{"name": "cards", "results": 3}')
    publish(ws)
    assert one(ws, "SELECT count(*) FROM findings") == 0
    assert one(ws, "SELECT count(*) FROM problems WHERE what LIKE '%not what its place says%'") == 1
