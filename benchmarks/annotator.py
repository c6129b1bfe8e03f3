"""The precision annotator on the app's own page, in headless Chromium without a GPU: frames, saving, and the next sample.

Frames are the gaps between two animation frames while the view is moved at every frame with all shapes in sight, on
scans of 3000 x 4200; a display of 60 Hz gives 16.7 ms at best. *Committed to saved* runs from the release of the mouse
until the page says that the log on disk has it (one rerun of the page's fragment and one fsync). *Next sample* runs
from the key until its image is seen; it can be worked on when the page has answered with its shapes.
"""

from __future__ import annotations

import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np

from benchmarks.measure import Row
from trugrade_core.data.images import probe
from trugrade_core.data.store import Dataset, annotation_id, put_entry, sample_id
from trugrade_core.schema import Annotation, ClassDef, Polygon, Sample
from trugrade_core.workspace import ENVIRONMENT, Workspace, write_atomic

HOME = Path(__file__).parents[1] / "app" / "Home.py"
APP = "[...document.querySelectorAll('*')].find((e) => e.shadowRoot?.querySelector('.stage')).shadowRoot.querySelector('.stage').annotator"
FRAMES = """async ([count]) => {
  const app = APP, r = app.stage.getBoundingClientRect(), gaps = []
  const at = { clientX: r.left + r.width / 2, clientY: r.top + r.height / 2, bubbles: true, cancelable: true }
  let last = 0
  await new Promise((done) => {
    const tick = (now) => {
      if (last) gaps.push(now - last)
      last = now
      if (gaps.length >= count) return done()
      const there = gaps.length % 60 < 30 ? 1 : -1
      const how = Math.floor(gaps.length / 60) % 2 ? { deltaX: 7 * there, deltaY: 5 * there } : { deltaY: -20 * there, ctrlKey: true }
      app.stage.dispatchEvent(new WheelEvent('wheel', { ...at, ...how }))
      requestAnimationFrame(tick)
    }
    requestAnimationFrame(tick)
  })
  return gaps
}""".replace("APP", APP)
COMMIT = """async () => {
  const app = APP, r = app.stage.getBoundingClientRect()
  const say = (kind, x, y) => app.stage.dispatchEvent(new PointerEvent(kind, { clientX: r.left + x, clientY: r.top + y, pointerId: 1, button: 0, bubbles: true }))
  app.stage.setPointerCapture = () => {}
  const x = 200 + 100 * Math.random(), y = 150 + 100 * Math.random()
  say('pointerdown', x, y)
  say('pointermove', x + 40, y + 60)
  say('pointerup', x + 40, y + 60)
  const begun = performance.now()
  if (!app.queue.list.length) throw new Error('nothing was drawn')
  while (app.queue.list.length) await new Promise((on) => setTimeout(on, 1))
  return performance.now() - begun
}""".replace("APP", APP)


def bench(scratch: Path, quick: bool) -> list[Row]:
    chromium = next((p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None)
    if chromium is None:
        return [Row(name="annotator", figure=None, unit="", note="needs Chromium, and there is none on PATH")]
    counts = (0, 5, 20) if quick else (0, 100, 1000)
    size = (300, 420) if quick else (3000, 4200)
    ws, samples = _fill(scratch / "workspace", counts, size)
    from playwright.sync_api import sync_playwright

    with _served(ws, scratch / "app.txt") as url, sync_playwright() as p:
        browser = p.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(60_000)
        found = {}
        for count, sample in zip(counts, samples, strict=False):
            _open(page, f"{url}/annotate?dataset=bench&sample={sample}")
            gaps = page.evaluate(FRAMES, [60 if quick else 360])
            page.keyboard.press("f")
            page.keyboard.press("b")
            saves = [page.evaluate(COMMIT) for _ in range(2 if quick else 15)]
            found[count] = gaps, saves
        steps = _steps(page, f"{url}/annotate?dataset=bench&sample={samples[0]}", 2 if quick else 8)
        browser.close()
    return [*_rows(found, counts, size), _step_row(steps, size)]


def _rows(
    found: dict[int, tuple[list[float], list[float]]], counts: tuple[int, ...], size: tuple[int, int]
) -> list[Row]:
    empty = statistics.median(found[counts[0]][0])
    rows = []
    for count in counts[1:]:
        gaps, saves = found[count]
        median, slow = statistics.median(gaps), statistics.quantiles(gaps, n=20)[-1]
        rows.append(
            Row(name=f"Annotator, frame with {count:,} shapes", figure=median, unit="ms", compared_with=f"no shape: {empty:.1f}",
                goal="33 ms", met=median <= 33, note=f"{size[0]} x {size[1]}, all in sight; 95 % under {slow:.0f} ms")
        )  # fmt: skip
        median = statistics.median(saves)
        rows.append(
            Row(name=f"Annotator, shape committed to saved, {count:,} shapes", figure=median, unit="ms",
                compared_with=f"no shape: {statistics.median(found[counts[0]][1]):.0f}", note=f"slowest of {len(saves)}: {max(saves):.0f} ms")
        )  # fmt: skip
    return rows


def _step_row(steps: list[tuple[float, float]], size: tuple[int, int]) -> Row:
    shown = [s for s, _ in steps]
    median = statistics.median(shown)
    return Row(name="Annotator, next sample shown", figure=median, unit="ms", goal="200 ms", met=median <= 200,
               note=f"{size[0]} x {size[1]}, loaded ahead; slowest of {len(steps)}: {max(shown):.0f} ms; with its shapes: {statistics.median(w for _, w in steps):.0f} ms")  # fmt: skip


def _open(page: Any, address: str) -> None:
    page.goto(address)
    page.wait_for_function(
        f"() => {{ try {{ return {APP}.picture.base.levels && {APP}.queue.loaded }} catch {{ return false }} }}"
    )
    page.wait_for_timeout(2500)
    box = page.locator(".stage").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)


def _steps(page: Any, address: str, count: int) -> list[tuple[float, float]]:
    """Milliseconds from the key to the next sample's image, and until it can be worked on; forth and back."""
    _open(page, address)
    found = []
    for number in range(count):
        page.keyboard.press("n" if number % 2 == 0 else "p")
        page.wait_for_function(f"() => {APP}.timing.shown && {APP}.timing.workable")
        found.append(page.evaluate(f"() => [{APP}.timing.shown, {APP}.timing.workable]"))
        page.wait_for_timeout(1500)
    return found


def _fill(root: Path, counts: tuple[int, ...], size: tuple[int, int]) -> tuple[Workspace, list[str]]:
    """A dataset of scans of noise over a few colours, each with its count of outlines of twenty points."""
    ws = Workspace.open(root)
    ds = Dataset.create(
        ws, "bench", [ClassDef(name="scratch", shape="polygon"), ClassDef(name="dent", shape="polygon")]
    )
    with ds.lock():
        ds.note_facts(task="surface_analysis.defect_detection")
    samples = []
    for number, count in enumerate(counts):
        rng = np.random.default_rng(number)
        base = cv2.resize(rng.integers(60, 200, (7, 5, 3), np.uint8), size, interpolation=cv2.INTER_CUBIC)
        image = cv2.add(base, rng.integers(0, 25, base.shape, np.uint8))
        data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 93])[1].tobytes()
        ref = probe(data, name=f"{number}.jpg")
        write_atomic(ws.image(ref.sha256, ref.suffix), data)
        id = sample_id({"main": ref})
        samples.append(Sample(id=id, images={"main": ref}, sources=(f"{number}.jpg",), card=f"card-{number}", dpi=1200))
        entries = []
        for at in range(count):
            value = Polygon(points=tuple(map(tuple, _outline(rng, size))))
            label = ("scratch", "dent")[at % 2]
            annotation = Annotation(id=annotation_id(id, label, value), sample=id, label=label, value=value)
            entries.append(put_entry(annotation, who="bench", tool="import"))
        ds.append(entries)
    ds.put_samples(samples)
    return ws, [s.id for s in samples]


def _outline(rng: np.random.Generator, size: tuple[int, int]) -> list[list[float]]:
    turn = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    radius = size[0] / 3000 * rng.uniform(10, 80) * rng.uniform(0.7, 1, 20)
    middle = rng.uniform(0.03, 0.97, 2) * size
    return np.stack([middle[0] + radius * np.cos(turn), middle[1] + radius * np.sin(turn)], axis=1).round(2).tolist()


@contextmanager
def _served(ws: Workspace, log: Path) -> Iterator[str]:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    with log.open("wb") as out:
        app = subprocess.Popen(
            [sys.executable, "-m", "streamlit", "run", str(HOME), "--server.port", str(port)],
            env={**os.environ, ENVIRONMENT: str(ws.root)}, stdout=out, stderr=out,
        )  # fmt: skip
    url, end = f"http://127.0.0.1:{port}", time.monotonic() + 120
    try:
        while True:
            if app.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"the app did not start: {log.read_text()[-2000:]}")
            try:
                if httpx.get(f"{url}/_stcore/health").status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.2)
        yield url
    finally:
        app.terminate()
        app.wait(20)
