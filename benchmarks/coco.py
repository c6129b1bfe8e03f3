"""COCO's average precision: the lab's (`average_precision.coco_ap`, over faster-coco-eval) against pycocotools.

Both start from the same judged images with jittered, missed, doubled and wrong answers and end with map, ap50 and ap75;
putting the images into COCO's form is part of either's time, and is written here on its own, so a wrong conversion
would show as a difference too.
"""

from __future__ import annotations

import contextlib
import io
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from benchmarks.measure import Row, alternate, times_faster
from trugrade_core.data import rle
from trugrade_core.tasks.instances.average_precision import coco_ap
from trugrade_core.tasks.instances.metrics import Judged, Objects, corners, judge

EQUAL = 1e-9
CLASSES = 2


def bench(scratch: Path, quick: bool) -> list[Row]:
    boxes = make_judged(20 if quick else 2000, (1629, 2318), masks=False)
    masks = make_judged(10 if quick else 200, (400, 560), masks=True)
    rounds = 2 if quick else 5
    return [_compare("boxes", boxes, "bbox", rounds), _compare("masks", masks, "segm", rounds)]


def _compare(title: str, images: Sequence[Judged], kind: Literal["bbox", "segm"], rounds: int) -> Row:
    ours, theirs = coco_ap(images, CLASSES, kind), pycocotools_ap(images, kind)
    assert ours is not None
    worst = max(abs(ours[name] - value) for name, value in theirs.items())
    sides = {"ours": lambda: coco_ap(images, CLASSES, kind), "theirs": lambda: pycocotools_ap(images, kind)}
    seconds = alternate(sides, rounds)
    ms = {name: 1000 * statistics.median(found) for name, found in seconds.items()}
    return Row(
        name=f"COCO evaluation, {title}",
        figure=ms["ours"],
        unit="ms",
        compared_with=f"pycocotools: {ms['theirs']:.0f}",
        ratio=times_faster(seconds["ours"], seconds["theirs"]),
        goal=f"equal to {EQUAL:g}",
        met=worst <= EQUAL,
        note=f"{len(images)} images; largest difference {worst:.1e}, map {theirs['map']:.3f}",
    )


def make_judged(count: int, wh: tuple[int, int], *, masks: bool) -> list[Judged]:
    """Images with two borders each, and answers that are wrong in all ways."""
    rng = np.random.default_rng(0)
    width, height = wh
    found = []
    for number in range(count):
        low = rng.uniform(0.02, 0.12, (2, 2)) * wh
        true = np.column_stack([low, low + rng.uniform(0.6, 0.85, (2, 2)) * wh])
        labels = np.array([1, 2])
        each = rng.integers(0, 4, 2)  # missed, right, doubled …
        boxes = true.repeat(each, axis=0) + rng.normal(0, 0.03 * width, (int(each.sum()), 4))
        names = np.where(rng.random(len(boxes)) < 0.1, 3 - labels.repeat(each), labels.repeat(each))
        boxes = np.clip(boxes, 0, np.array([width, height, width, height]) - 1)
        scores = rng.random(len(boxes)).round(2)  # with ties
        found.append(
            judge(
                sample=str(number), card=str(number), width=width, height=height, mm_per_px=None,
                truth=_objects(true, labels, np.ones(2), wh, masks=masks),
                found=_objects(boxes, names, scores, wh, masks=masks),
            )
        )  # fmt: skip
    return found


def _objects(boxes: Any, labels: Any, scores: Any, wh: tuple[int, int], *, masks: bool) -> Objects:
    filled = tuple(rle.from_polygon(corners(box), *wh) for box in boxes) if masks else None
    return Objects(boxes=boxes, labels=np.asarray(labels, np.int64), scores=scores, masks=filled)


def pycocotools_ap(images: Sequence[Judged], kind: Literal["bbox", "segm"]) -> dict[str, float]:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth = [row for n, image in enumerate(images, 1) for row in _rows(image.truth, n, kind)]
    answers = [row for n, image in enumerate(images, 1) for row in _rows(image.found, n, kind)]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "info": {},
            "images": [{"id": n, "width": i.width, "height": i.height} for n, i in enumerate(images, 1)],
            "categories": [{"id": n, "name": str(n)} for n in range(1, CLASSES + 1)],
            "annotations": [{**row, "id": n, "iscrowd": 0} for n, row in enumerate(truth, 1)],
        }
        coco.createIndex()
        run = COCOeval(coco, coco.loadRes(answers), kind)
        run.evaluate()
        run.accumulate()
        run.summarize()
    return dict(zip(("map", "ap50", "ap75"), (float(v) for v in run.stats[:3]), strict=True))


def _rows(objects: Objects, image: int, kind: str) -> list[dict[str, Any]]:
    from pycocotools import mask as rle_tools

    rows = []
    for n, (x0, y0, x1, y1) in enumerate(objects.boxes.tolist()):
        row: dict[str, Any] = {
            "image_id": image,
            "category_id": int(objects.labels[n]),
            "score": float(objects.scores[n]),
        }
        if kind == "segm":
            assert objects.masks is not None
            mask = objects.masks[n]
            row["segmentation"] = {"size": list(mask.size_hw), "counts": mask.counts.encode()}
            row["area"] = float(rle_tools.area(row["segmentation"]))
        else:
            row |= {"bbox": [x0 + 0.5, y0 + 0.5, x1 - x0, y1 - y0], "area": (x1 - x0) * (y1 - y0)}
        rows.append(row)
    return rows
