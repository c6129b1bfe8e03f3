"""Looking at augmentation: the very pictures that a training will see of a sample, and the worst among many."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trugrade_core.config import RunConfig
from trugrade_core.data import augment, rle
from trugrade_core.data.images import decode
from trugrade_core.data.versions import Version
from trugrade_core.errors import DatasetError, UsageError, nearest
from trugrade_core.evaluate.overlay import colour_of, encoded, outlined
from trugrade_core.models import get_architecture
from trugrade_core.schema import Image, Preprocess
from trugrade_core.tasks import get_task
from trugrade_core.tasks.instances.encode import canvas_matrix
from trugrade_core.workspace import Workspace, write_atomic

Points = NDArray[np.float64]

DRAWS = 12
SEARCHED = 200
"""Draws among which the worst are looked for."""


@dataclass(frozen=True)
class Looked:
    """A training sample, resized as the network gets it. `outlines` are (label, (N, 2) points on the unmoved canvas);
    `index` is its place in the training split, which the draws depend on."""

    sample: str
    index: int
    image: Image
    preprocess: Preprocess
    outlines: list[tuple[str, Points]]
    classes: tuple[str, ...]
    within: augment.Settings | None
    seed: int


class Drawn(NamedTuple):
    """What a training sees of the sample in an epoch: (S, S, 3) with the labels on it. `kept` is the share of the label
    that loses most which is still on the canvas (of the picture, where nothing is drawn)."""

    epoch: int
    image: Image
    kept: float


def training_samples(ws: Workspace, dataset: str) -> list[str]:
    """Ids of the labelled training samples of NAME@VERSION, in the loader's order."""
    return [sample.id for sample, _ in Version.open(ws, dataset).records("train")]


def look_at(ws: Workspace, config: RunConfig, sample: str = "") -> Looked:
    """A training sample of the configuration's dataset (the first without `sample`). Raises DatasetError."""
    version = Version.open(ws, config.dataset)
    records = version.records("train")
    ids = [s.id for s, _ in records]
    if not ids:
        raise DatasetError("has no labelled training image to look at", where=version.name, code="dataset.unlabelled",
                           what_to_do=f"Label or import some, then: trugrade data split {version.manifest.dataset}")  # fmt: skip
    if sample and sample not in ids:
        raise DatasetError(f"no labelled training sample '{sample}'", where=version.name, what_to_do=nearest(sample, ids[:500]))  # fmt: skip
    index = ids.index(sample) if sample else 0
    found, annotations = records[index]
    preprocess = Preprocess(size=_size(config))
    matrix = canvas_matrix(preprocess, found.main.width, found.main.height)
    return Looked(
        sample=found.id,
        index=index,
        image=preprocess.content(decode(version.image_path(found))),
        preprocess=preprocess,
        outlines=[(a.label or "", _moved(o, matrix)) for a in annotations for o in rle.outlines(a.value)],
        classes=version.classes,
        within=augment.settings(config.data.augmentation, get_task(config.task).augmentation),
        seed=config.seed,
    )


def _size(config: RunConfig) -> int:
    asked = config.data.image_size
    return (
        get_architecture(config.architecture_config.base_architecture)[1].image_size if asked == "auto" else int(asked)
    )


def _moved(points: Points, matrix: augment.Matrix) -> Points:
    return points @ matrix[:, :2].T + matrix[:, 2]


def draw(looked: Looked, epoch: int) -> Drawn:
    """The sample as the training sees it in `epoch`."""
    size = looked.preprocess.size
    key = looked.seed, epoch, looked.index
    canvas, matrix = augment.augmented(looked.image, size, looked.preprocess.pad, looked.within, key)
    picture = np.array(canvas)
    for label, points in looked.outlines:
        outlined(picture, _moved(points, matrix), colour_of(label, looked.classes), max(1, size // 300))
    return Drawn(epoch, picture, _kept(looked, matrix))


def _kept(looked: Looked, matrix: augment.Matrix) -> float:
    size = looked.preprocess.size
    height, width = looked.image.shape[:2]
    frame = np.array([[-0.5, -0.5], [width - 0.5, -0.5], [width - 0.5, height - 0.5], [-0.5, height - 0.5]])
    shares = []
    for points in [points for _, points in looked.outlines] or [frame]:
        moved = _moved(points, matrix)
        x, y = moved.T
        area = abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2
        shares.append(float(rle.fill(moved, size, size).sum() / max(area, 1.0)))
    return min(1.0, *shares)


def first(looked: Looked, count: int = DRAWS) -> list[Drawn]:
    """The first epochs of a training."""
    return [draw(looked, epoch) for epoch in range(count)]


def worst(looked: Looked, count: int = DRAWS, among: int = SEARCHED) -> list[Drawn]:
    """Of that many epochs those in which most of a label leaves the picture, then those in the strangest light."""
    if looked.within is None:
        return []
    size, wh = looked.preprocess.size, (looked.image.shape[1], looked.image.shape[0])

    def badness(epoch: int) -> tuple[float, float]:
        drawn = augment.draw(augment.generator(looked.seed, epoch, looked.index), wh, size, looked.within)  # type: ignore[arg-type]
        return round(_kept(looked, drawn.matrix), 2), -abs(np.log(drawn.brightness)) - abs(np.log(drawn.gamma))

    return [draw(looked, epoch) for epoch in sorted(range(among), key=badness)[:count]]


def contact_sheet(drawn: list[Drawn], columns: int = 4) -> Image:
    """(H, W, 3): the pictures side by side, in rows."""
    gap = 6
    size = drawn[0].image.shape[0]
    rows = -(-len(drawn) // columns)
    sheet = np.full((rows * (size + gap) - gap, columns * (size + gap) - gap, 3), 128, np.uint8)
    for n, one in enumerate(drawn):
        y, x = (size + gap) * (n // columns), (size + gap) * (n % columns)
        sheet[y : y + size, x : x + size] = one.image
    return sheet


def write_sheet(ws: Workspace, config: RunConfig, out: Path, *, sample: str = "", worst_of: int = 0) -> dict[str, Any]:
    """A contact sheet of a sample's first draws, or of the worst of `worst_of`. Raises UsageError when nothing varies."""
    looked = look_at(ws, config, sample)
    if looked.within is None:
        raise UsageError("this configuration augments nothing", where="data.augmentation.preset",
                         what_to_do="Choose a preset, such as --set data.augmentation.preset=border")  # fmt: skip
    drawn = worst(looked, among=worst_of) if worst_of else first(looked)
    write_atomic(out, encoded(contact_sheet(drawn), out.suffix.lower() or ".png"))
    return {
        "sample": looked.sample,
        "settings": vars(looked.within),
        "sheet": str(out),
        "draws": [{"epoch": one.epoch, "kept": round(one.kept, 4)} for one in drawn],
    }
