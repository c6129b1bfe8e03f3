"""A small dataset to draw on: three samples of 200 x 120 px, two drawn classes."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest

from trugrade_core.annotate.saving import Op, Saved, save
from trugrade_core.data.images import probe
from trugrade_core.data.store import Dataset, sample_id
from trugrade_core.schema import Box, ClassDef, Polygon, Sample
from trugrade_core.workspace import Workspace, write_atomic

WH = (200, 120)
Saver = Callable[..., Saved]


def add_image(ws: Workspace, image: np.ndarray, name: str = "a.png", **facts: Any) -> Sample:
    data = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()
    ref = probe(data, name=name)
    write_atomic(ws.image(ref.sha256, ref.suffix), data)
    return Sample(id=sample_id({"main": ref}), images={"main": ref}, sources=(name,), card=name, **facts)


@pytest.fixture
def ds(ws: Workspace) -> Dataset:
    found = Dataset.create(ws, "cards", [ClassDef(name="outer_border", shape="polygon"), ClassDef(name="stain", shape="mask"),
                                         ClassDef(name="worn", shape="tags")])  # fmt: skip
    found.put_samples(
        add_image(ws, np.full((WH[1], WH[0], 3), 40 + n, np.uint8), f"{n}.png", dpi=600) for n in range(3)
    )
    return found


@pytest.fixture
def ids(ds: Dataset) -> list[str]:
    return list(ds.samples())


@pytest.fixture
def do(ds: Dataset, ids: list[str]) -> Saver:
    """do(op, …, sample=, who=, …): save on the first sample as one commit of its own."""
    number = itertools.count()

    def call(*ops: Op, sample: str = "", **more: Any) -> Saved:
        given = {"who": "ana", "tool": "annotator", "commit": f"commit-{next(number):06d}", **more}
        return save(ds, sample or ids[0], ops, **given)

    return call


def box(*xyxy: float, label: str = "outer_border", **more: Any) -> Op:
    return Op(op="put", label=label, value=Box(xyxy=xyxy), **more)


def polygon(*points: tuple[float, float], label: str = "outer_border", **more: Any) -> Op:
    return Op(op="put", label=label, value=Polygon(points=points), **more)
