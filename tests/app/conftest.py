"""A workspace with data for the pages: small cards, a version, finished and failed runs as they lie on disk."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from tests.app.serving import CHROMIUM, served
from trugrade_core.config import dump_yaml, parse_config
from trugrade_core.data.images import probe
from trugrade_core.data.store import Dataset, annotation_id, put_entry, sample_id
from trugrade_core.data.versions import Version, split
from trugrade_core.evaluate.run import evaluate
from trugrade_core.runs import RunFolder
from trugrade_core.schema import Annotation, Box, ClassDef, Instance, Prediction, Preprocess, Sample
from trugrade_core.workspace import Workspace, write_atomic, write_json

HOME = Path(__file__).parents[2] / "app" / "Home.py"
CLASSES = ("outer_border", "graphical_border")
LONG = "a name of two hundred characters " * 6


def card(number: int, size: tuple[int, int] = (70, 98)) -> np.ndarray:
    """(H, W, 3) uint8, a light card on a dark ground; no two are alike."""
    width, height = size
    image = np.full((height, width, 3), 30 + number % 40, np.uint8)
    cv2.rectangle(image, (6, 7), (width - 8, height - 9), (200, 210, 220 - number % 100), -1)
    cv2.rectangle(image, (14, 16), (width - 16, height - 18), (90, 120, number % 255), -1)
    image[0, 0] = (*divmod(number, 256), 1)
    return image


def add_sample(ws: Workspace, number: int, *, name: str = "", labelled: bool = True) -> tuple[Sample, list[Annotation]]:
    data = cv2.imencode(".png", card(number))[1].tobytes()
    ref = probe(data, name=f"{number}.png")
    write_atomic(ws.image(ref.sha256, ref.suffix), data)
    sample = Sample(
        id=sample_id({"main": ref}),
        images={"main": ref},
        sources=(name or f"scans/card-{number:05d}.png",),
        card=f"card-{number}",
        card_assumed=False,
        dpi=100,
        status="done" if labelled else "unlabelled",
    )
    boxes = {"outer_border": (6.0, 7.0, 62.0, 89.0), "graphical_border": (14.0, 16.0, 54.0, 80.0)} if labelled else {}
    annotations = []
    for label, xyxy in boxes.items():
        value = Box(xyxy=xyxy)
        annotations.append(
            Annotation(id=annotation_id(sample.id, label, value), sample=sample.id, label=label, value=value)
        )
    return sample, annotations


def fill(ws: Workspace, name: str, count: int) -> Dataset:
    ds = Dataset.create(ws, name, [ClassDef(name=label) for label in CLASSES])
    made = [add_sample(ws, n, name=f"{LONG}{n}.png" if n == 0 else "", labelled=n % 4 != 3) for n in range(count)]
    ds.put_samples(sample for sample, _ in made)
    ds.append(put_entry(a, who="maria", tool="import") for _, annotations in made for a in annotations)
    return ds


def add_run(ws: Workspace, dataset: str, *, state: str = "finished", reason: str = "", lr: float = 8e-4) -> RunFolder:
    """A training as it lies on disk, without having trained."""
    config = parse_config(
        {
            "task": "border_detection.dual_class",
            "dataset": dataset,
            "hyperparameters": {"optimization": {"learning_rate": lr}},
        }
    )
    run = RunFolder.create(
        ws.runs,
        {
            "kind": "train",
            "title": f"Train mask_rcnn on {dataset}",
            "task": config.task,
            "architecture": "mask_rcnn_efficientnet_lite0",
            "dataset": dataset,
            "experiment": "default",
            "random_init": False,
        },
    )
    write_atomic(run.path / "config.yaml", dump_yaml(config, only_given=True))
    for step in range(1, 9):
        values = {"train/loss": 2 / step, "train/classification": 1 / step, "lr": lr, "time/wait_share": 0.05}
        run.append("metrics", step=step, epoch=1 + step // 5, batch=step % 4, values=values, attempt=1)
        run.append("resources", values={"cpu_run_percent": 150.0, "memory_run_bytes": 1e9}, attempt=1)
    for epoch, side in ((1, 0.5), (2, 0.25)):
        values = {"val/loss": side, "val/side_error_mm": side, "val/box_map": 1 - side}
        run.append("metrics", step=4 * epoch, epoch=epoch, values=values, attempt=1)
    best = {"name": "best", "epoch": 2, "step": 8, "digest": "0" * 64, "bytes": 9, "metrics": {"side_error_mm": 0.25}}
    write_json(run.checkpoints / "best.json", best)
    run.append(
        "checkpoint", **{k: best[k] for k in ("name", "epoch", "step", "digest", "bytes")}, metric=0.25, attempt=1
    )
    words = {"failure": "bug", "what_to_do": "Lower the learning rate."} if state == "failed" else {}
    run.append("state", state=state, reason=reason, attempt=1, **words)
    run.log.write_text("epoch 1\nepoch 2\n")
    return run


@pytest.fixture
def full(ws: Workspace) -> Workspace:
    """Eight samples in `cards@v1`, a finished, a stopped and a failed run."""
    split(fill(ws, "cards", 8), (0.5, 0.25, 0.25), 0)
    add_run(ws, "cards@v1")
    add_run(ws, "cards@v1", state="stopped", lr=1e-3)
    add_run(ws, "cards@v1", state="failed", reason="the loss became non-finite at step 9")
    return ws


@pytest.fixture
def open_page(monkeypatch: pytest.MonkeyPatch) -> Callable[..., AppTest]:
    """Run the app in a workspace on a page, with these query parameters; exceptions fail the test."""

    def opened(ws: Workspace, page: str, **params: str) -> AppTest:
        monkeypatch.setenv("TRUGRADE_WORKSPACE", str(ws.root))
        at = AppTest.from_file(str(HOME), default_timeout=120).run()
        if page != "home":
            at.switch_page(f"views/{page}.py")
        for name, value in params.items():
            at.query_params[name] = value
        at.run()
        assert not at.exception, [e.value for e in at.exception]
        return at

    return opened


def said(at: AppTest) -> str:
    """Everything that a page shows as text or HTML, style sheet left out."""
    bodies = [element.proto.body for element in at.get("html") if "<style>" not in element.proto.body]
    linked = [
        str(json.loads(element.proto.json))
        for element in at.get("bidi_component")
        if element.proto.component_name != "tg_chart"
    ]
    plain = [
        e.value
        for kind in (at.caption, at.markdown, at.subheader, at.success, at.warning, at.info, at.code)
        for e in kind
    ]
    return html.unescape("\n".join([*bodies, *linked, *map(str, plain)]))


class NearlyRight:
    """A predictor without a network: the true boxes, each side off by one pixel."""

    name, digest, classes, threshold = "nearly right", "d" * 64, CLASSES, 0.5
    preprocess = Preprocess(size=64)

    def __init__(self, truth: dict[str, list[Annotation]]) -> None:
        self.truth = truth

    def predict(self, images: object, names: list[str], threshold: float | None = None) -> list[Prediction]:
        found = []
        for image, name in zip(images, names, strict=True):  # type: ignore[call-overload]
            boxes = [(a.label, a.value.xyxy) for a in self.truth.get(name, []) if isinstance(a.value, Box)]
            instances = tuple(
                Instance(label=str(label), score=0.9, box=(x0 + 1, y0 + 1, x1 + 1, y1 + 1))
                for label, (x0, y0, x1, y1) in boxes
            )
            found.append(
                Prediction(image=name, width=image.shape[1], height=image.shape[0], instances=instances, seconds=0.01)
            )
        return found


@pytest.fixture
def judged(full: Workspace) -> Workspace:
    """`full`, with its finished and stopped runs judged on the test split."""
    version = Version.open(full, "cards@v1")
    for path in full.runs.iterdir():
        if RunFolder(path).status().state != "failed":
            evaluate(NearlyRight(version.annotations()), version, "test", path / "evaluation" / "test")
    return full


def charts(at: AppTest) -> list[str]:
    """What each chart of the page is of."""
    found = [element.proto for element in at.get("bidi_component")]
    return [json.loads(proto.json)["alt"] for proto in found if proto.component_name == "tg_chart"]


# --- a real browser -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("needs Chromium, and there is none on PATH")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Any) -> Iterator[Any]:
    opened = chromium.new_page(viewport={"width": 1280, "height": 720})
    opened.set_default_timeout(60_000)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Workspace]]:
    ws = Workspace.open(tmp_path_factory.mktemp("annotate") / "workspace")
    with served(HOME, tmp_path_factory.mktemp("log"), TRUGRADE_WORKSPACE=str(ws.root)) as url:
        yield f"{url}/annotate", ws


@pytest.fixture
def cards(lab: tuple[str, Workspace], request: pytest.FixtureRequest) -> tuple[str, Dataset]:
    """(address, dataset) of a dataset of this test's own: four cards of 70 x 98 px, the last unlabelled."""
    url, ws = lab
    name = request.node.name[5:60].partition("[")[0]
    return f"{url}?dataset={name}", fill(ws, name, 4)
