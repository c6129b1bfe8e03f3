"""Label Studio: a push and a pull of 1,000 tasks with their labels, against a real server on this machine.

The server is started by `trugrade label serve` in a workspace of the bench's own, so it needs `make label-studio`.
Annotators are played by the server's API: every prediction is taken over and submitted as it is, and must come back
without a change.
"""

from __future__ import annotations

import socket
import time
from pathlib import Path

import cv2
import numpy as np

from benchmarks.measure import Row
from trugrade_core.annotate.label_studio import serve as serving
from trugrade_core.annotate.label_studio.book import read_book
from trugrade_core.data.images import probe
from trugrade_core.data.store import Dataset, annotation_id, put_entry, sample_id
from trugrade_core.errors import LabelStudioError
from trugrade_core.schema import Annotation, Box, ClassDef, Polygon, Sample
from trugrade_core.workflows import labelling
from trugrade_core.workspace import Workspace, write_atomic

TASKS = 1000
NAME = "cards"


def bench(scratch: Path, quick: bool) -> list[Row]:
    ws = Workspace.open(scratch / "workspace")
    count = 20 if quick else TASKS
    with socket.socket() as probe_:
        probe_.bind(("127.0.0.1", 0))
        port = probe_.getsockname()[1]
    begun = time.monotonic()
    try:
        serving.serve(ws, port=port)
    except LabelStudioError as e:
        return [Row(name="Label Studio", figure=None, unit="", note=f"not run: {e.message}; {e.what_to_do}")]
    try:
        serving.wait_until_up(ws, 600)
        started = time.monotonic() - begun
        fill(ws, count)
        pushed = _seconds(lambda: labelling.push(ws, NAME))
        again = _seconds(lambda: labelling.push(ws, NAME))
        submit_all(ws)
        taken: dict[str, object] = {}
        pulled = _seconds(lambda: taken.update(labelling.pull(ws, NAME)))
        repeat = _seconds(lambda: labelling.pull(ws, NAME))
    finally:
        serving.stop(ws)
    moved = sum(len(taken[k]) for k in ("added", "changed", "removed", "conflicts", "problems"))  # type: ignore[arg-type]
    return [
        Row(name=f"Label Studio push of {count:,} tasks", figure=pushed, unit="s", note=f"again {again:.1f} s; server up after {started:.0f} s"),
        Row(name=f"Label Studio pull of {count:,} tasks", figure=pulled, unit="s",
            note=f"again {repeat:.1f} s; {moved} annotations differ after the round trip"),
    ]  # fmt: skip


def _seconds(work) -> float:  # type: ignore[no-untyped-def]
    begun = time.monotonic()
    work()
    return time.monotonic() - begun


def fill(ws: Workspace, count: int) -> None:
    """Small pictures with an outer quad and an inner box each."""
    ds = Dataset.create(ws, NAME, [ClassDef(name=c, shape="polygon") for c in ("outer_border", "graphical_border")])
    with ds.lock():
        ds.note_facts(task="border_detection.dual_class")
    rng = np.random.default_rng(0)
    samples, entries = [], []
    for n in range(count):
        data = cv2.imencode(".jpg", rng.integers(0, 255, (98, 70, 3), np.uint8))[1].tobytes()
        ref = probe(data, name=f"{n}.jpg")
        write_atomic(ws.image(ref.sha256, ref.suffix), data)
        sample = Sample(
            id=sample_id({"main": ref}), images={"main": ref}, card=f"card-{n}", card_assumed=False, status="done"
        )
        jitter = rng.uniform(0, 3, 8)
        quad = Polygon(
            points=tuple(
                (float(x), float(y)) for x, y in (np.array([[5, 6], [62, 6], [62, 90], [5, 90]]) + jitter.reshape(4, 2))
            )
        )
        box = Box(xyxy=(12 + jitter[0], 14 + jitter[1], 50 + jitter[2], 80 + jitter[3]))
        samples.append(sample)
        entries += [
            put_entry(Annotation(id=annotation_id(sample.id, label, v), sample=sample.id, label=label, value=v), who="bench", tool="import")
            for label, v in (("outer_border", quad), ("graphical_border", box))
        ]  # fmt: skip
    ds.put_samples(samples)
    ds.append(entries)


def submit_all(ws: Workspace) -> None:
    sdk = labelling.server(ws)._sdk
    for task in read_book(Dataset.open(ws, NAME)).samples.values():
        prediction = next(iter(sdk.predictions.list(task=task.id)))
        sdk.annotations.create(id=task.id, result=prediction.result, lead_time=30)
