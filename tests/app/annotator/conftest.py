"""For the annotator's browser tests: the page on a free port, a browser, and hands that draw in image pixels."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.app.serving import CHROMIUM, served
from trugrade_core.workspace import Workspace

FLAGS = ["--no-sandbox", "--disable-gpu"]
APP = "[...document.querySelectorAll('*')].find((e) => e.shadowRoot?.querySelector('.stage')).shadowRoot.querySelector('.stage').annotator"
WIDTH, HEIGHT = 600, 840
CLASSES = [
    {"name": "outer", "shape": "box", "color": "#19d3ff", "key": "1"},
    {"name": "scratch", "shape": "mask", "color": "#ffd23f", "key": "2"},
]
CARD = np.array([[61.3, 82.6], [541.2, 74.2], [552.7, 755.1], [72.8, 763.4]])
"""The corners of the made-up card, in the lab's frame."""


def scan(seed: int) -> np.ndarray:
    """(H, W, 3) uint8: a light, slightly turned card whose sides are anti-aliased, on a dark ground."""
    big = np.zeros((HEIGHT * 8, WIDTH * 8), np.uint8)
    cv2.fillPoly(big, [np.round((CARD + 0.5) * 8 - 0.5).astype(np.int32)], 255)
    cover = cv2.resize(big, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)[..., None] / 255.0
    noise = np.random.default_rng(seed).normal(0, 3, (HEIGHT, WIDTH, 3))
    return np.clip(40 + 8 * seed + (160 - 20 * seed) * cover + noise, 0, 255).astype(np.uint8)


# --- the page, the browser, and hands -------------------------------------------------------------------------------


class Lab:
    """The folder that the page reads and writes, and what a test looks up in it."""

    def __init__(self, folder: Path, ws: Workspace) -> None:
        self.folder, self.ws, self.url = folder, ws, ""
        for number in range(3):
            cv2.imwrite(str(folder / f"{number}.png"), scan(number))

    def setup(self, **changes: Any) -> None:
        image = {"width": WIDTH, "height": HEIGHT, "mm_per_px": 25.4 / 300}
        samples = [{"id": f"sample{n}", "image": {"url": f"/test/{n}.png", **image}} for n in range(3)]
        (self.folder / "log.jsonl").unlink(missing_ok=True)
        (self.folder / "problem.txt").unlink(missing_ok=True)
        (self.folder / "setup.json").write_text(json.dumps({"samples": samples, "classes": CLASSES, **changes}))

    def log(self) -> list[dict[str, Any]]:
        path = self.folder / "log.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def wait(self, count: int) -> list[dict[str, Any]]:
        end = time.monotonic() + 30
        while len(self.log()) < count and time.monotonic() < end:
            time.sleep(0.05)
        assert len(self.log()) == count, self.log()
        return self.log()


class Hand:
    """A person at the page."""

    def __init__(self, page: Any, url: str) -> None:
        self.page = page
        self.errors: list[str] = []
        page.on("pageerror", lambda e: self.errors.append(str(e)))
        page.goto(url)
        self.ready()

    def ready(self) -> None:
        self.page.wait_for_function(f"() => {{ try {{ return {APP}.picture.base.levels && {APP}.queue.loaded }} catch {{ return false }} }}")  # fmt: skip
        self.page.wait_for_function("() => !document.querySelector('[data-testid=stStatusWidget]')")

    def ask(self, expression: str) -> Any:
        return self.page.evaluate(f"() => {{ const app = {APP}; return {expression} }}")

    def until(self, expression: str) -> None:
        self.page.wait_for_function(f"() => {{ const app = {APP}; return {expression} }}")

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where an image point is on the page."""
        left, top, scale, tx, ty = self.ask(
            "(() => { const r = app.stage.getBoundingClientRect(); return [r.left + app.stage.clientLeft, r.top + app.stage.clientTop, app.view.scale, app.view.tx, app.view.ty] })()"
        )
        return left + (x + 0.5) * scale + tx, top + (y + 0.5) * scale + ty

    def move(self, x: float, y: float, steps: int = 1) -> None:
        self.page.mouse.move(*self.at(x, y), steps=steps)

    def click(self, x: float, y: float, **how: Any) -> None:
        self.page.mouse.click(*self.at(x, y), **how)

    def drag(self, *points: tuple[float, float]) -> None:
        self.move(*points[0])
        self.page.mouse.down()
        for point in points[1:]:
            self.move(*point, steps=4)
        self.page.mouse.up()

    def keys(self, *names: str) -> None:
        for name in names:
            self.page.keyboard.press(name)

    def tool(self, key: str, x: float = 300, y: float = 400) -> None:
        self.move(x, y)
        self.keys(key)

    def saved(self) -> None:
        self.until("!app.queue.list.length")

    def zoom_to(self, x: float, y: float, scale: float) -> None:
        """With the wheel, until it is at least so near; the point stays under the cursor."""
        self.move(x, y)
        for _ in range(60):
            if self.ask("app.view.scale") >= scale - 1e-6:
                break
            self.page.mouse.wheel(0, -120)
            self.page.wait_for_timeout(20)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("annotator")
    made = Lab(folder, Workspace.open(folder / "workspace"))
    made.setup()
    script, loopback = (
        Path(__file__).with_name("page.py"),
        ("--server.address", "127.0.0.1", "--server.headless", "true"),
    )
    environment = {"ANNOTATOR_FOLDER": str(folder), "TRUGRADE_WORKSPACE": str(made.ws.root)}
    with served(script, folder, *loopback, **environment) as url:
        made.url = url
        yield made


@pytest.fixture(scope="module")
def playwright() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("needs Chromium, and there is none on PATH")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as p:
        yield p


@pytest.fixture(scope="module")
def browser(playwright: Any) -> Iterator[Any]:
    opened = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
    yield opened
    opened.close()


def open_hand(context: Any, url: str) -> Hand:
    page = context.new_page()
    page.set_viewport_size({"width": 1280, "height": 800})
    page.set_default_timeout(30_000)
    return Hand(page, url)


@pytest.fixture
def hand(lab: Lab, browser: Any) -> Iterator[Hand]:
    lab.setup()
    yield from used(lab, browser)


def used(lab: Lab, browser: Any) -> Iterator[Hand]:
    context = browser.new_context()
    found = open_hand(context, lab.url)
    yield found
    context.close()
    assert not found.errors


def shape(id: str, xyxy: list[float], **more: Any) -> dict[str, Any]:
    return {"id": id, "entry": f"e-{id}", "label": "outer", "value": {"type": "box", "xyxy": xyxy}, **more}


def with_shapes(lab: Lab, shapes: list[dict[str, Any]], suggestions: list[dict[str, Any]] = [], **more: Any) -> None:  # noqa: B006
    lab.setup(**more)
    setup = json.loads((lab.folder / "setup.json").read_text())
    setup["samples"][0] |= {"shapes": shapes, "suggestions": suggestions}
    (lab.folder / "setup.json").write_text(json.dumps(setup))
