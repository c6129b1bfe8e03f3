"""A trained checkpoint as a `Predictor`: images in, schema values out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from trugrade_core.config import RunConfig
from trugrade_core.errors import TrainingError
from trugrade_core.models import ModelSpec, get_architecture
from trugrade_core.schema import Image, Prediction, Preprocess
from trugrade_core.tasks.instances.decode import RawInstances, decode
from trugrade_core.train import checkpoint

if TYPE_CHECKING:
    from torch import Tensor

    from trugrade_core.models.base import Detector

BATCH = 4


@dataclass(frozen=True)
class TorchPredictor:
    """See `schema.Predictor`. `manifest` says which run, data and configuration the model comes from."""

    name: str
    digest: str
    classes: tuple[str, ...]
    preprocess: Preprocess
    threshold: float
    manifest: checkpoint.Manifest
    model: Detector

    @classmethod
    def open(cls, path: Path, *, architecture: str | None = None) -> Self:
        """Load the checkpoint at `path`, checked by digest and read without running code.

        Raises TrainingError when it is not one of ours, was changed, or is not of the `architecture` asked for.
        """
        state, manifest = checkpoint.load(path)
        own = f"{manifest.architecture}_{manifest.variant}"
        if architecture and architecture not in (manifest.architecture, own):
            raise _other(path, own, architecture)
        model = build(manifest)
        try:
            model.load_state_dict(state["model"])
        except RuntimeError as e:
            raise _other(path, own, "what its manifest says") from e
        model.eval()
        return cls(
            name=f"{manifest.run}/{manifest.name}",
            digest=manifest.digest,
            classes=manifest.classes,
            preprocess=manifest.preprocess,
            threshold=manifest.threshold,
            manifest=manifest,
            model=model,
        )

    def predict(
        self, images: Sequence[Image], names: Sequence[str], threshold: float | None = None, *, mask_at: float = 0.5
    ) -> list[Prediction]:
        """`seconds` of each is its share of its batch's time, from pixels to instances."""
        found = []
        for start in range(0, len(images), BATCH):
            begun = time.perf_counter()
            part = images[start : start + BATCH]
            instances = [
                decode(raw, self.preprocess, image.shape[1], image.shape[0], self.classes,
                       threshold=self.threshold if threshold is None else threshold, nms_iou=self.manifest.nms_iou,
                       mask_at=mask_at)
                for raw, image in zip(self.raw(part), part, strict=True)
            ]  # fmt: skip
            seconds = (time.perf_counter() - begun) / len(part)
            found += [
                Prediction(image=name, width=image.shape[1], height=image.shape[0], instances=one, seconds=seconds)
                for name, image, one in zip(names[start : start + BATCH], part, instances, strict=True)
            ]
        return found

    def raw(self, images: Sequence[Image]) -> list[RawInstances]:
        """What the network says, before decoding: the outputs that an exported model is compared with."""
        import torch

        batch = np.stack([self.preprocess.normalise(self.preprocess.canvas(image)) for image in images])
        with torch.inference_mode():
            return unbatch(self.model(torch.from_numpy(batch)))


def build(manifest: checkpoint.Manifest) -> Detector:
    """The network of a manifest, with random weights."""
    row, variant = get_architecture(f"{manifest.architecture}_{manifest.variant}")
    spec = ModelSpec(classes=manifest.classes, image_size=manifest.preprocess.size, variant=variant.id)
    model: Detector = row.builder()(spec, RunConfig.model_validate(manifest.config), None)
    return model


def unbatch(outputs: tuple[Tensor, ...]) -> list[RawInstances]:
    """A network's outputs (boxes, scores, labels and perhaps masks, each with a batch axis), one entry an image."""
    boxes, scores, labels, *masks = [
        t.float().cpu().numpy() if t.is_floating_point() else t.cpu().numpy() for t in outputs
    ]
    return [RawInstances(boxes[i], scores[i], labels[i], masks[0][i] if masks else None) for i in range(len(boxes))]


def _other(path: Path, own: str, wanted: str) -> TrainingError:
    return TrainingError(
        f"is a checkpoint of {own} and does not fit {wanted}",
        where=str(path),
        code="training.other_architecture",
        what_to_do="Choose a checkpoint of that architecture and variant.",
    )
