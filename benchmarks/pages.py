"""The Datasets page and the thumbnail route with 10,000 samples against 100.

The page runs through Streamlit's AppTest, the two workspaces taking turns: *first* with empty caches, as the first
visitor has it after a start (both files are read and parsed), *again* as any later rerun. Thumbnails go through the
app's own route: one that is there already, and one that has to be made from a 600 dpi scan. The ratio of these rows is
how many times as long the large workspace takes.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from app.browse import PAGE
from benchmarks import scans
from benchmarks.measure import Row, alternate, times_faster
from trugrade_core.data.store import Dataset, annotation_id, put_entry, sample_id
from trugrade_core.schema import Annotation, Box, ClassDef, ImageRef, Sample
from trugrade_core.workspace import ENVIRONMENT, Workspace, file_sha256

HOME = Path(__file__).parents[1] / "app" / "Home.py"
MANY, FEW = 10_000, 100


def bench(scratch: Path, quick: bool) -> list[Row]:
    few, many = (5, 50) if quick else (FEW, MANY)
    rounds = 2 if quick else 7
    workspaces = {count: fill(scratch / str(count), count) for count in (few, many)}
    before = os.environ.get(ENVIRONMENT)
    try:
        return [
            *_page(workspaces, few, many, rounds),
            *_thumbs(workspaces, few, many, rounds, scans.scans(12, dpi=100) if quick else scans.scans(64)),
        ]
    finally:
        os.environ.pop(ENVIRONMENT, None)
        if before is not None:
            os.environ[ENVIRONMENT] = before


def fill(root: Path, count: int) -> Workspace:
    """A workspace with `count` labelled samples; all pictures hold the same bytes, under digests of their own."""
    ws = Workspace.open(root)
    ds = Dataset.create(ws, "cards", [ClassDef(name="outer_border"), ClassDef(name="graphical_border")])
    data = cv2.imencode(".png", np.full((98, 70, 3), 90, np.uint8))[1].tobytes()
    samples, entries = [], []
    for number in range(count):
        ref = ImageRef(
            sha256=hashlib.sha256(str(number).encode()).hexdigest(), suffix=".png", width=70, height=98, bytes=len(data)
        )
        path = ws.image(ref.sha256, ref.suffix)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        id = sample_id({"main": ref})
        samples.append(
            Sample(id=id, images={"main": ref}, sources=(f"scans/card-{number:05d}.png",), card=f"card-{number}",
                   card_assumed=False, dpi=100, status="done")
        )  # fmt: skip
        for label, inset in (("outer_border", 6.0), ("graphical_border", 14.0)):
            value = Box(xyxy=(inset, inset, 70 - inset, 98 - inset))
            annotation = Annotation(id=annotation_id(id, label, value), sample=id, label=label, value=value)
            entries.append(put_entry(annotation, who="bench", tool="bench"))
    ds.put_samples(samples)
    ds.append(entries)
    return ws


def _page(workspaces: dict[int, Workspace], few: int, many: int, rounds: int) -> list[Row]:
    import streamlit as st

    tests = {count: _open(ws) for count, ws in workspaces.items()}

    def rerun(count: int, *, fresh: bool) -> Callable[[], None]:
        def call() -> None:
            os.environ[ENVIRONMENT] = str(workspaces[count].root)
            if fresh:
                st.cache_resource.clear()
            test = tests[count].run()
            assert not test.exception, [e.value for e in test.exception]
            assert sum(str(e.proto.json).count("/lab/thumb/") for e in test.get("bidi_component")) == min(count, PAGE)

        return call

    rows = []
    for title, fresh in (("first", True), ("again", False)):
        sides = {str(count): rerun(count, fresh=fresh) for count in (few, many)}
        for call in sides.values():
            call()
        seconds = alternate(sides, rounds)
        ms = {name: 1000 * statistics.median(found) for name, found in seconds.items()}
        rows.append(
            Row(
                name=f"Datasets page, {title}",
                figure=ms[str(many)],
                unit="ms",
                compared_with=f"{few} samples: {ms[str(few)]:.0f}",
                ratio=times_faster(seconds[str(few)], seconds[str(many)]),
                note=f"{many:,} samples" + (", with empty caches" if fresh else ""),
            )
        )
    return rows


def _open(ws: Workspace) -> Any:
    from streamlit.testing.v1 import AppTest

    os.environ[ENVIRONMENT] = str(ws.root)
    test = AppTest.from_file(str(HOME), default_timeout=120).run()
    test.switch_page("views/datasets.py")
    test.query_params["dataset"] = "cards"
    test.run()
    assert not test.exception, [e.value for e in test.exception]
    return test


def _thumbs(workspaces: dict[int, Workspace], few: int, many: int, rounds: int, folder: Path) -> list[Row]:
    from starlette.applications import Starlette
    from starlette.testclient import TestClient

    from app.server import ROUTES, middleware

    client = TestClient(Starlette(routes=ROUTES, middleware=middleware()), base_url="http://127.0.0.1")
    wanted = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(few)]

    def ask(ws: Workspace, digests: list[str]) -> Callable[[], None]:
        def call() -> None:
            os.environ[ENVIRONMENT] = str(ws.root)
            for digest in digests:
                assert client.get(f"/lab/thumb/{digest}").status_code == 200

        return call

    sides = {str(count): ask(workspaces[count], wanted) for count in (few, many)}
    for call in sides.values():
        call()  # thumbnails are there from now on
    seconds = alternate(sides, rounds)
    ms = {name: 1000 * statistics.median(found) / few for name, found in seconds.items()}
    making = _making(ask, workspaces[many], folder)
    return [
        Row(
            name="/lab/thumb",
            figure=ms[str(many)],
            unit="ms a picture",
            compared_with=f"{few} pictures in the store: {ms[str(few)]:.2f}",
            ratio=times_faster(seconds[str(few)], seconds[str(many)]),
            note=f"{many:,} pictures in the store; made from a scan for the first time: {making:.0f} ms",
        )
    ]


def _making(ask: Callable[[Workspace, list[str]], Callable[[], None]], ws: Workspace, folder: Path) -> float:
    """Milliseconds of the first request for a scan's thumbnail, the median of eight."""
    found = []
    for file in sorted((folder / "images").iterdir())[:8]:
        digest = file_sha256(file)
        path = ws.image(digest, ".jpg")
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, path)
        found += alternate({"first": ask(ws, [digest])}, 1)["first"]
    return 1000 * statistics.median(found)
