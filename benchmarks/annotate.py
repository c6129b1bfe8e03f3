"""Saving one stroke in a dataset whose log holds 100,000 entries, beside one whose log holds 100.

*Commit to saved* is `workflows.annotating.save` as the page calls it: lock, read on, check, one fsynced append. *One
sample's labels* is what the page reads at each stroke, beside `Dataset.current()`, which reads the whole log. The index of
byte places is made once a process: *first* is what that costs. `fsync` alone is written beside, since it is the disk's.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import statistics
from collections.abc import Callable
from pathlib import Path

from benchmarks.measure import Row, alternate, timed, times_faster
from trugrade_core.annotate import indexes
from trugrade_core.data.store import Dataset, annotation_id, put_entry
from trugrade_core.schema import Annotation, Box, ClassDef, ImageRef, Sample
from trugrade_core.workflows import annotating
from trugrade_core.workspace import Workspace

GOAL_MS = 50.0
LABELS = ("outer_border", "graphical_border")
"""Each sample of the filled workspaces has one entry of each."""


def bench(scratch: Path, quick: bool) -> list[Row]:
    few, many = (10, 50) if quick else (50, 50_000)
    workspaces = {n * len(LABELS): fill(scratch / str(n), n) for n in (few, many)}
    rounds = 3 if quick else 30
    number = itertools.count()
    ids = {n: list(Dataset(ws, "cards").samples()) for n, ws in workspaces.items()}

    def stroke(n: int) -> Callable[[], object]:
        def call() -> object:
            i = next(number)
            op = {"op": "put", "label": "outer_border", "value": {"type": "box", "xyxy": [3, 3, 40 + i % 20, 60]}}
            return annotating.save(workspaces[n], "cards", ids[n][i * 7 % len(ids[n])], [op], who="bench", tool="bench",
                                   commit=f"bench-commit-{i}")  # fmt: skip

        return call

    few, many = sorted(workspaces)
    first = {n: timed(lambda n=n: annotating.state(workspaces[n], "cards", ids[n][0])) for n in (few, many)}
    saved = alternate({str(n): stroke(n) for n in (few, many)}, rounds)
    read = alternate({
        "one": lambda: annotating.state(workspaces[many], "cards", ids[many][next(number) * 7 % len(ids[many])]),
        "all": lambda: Dataset(workspaces[many], "cards").current(),
    }, 2 if quick else 5)  # fmt: skip
    ms = {name: 1000 * statistics.median(found) for name, found in {**saved, **read}.items()}
    p95 = 1000 * sorted(saved[str(many)])[int(0.95 * rounds)]
    return [
        Row(
            name=f"shape committed to saved, log of {many:,}", figure=ms[str(many)], unit="ms",
            compared_with=f"log of {few}: {ms[str(few)]:.1f}", ratio=times_faster(saved[str(few)], saved[str(many)]),
            goal=f"p95 < {GOAL_MS:g} ms", met=p95 < GOAL_MS,
            note=f"p95 {p95:.1f}; fsync of one line alone {1000 * _fsync(scratch):.1f}; first in a process {1000 * first[many]:.0f}",
        ),
        Row(
            name=f"one sample's labels, log of {many:,}", figure=ms["one"], unit="ms", compared_with=f"the whole log: {ms['all']:.0f}",
            ratio=times_faster(read["one"], read["all"]), note=f"{_size(workspaces[many]):.0f} MB of log",
        ),
    ]  # fmt: skip


def fill(root: Path, count: int) -> Workspace:
    """A workspace with `count` samples of a box of each class; their pictures are never looked at and not there."""
    ws = Workspace.open(root)
    ds = Dataset.create(ws, "cards", [ClassDef(name=label) for label in LABELS])
    samples, entries = [], []
    for number in range(count):
        sha = hashlib.sha256(str(number).encode()).hexdigest()
        ref = ImageRef(sha256=sha, suffix=".png", width=70, height=98, bytes=1)
        samples.append(
            Sample(id=sha[:16], images={"main": ref}, sources=(f"{number:06d}.png",), card=str(number), dpi=100)
        )
        for n, label in enumerate(LABELS, start=1):
            value = Box(xyxy=(6.0 * n, 6.0 * n, 70 - 6.0 * n, 98 - 6.0 * n))
            annotation = Annotation(id=annotation_id(sha[:16], label, value), sample=sha[:16], label=label, value=value)
            entries.append(put_entry(annotation, who="bench", tool="bench"))
    ds.put_samples(samples)
    ds.append(entries)
    return ws


def _fsync(scratch: Path) -> float:
    """Seconds to append 500 bytes and have them on the disk, the median of twenty."""
    with (scratch / "line").open("ab") as f:

        def call() -> None:
            f.write(b"x" * 500)
            f.flush()
            os.fsync(f.fileno())

        return statistics.median(timed(call) for _ in range(20))


def _size(ws: Workspace) -> float:
    return indexes.log_of(Dataset(ws, "cards")).end / 1e6
