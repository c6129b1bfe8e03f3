"""Stand-in predictors that know the truth."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from trugrade_core.data.versions import Version
from trugrade_core.evaluate.baseline import ConstantBox, constant_box
from trugrade_core.evaluate.predictions import shift_of
from trugrade_core.schema import Image, Instance, Prediction, Preprocess
from trugrade_core.tasks.instances.metrics import Objects, true_objects

CLASSES = ("outer_border", "graphical_border")
Answer = Callable[[str, Objects, tuple[int, int]], Objects]


class StandIn:
    """Answers by a function of (sample, truth in the shown picture, its width and height); counts its images."""

    def __init__(self, version: Version, answer: Answer, *, digest: str = "stand-in", threshold: float = 0.5) -> None:
        self.name, self.digest, self.classes, self.threshold = "stand-in", digest, CLASSES, threshold
        self.preprocess = Preprocess(size=64)
        self.answer, self.seen = answer, 0
        self.records = {sample.id: (sample, labels) for sample, labels in version.records()}

    def predict(
        self, images: Sequence[Image], names: Sequence[str], threshold: float | None = None
    ) -> list[Prediction]:
        self.seen += len(images)
        return [self._one(image, name) for image, name in zip(images, names, strict=True)]

    def _one(self, image: Image, name: str) -> Prediction:
        sample, labels = self.records[name]
        height, width = image.shape[:2]
        truth = true_objects(labels, CLASSES, sample.main.width, sample.main.height, masks=True)
        if (width, height) != (sample.main.width, sample.main.height):
            left, top, right, bottom = shift_of(name, sample.main.width, sample.main.height)
            assert (width, height) == (sample.main.width + left + right, sample.main.height + top + bottom)
            truth = Objects(truth.boxes + np.array([left, top, left, top]), truth.labels, truth.scores)
        said = self.answer(name, truth, (width, height))
        instances = tuple(
            Instance(label=CLASSES[label - 1], score=float(score), box=tuple(float(v) for v in box),
                     mask=said.masks[n] if said.masks else None)
            for n, (box, label, score) in enumerate(zip(said.boxes, said.labels, said.scores, strict=True))
        )  # fmt: skip
        return Prediction(image=name, width=width, height=height, instances=instances, seconds=0.01)


def perfect(name: str, truth: Objects, wh: tuple[int, int]) -> Objects:
    return truth._replace(scores=np.full(len(truth.labels), 0.9))


def boxes_only(name: str, truth: Objects, wh: tuple[int, int]) -> Objects:
    return perfect(name, truth, wh)._replace(masks=None)


def silent(name: str, truth: Objects, wh: tuple[int, int]) -> Objects:
    return Objects(np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros(0))


def off_by(px: float) -> Answer:
    """Every side `px` outwards."""

    def answer(name: str, truth: Objects, wh: tuple[int, int]) -> Objects:
        moved = truth.boxes + px * np.array([-1, -1, 1, 1])
        return Objects(moved, truth.labels, np.full(len(truth.labels), 0.9))

    return answer


def constant(version: Version) -> Answer:
    box = constant_box(version, CLASSES)
    assert isinstance(box, ConstantBox)
    return lambda name, truth, wh: box.answer(*wh)
